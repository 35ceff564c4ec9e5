#!/usr/bin/env bash
# Ends with dist/notes.md: the release notes of HEARTH_VERSION (default 0.1.0), from the images of that version that are at
# hand, reports/bench.json if it is there, and git. The reports that the figures came from lie beside it, to be released too.
set -euo pipefail
cd "$(dirname "$0")/.."
. docker/host.sh

dist=${DIST:-dist} version=${HEARTH_VERSION:-0.1.0} arguments=()
mkdir -p "$dist"
reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT
mapfile -t images < <(docker image ls --format '{{.Repository}}:{{.Tag}}' | grep -E "^${HEARTH_REGISTRY:-}hearth-[a-z-]+:$version(-|\$)" | sort)
for image in "${images[@]}"; do
    [[ $image != *hearth-quantizer:* ]] || continue
    arguments+=(--image "${image#"${HEARTH_REGISTRY:-}"}" "$(docker image inspect -f '{{.Size}}' "$image")")
    [[ $image == *hearth-engine:* ]] || continue
    name=${image##*:} container=$(docker create "$image")
    docker cp --quiet "$container:/opt/hearth/reports" "$reports/$name" 2>/dev/null ||
        { docker rm "$container" >/dev/null; die "$image: holds no reports on its quality: its recipe has no evaluation"; }
    docker rm "$container" >/dev/null
    arguments+=(--reports "$name" "$reports/$name")
    cp "$reports/$name/quality.json" "$dist/quality-${name#"$version"-}.json"
done
[ ${#arguments[@]} -gt 0 ] || die "no image of version $version is at hand: make build"
if [ -f reports/bench.json ]; then cp reports/bench.json "$dist/bench.json"; arguments+=(--bench "$dist/bench.json"); fi

# The tag of this version, where it is set already, is not the last one.
last=$(git describe --tags --abbrev=0 --exclude "$version" HEAD 2>/dev/null || true)
git log --reverse --no-merges --format='%h %s' "${last:+$last..}HEAD" |
    .venv/bin/python -m ci.notes "$version" --last "$last" --source "${HEARTH_SOURCE:-}" "${arguments[@]}" > "$dist/notes.md.new"
mv "$dist/notes.md.new" "$dist/notes.md"
say "$dist/notes.md"
