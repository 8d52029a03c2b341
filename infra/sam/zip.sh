# shellcheck shell=bash
# A released zip, deployed without a compiler: ZIP=bootstrap.zip, with its checksum beside it in
# bootstrap.zip.sha256, or in SHA256. common.sh is read before it.
: "${here:?}" "${settings:?}" "${scratch:?}"

sha256_of() {
    # macOS has shasum instead.
    if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}

# released_template: checks the zip, and writes a template that deploys it to $scratch/template.yaml.
released_template() {
    local zip wanted=${SHA256:-} found
    [ -r "$ZIP" ] || die "there is no zip at $ZIP"
    zip=$(cd "$(dirname "$ZIP")" && pwd)/$(basename "$ZIP")
    if [ -z "$wanted" ]; then
        [ -r "$zip.sha256" ] || die "$ZIP has no checksum" \
            "put $(basename "$ZIP").sha256 of the release beside it, or give SHA256=…"
        wanted=$(cut -d ' ' -f 1 "$zip.sha256")
    fi
    found=$(sha256_of "$zip")
    [ "$found" = "$wanted" ] || die "$ZIP is not what was released" \
        "its SHA-256 is $found, and should be $wanted: download it again"
    say "$ZIP has the checksum of its release"
    if [ -z "$(override Config)" ] && [ "$(override Sites)" != true ] && ! python3 -m zipfile -l "$zip" | grep -q '^forwarder\.yml '; then
        die "the function would have no configuration: $ZIP has no forwarder.yml" \
            "put \"Config=bucket\" into parameter_overrides of $settings"
    fi
    awk -v zip="$zip" '/^      CodeUri: / { print "      CodeUri: " zip; next } { print }' \
        "$here/template.yaml" >"$scratch/template.yaml"
}
