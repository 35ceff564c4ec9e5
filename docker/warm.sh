#!/usr/bin/env bash
# Compiles what a start on this machine's kind of GPU compiles, once, and bakes it: build/warm, then the engine's image.
# Run on several kinds of GPU, one folder gathers the kernels of all.
set -euo pipefail
export COMPOSE_PROFILES=gpu
. "$(dirname "$0")/host.sh"

gpu_usable || die "no GPU that containers can use: kernels are compiled on the kind of GPU that will run them (make doctor)"
[ -z "$(docker compose --profile '*' ps --quiet)" ] || die "the stack is running and holds the GPU: make down"
bake engine-cuda
mkdir -p build/warm
# The launcher runs as whoever owns the folder, and writes nothing else.
id=$(docker run --detach --init --gpus all --read-only --cap-drop ALL --security-opt no-new-privileges --network none \
    --user "$(id -u):$(id -g)" --env HOME=/tmp --shm-size 1g --memory "${HEARTH_ENGINE_MEMORY:-16g}" --tmpfs "/tmp:exec,mode=1777" \
    --volume "$PWD/build/warm:/var/cache/hearth" --env HEARTH_CACHE_DIR=/var/cache/hearth "$(image engine-cuda)")
trap 'docker rm --force "$id" >/dev/null' EXIT
say "starting the engine on $(nvidia-smi --query-gpu=name --format=csv,noheader | head -1): a minute"
until docker exec "$id" hearth-engine health >/dev/null 2>&1; do
    [ "$(docker inspect --format '{{.State.Running}}' "$id")" = true ] || { docker logs --tail 30 "$id" >&2; die "the engine ended"; }
    sleep 1
done
docker logs "$id" 2>&1 | grep 'compiled kernels' || true
docker stop --time 20 "$id" >/dev/null
find build/warm -mindepth 1 -maxdepth 1 ! -name triton -exec rm -rf {} +   # the rest of the cache is the image's already
say "$(find build/warm/triton -name '*.cubin' | wc -l) kernels, $(du -sh build/warm | cut -f1)"
export HEARTH_WARM=build/warm
bake engine-cuda
say "baked into $(image engine-cuda)"
