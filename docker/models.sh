#!/usr/bin/env bash
# The models of this machine: engine images, weights that `make quantize` left, recipes; which one is served, which before.
set -euo pipefail
cd "$(dirname "$0")/.."
. docker/host.sh

found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
chmod 755 "$found"  # the engine's user reads it
serving=$recipe${HEARTH_BACKEND:+-$HEARTH_BACKEND} before=$(chosen before)
running=$(docker compose ps --quiet "$engine" 2>/dev/null | xargs -r docker inspect -f '{{.Config.Image}}')
list() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$found/list"; }

: >"$found/list"
names=()
while IFS=$'\t' read -r image size; do
    tag=${image##*:}
    name=${tag%-*} name=${name#*-}
    names+=("$name")
    container=$(docker create "$image")
    docker cp --quiet "$container:/opt/hearth/model/hearth.json" - 2>/dev/null | { mkdir "$found/$tag"; tar -x -C "$found/$tag" 2>/dev/null; } || true
    docker rm "$container" >/dev/null
    where="image, ${tag%%-*}, ${tag##*-}"
    [ "$image" != "$running" ] || where="serving, ${tag%%-*}, ${tag##*-}"
    [ "$name" != "$before" ] || [ "$name" = "$serving" ] || where="$where, before"
    list "$name" "$where" "$size" "/found/$tag"
done < <(docker images --format '{{.Repository}}:{{.Tag}}\t{{.Size}}' "${HEARTH_REGISTRY:-}hearth-engine" | sort)
printer=$(image "engine-$([ "$engine" = engine-gpu ] && echo cuda || echo cpu)")
docker image inspect "$printer" >/dev/null 2>&1 || die "there is no image $printer here, which prints the table: 'make build' makes it"

for folder in weights/*/hearth.json; do
    [ -f "$folder" ] || continue
    name=$(basename "$(dirname "$folder")")
    mkdir -p "$found/weights-$name" && cp "$folder" "$found/weights-$name/"
    list "$name" "weights/$name, 'make use' bakes them" "" "/found/weights-$name"
    names+=("$name")
done
for file in models/*.yaml; do
    name=$(basename "$file" .yaml)
    [[ " ${names[*]} " == *" $name "* ]] || list "$name" "recipe, 'make use' builds it" "" ""
done
chmod -R a+rX "$found"
docker run --rm --interactive --network none --read-only --cap-drop ALL --security-opt no-new-privileges --volume "$found:/found:ro" \
    --env "COLUMNS=${COLUMNS:-$(tput cols 2>/dev/null || echo 160)}" "$printer" models <"$found/list"
