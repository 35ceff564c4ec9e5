#!/usr/bin/env bash
# compare.sh [BASE]: is reports/bench.json worse than BASE, beyond noise? Without BASE it is compared with the last release's,
# which gh fetches (GH_TOKEN, read only); a project without a release has nothing to compare with.
# Exits 1 where a figure regressed, 2 where the two cannot be compared.
set -euo pipefail
cd "$(dirname "$0")/.."
. docker/lib.sh

base=${1:-}
if [ -z "$base" ]; then
    command -v gh >/dev/null || die "gh is not installed, which fetches the last release's figures: install it, or make compare BASE=FILE"
    tag=$(gh release list --exclude-drafts --exclude-pre-releases --limit 1 --json tagName --jq '.[].tagName')
    [ -n "$tag" ] || { say "no release yet: nothing to compare with"; exit 0; }
    say "comparing with release $tag"
    base=reports/baseline.json
    gh release download "$tag" --pattern bench.json --output "$base" --clobber
fi
.venv/bin/hearth-engine bench-compare "$base" reports/bench.json
