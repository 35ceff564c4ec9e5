#!/usr/bin/env bash
# Measures the engine of this machine's profile (PROFILE=cpu or gpu chooses) beside stock vLLM and the 16 bit model, one
# after the other: reports/bench.json and reports/bench.html.
set -euo pipefail
export COMPOSE_PROFILES=${PROFILE:-${COMPOSE_PROFILES:-}}
[ -n "$COMPOSE_PROFILES" ] || unset COMPOSE_PROFILES
. "$(dirname "$0")/host.sh"

case ,$COMPOSE_PROFILES, in
    *,gpu,*) target=engine-cuda device=(--gpus all --memory "${HEARTH_ENGINE_MEMORY:-16g}") ;;
    *,cpu,*) target=engine-cpu device=(--memory "${HEARTH_ENGINE_MEMORY:-6g}") ;;
    *) die "PROFILE=$COMPOSE_PROFILES: unknown profile; allowed: cpu, gpu" ;;
esac
[ -z "$(docker compose --profile '*' ps --quiet)" ] || die "the stack is running and would be measured along: make down"
bake "$target"
mkdir -p weights reports
run=(docker run --rm --init --read-only --cap-drop ALL --security-opt no-new-privileges
    --tmpfs "/tmp:exec,mode=1777" --tmpfs "/home/hearth:exec,uid=1000,gid=1000" --volume "$PWD/models:/models:ro")

# The image can fetch it as well as the quantizer can, to where `make quantize` looks for it.
source=$("${run[@]}" --user "$(id -u):$(id -g)" --volume "$PWD/weights:/weights" --env HF_TOKEN --env HOME=/tmp "${ca[@]}" \
    --entrypoint hearth-quantize "$(image "$target")" "/models/$recipe.yaml" --work "/weights/.$recipe.work" --fetch)

say "measuring $recipe, 16 bit from $source: some minutes"
settings=()
for name in CONTEXT_LENGTH MAX_NUM_SEQS MAX_NUM_BATCHED_TOKENS SPECULATION ENGINE_ARGS VRAM_BUDGET_GIB KV_CACHE_DTYPE API_SERVERS CPU_THREADS; do
    settings+=(--env "HEARTH_$name")
done
"${run[@]}" "${device[@]}" "${settings[@]}" --network none --shm-size 1g --volume "$PWD/weights:/weights:ro" \
    "$(image "$target")" bench --source "$source" > reports/bench.json.new
mv reports/bench.json.new reports/bench.json
.venv/bin/hearth-engine bench-page reports/bench.json reports/bench.html
say "reports/bench.html, reports/bench.json"
