#!/usr/bin/env bash
# Starts the profile's containers from the images at hand and waits until they are healthy. Says how long it takes, and
# fails at once when a container keeps dying: its restart policy would hide that from `docker compose up --wait`.
# start.sh calls it, and the installer of a bundle (bundle/install.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
. docker/lib.sh

docker compose up --detach --no-build --wait --wait-timeout "${HEARTH_START_TIMEOUT:-600}" >/dev/null 2>&1 &
up=$!
trap 'kill $up 2>/dev/null || true' EXIT
started=$SECONDS

give_up() {
    docker compose logs --no-log-prefix --tail 30 >&2
    die "$1: see the log above$([ ! -e Makefile ] || echo ", and 'make doctor'")"
}

say "starting the stack (seconds; minutes where a GPU compiles for the first time)"
while kill -0 $up 2>/dev/null; do
    sleep 1
    [ $(((SECONDS - started) % 15)) -ne 0 ] || say "$((SECONDS - started)) s: $(docker compose ps --all --format '{{.Service}} {{.Status}}' | paste -sd ', ')"
    for container in $(docker compose ps --all --quiet); do
        [ "$(docker inspect -f '{{.RestartCount}}' "$container" 2>/dev/null || echo 0)" -lt 2 ] ||
            give_up "$(docker inspect -f '{{.Name}}' "$container") keeps dying"
    done
done
wait $up || give_up "the stack did not come up"
say "healthy after $((SECONDS - started)) s"
