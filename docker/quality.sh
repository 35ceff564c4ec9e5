#!/usr/bin/env bash
# quality.sh [BACKEND]: prints the reports in this machine's engine image, which it builds if it is missing; with a back
# end named, the reports of the image with that one's weights stand beside them.
set -euo pipefail
reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT
chmod 755 "$reports"  # the engine is not the user who runs this
export PATH="$PATH:/opt/hearth-docker/usr/bin"

for backend in "${HEARTH_BACKEND:-}" "$@"; do
    image=$(
        export HEARTH_BACKEND=$backend
        . docker/host.sh
        target=engine-$([[ ,$COMPOSE_PROFILES, == *,gpu,* ]] && echo cuda || echo cpu)
        bake "$target" >&2
        image "$target"
    )
    container=$(docker create "$image")
    docker cp --quiet "$container:/opt/hearth/reports" "$reports/${backend:-recipe}" || true  # the engine says that it is missing
    docker rm "$container" >/dev/null
    folders+=("/reports/${backend:-recipe}")
done
docker run --rm --network none --read-only --cap-drop ALL --security-opt no-new-privileges --volume "$reports:/reports:ro" \
    "$image" quality "${folders[@]}"
