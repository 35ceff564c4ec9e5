#!/usr/bin/env bash
# Which of the images at hand lack a security update of Debian? Each is asked by its own apt, so that what its layers hold
# counts, not what a build would hold today. Exits 1 where one does: the cure is a build without the cache.
set -euo pipefail
cd "$(dirname "$0")/.."
. docker/host.sh

failed=0 asked=0
for target in engine-cpu engine-cuda gateway tool-files tool-commands tool-browser tool-search tool-egress; do
    image=$(image "$target")
    docker image inspect "$image" >/dev/null 2>&1 || continue
    asked=$((asked + 1))
    # shellcheck disable=SC2016  # the container expands it
    pending=$(docker run --rm --user 0 --env LD_PRELOAD= --entrypoint sh "$image" -c '
        apt-get update -qq >/dev/null && apt-get -s dist-upgrade | sed -n "/^Inst .*Debian-Security/s/^Inst //p"')
    if [ -z "$pending" ]; then say "$image: has every security update"; continue; fi
    failed=1
    printf 'error: %s lacks %s security updates: docker buildx prune, then make build\n%s\n' "$image" "$(wc -l <<<"$pending")" "$pending"
done
[ "$asked" -gt 0 ] || die "none of the images is at hand: make build"
exit $failed
