#!/usr/bin/env bash
# Compares our dependencies with the known vulnerabilities: with RustSec's database when it can be had, and with the copy
# in tests/support/advisories otherwise.
#
#   advisories.sh CARGO-DENY [ARGUMENT…]    checks
#   advisories.sh --renew DATABASE          takes the copy anew from a clone of the database
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
copy=$root/tests/support/advisories

say() { printf 'advisories: %s\n' "$*" >&2; }

renew() {
    local database=$1 commit
    commit=$(git -C "$database" rev-parse HEAD)
    rm -rf "$copy/crates"
    # The names of all packages that are locked, and of these the files of the database.
    sed -n 's/^name = "\(.*\)"$/\1/p' "$root/Cargo.lock" "$root/fuzz/Cargo.lock" | sort -u |
        awk -F/ 'NR == FNR { locked[$1] = 1; next } $2 in locked' - \
            <(git -C "$database" ls-tree -r --name-only HEAD crates) |
        xargs git -C "$database" archive HEAD | tar -x -C "$copy"
    say "write into $copy/README.md: commit $commit of $(git -C "$database" log -1 --format=%cs)"
}

# cargo-deny wants a repository. One is made of the copy, outside of the tree.
check_copy() {
    local work config
    work=$(mktemp -d)
    trap 'rm -rf "$work"' RETURN
    cp -r "$copy/crates" "$work/database"
    mkdir "$work/all" && mv "$work/database" "$work/all/crates"
    git -C "$work/all" init --quiet --initial-branch=main
    git -C "$work/all" add .
    git -C "$work/all" -c user.name=copy -c user.email=copy@localhost commit --quiet --message copy
    config=$work/deny.toml
    # It also wants an address with a host. git is told that the repository is meant by it.
    awk -v path="$work/clones" '{ print } /^\[advisories\]$/ {
        printf "db-urls = [\"https://copy.invalid/db\"]\ndb-path = \"%s\"\ngit-fetch-with-cli = true\n", path
    }' "$root/deny.toml" >"$config"
    GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.file://$work/all.insteadOf" GIT_CONFIG_VALUE_0=https://copy.invalid/db \
        "$@" --config "$config" check advisories
}

if [ "${1-}" = --renew ]; then
    renew "${2:?usage: advisories.sh --renew DATABASE}"
    exit
fi
# The answer decides, and not an error of the network: a vulnerability found is not looked up in the copy again.
if timeout 60 git ls-remote --quiet --exit-code https://github.com/rustsec/advisory-db HEAD >/dev/null 2>&1; then
    "$@" check advisories
else
    say "the database cannot be reached: comparing with the copy in tests/support/advisories"
    check_copy "$@"
fi
