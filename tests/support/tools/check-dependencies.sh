#!/usr/bin/env bash
# One TLS stack: rustls with ring. Each of these crates would bring a second one, megabytes and start-up time.
set -euo pipefail
tree=$("${CARGO:-cargo}" tree --locked --workspace --all-features --edges normal,build --prefix none --format '{p}')
if found=$(grep -E '^(aws-lc-rs|aws-lc-sys|openssl|openssl-sys|native-tls) ' <<<"$tree" | sort -u); then
    printf 'error: a second TLS stack in the dependencies:\n%s\nsee who pulls it: cargo tree --invert NAME\n' "$found" >&2
    exit 1
fi
