#!/usr/bin/env bash
# check-function.sh ZIP GLIBC: prints the sizes of the function, and fails if it would not start on Lambda. A binary
# that needs a newer glibc than the runtime has starts here, but not there.
set -euo pipefail
zip=$1 limit=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m zipfile -e "$zip" "$work"
[ -f "$work/bootstrap" ] || { echo "error: no bootstrap in $zip" >&2; exit 1; }
symbols=$(objdump -T "$work/bootstrap" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -Vu)
[ -n "$symbols" ] || { echo "error: cannot read the symbols of $work/bootstrap" >&2; exit 1; }
newest=$(tail -n 1 <<<"$symbols")
if [ "$(printf '%s\n%s\n' "$newest" "$limit" | sort -V | tail -n 1)" != "$limit" ]; then
    echo "error: the function needs glibc $newest, Lambda's al2023 has $limit" >&2
    exit 1
fi
printf '%s: %d bytes, the program in it %d bytes, needs glibc %s (Lambda has %s)\n' \
    "$zip" "$(wc -c <"$zip")" "$(wc -c <"$work/bootstrap")" "$newest" "$limit"
