#!/usr/bin/env bash
# Ends with cosign (signatures) and oras (files beside an image in a registry), or says what is missing. On Debian 12 with
# root they are unpacked beside the engine that docker/provide-engine.sh installs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

home=/opt/hearth-docker
export PATH="$PATH:$home/usr/bin"
missing=()
for tool in cosign oras; do command -v "$tool" >/dev/null || missing+=("$tool"); done
[ ${#missing[@]} -gt 0 ] || exit 0
debian_with_root || die "${missing[*]}: not found. Install cosign 2 (https://docs.sigstore.dev/cosign/system_config/installation/)
  and oras 1.2 (https://oras.land/docs/installation) or newer"
say "unpacking ${missing[*]} from Debian into $home"
unpack_from_trixie "$home" "${missing[@]}"
