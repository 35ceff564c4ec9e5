#!/usr/bin/env bash
# sign.sh sign|verify: every image that DIST/compose.lock.yaml (dist/) names, by its digest: one signature covers image, SBOM
# and provenance.
#   HEARTH_SIGNING_KEY  cosign.key to sign with, cosign.pub to verify with (`cosign generate-key-pair` makes them)
#   without it          keyless: the workflow's identity signs, HEARTH_SIGNER (its URL, a regular expression) is demanded
set -euo pipefail
. "$(dirname "$0")/lib.sh"
export PATH="$PATH:/opt/hearth-docker/usr/bin"

lock=${DIST:-dist}/compose.lock.yaml key=${HEARTH_SIGNING_KEY:-}
[ -f "$lock" ] || die "$lock: is missing; 'make push' writes it, and a release has it"
mapfile -t images < <(sed -nE 's/^ *image: ([^ ]+@sha256:[0-9a-f]{64})$/\1/p' "$lock")
[ ${#images[@]} -gt 0 ] || die "$lock: names no image by its digest"

case $1:${key:+key} in
    # A key of one's own leaves no trace in the public log: it is for registries that the world does not see.
    sign:key) command=(cosign sign --yes --key "$key" --tlog-upload=false) ;;
    sign:) command=(cosign sign --yes) ;;
    verify:key) command=(cosign verify --key "$key" --insecure-ignore-tlog=true) ;;
    verify:)
        [ -n "${HEARTH_SIGNER:-}" ] || die "who must have signed? HEARTH_SIGNING_KEY=cosign.pub, or HEARTH_SIGNER='https://github.com/ME/hearth/.github/workflows/release.yml@refs/tags/.*'"
        command=(cosign verify --certificate-identity-regexp "^$HEARTH_SIGNER\$" --certificate-oidc-issuer https://token.actions.githubusercontent.com) ;;
    *) die "sign.sh $1: unknown; allowed: sign, verify" ;;
esac
for image in "${images[@]}"; do
    said=$("${command[@]}" "$image" 2>&1) || die "$image: $1 failed: $(grep -i error <<<"$said" | head -n 1)"
    say "$1: $image"
done
