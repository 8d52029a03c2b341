#!/usr/bin/env bash
# check-function.sh ZIP GLIBC BYTES: prints the sizes of the function, and fails if it would not start on Lambda, or if
# the program takes more than BYTES in the zip. A binary that needs a newer glibc than the runtime has starts here, but
# not there. A large one starts later: its zip is downloaded and its pages are read at each cold start.
set -euo pipefail
zip=$1 glibc=$2 most=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m zipfile -e "$zip" "$work"
[ -f "$work/bootstrap" ] || { echo "error: no bootstrap in $zip" >&2; exit 1; }
symbols=$(objdump -T "$work/bootstrap" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -Vu)
[ -n "$symbols" ] || { echo "error: cannot read the symbols of $work/bootstrap" >&2; exit 1; }
newest=$(tail -n 1 <<<"$symbols")
if [ "$(printf '%s\n%s\n' "$newest" "$glibc" | sort -V | tail -n 1)" != "$glibc" ]; then
    echo "error: the function needs glibc $newest, Lambda's al2023 has $glibc" >&2
    exit 1
fi
printf '%s: %d bytes, the program in it %d bytes, needs glibc %s (Lambda has %s)\n' \
    "$zip" "$(wc -c <"$zip")" "$(wc -c <"$work/bootstrap")" "$newest" "$glibc"
# A forwarder.yml that is in the zip, too, does not count.
packed=$(python3 -c 'import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).getinfo("bootstrap").compress_size)' "$zip")
if [ "$packed" -gt "$most" ]; then
    echo "error: the program takes $packed bytes in the zip, $most are allowed: see what the last changes have linked" >&2
    exit 1
fi
