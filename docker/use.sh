#!/usr/bin/env bash
# use.sh MODEL, use.sh --back: has the running stack serve another model. Nobody who is being answered notices.
#
# The new engine starts beside the old one, or after it where memory does not hold both. Its canary, a real token and the
# smoke test decide; then requests go to it, and the old one ends when it has answered its own. Until the choice is
# written (compose.override.yaml, renamed into place), whatever fails leaves or brings back the old engine, and so does a
# power cut: the new one's container has no restart policy until then. Afterwards it is the new one that comes back.
#   HEARTH_SWAP           beside, after; default auto: by the memory that is free
#   HEARTH_DRAIN_SECONDS  how long running answers may take (default 600)
set -euo pipefail
cd "$(dirname "$0")/.."
. docker/host.sh

drain=${HEARTH_DRAIN_SECONDS:-600} next=compose.override.yaml.next
accelerator=$([ "$engine" = engine-gpu ] && echo cuda || echo cpu)
[ -z "${COMPOSE_FILE:-}" ] || [[ :$COMPOSE_FILE: == *:compose.override.yaml:* ]] ||
    die "COMPOSE_FILE=$COMPOSE_FILE leaves out compose.override.yaml, where the choice of model is kept: add it at the end"
[ ! -e compose.override.yaml ] || grep -q '^# model: ' compose.override.yaml ||
    die "compose.override.yaml is not one that 'make use' wrote: give it another name, and list it in COMPOSE_FILE=compose.yaml:NAME:compose.override.yaml"

serving=$recipe${HEARTH_BACKEND:+-$HEARTH_BACKEND} model=${1:-}
if [ "$model" = --back ]; then
    model=$(chosen before)
    [ -n "$model" ] || die "there is no model to go back to: 'make use MODEL=…' has not been used here"
fi
[ -n "$model" ] || die "which model? make use MODEL=NAME; 'make models' lists them"
[[ $model =~ ^[a-z0-9][a-z0-9._-]*$ ]] || die "MODEL=$model: a model is named by lower-case letters, digits, dots, dashes and underscores"
read -r recipe backend < <(parts_of "$model")
image=${HEARTH_REGISTRY:-}hearth-engine:${HEARTH_VERSION:-0.1.0}-$model-$accelerator

exec 8<compose.yaml
flock -n 8 || die "make use, rollback or up is at work on this stack already"
docker/tidy.sh

# The image: here, from the registry, or built.
if ! docker image inspect "$image" >/dev/null 2>&1; then
    if [ -n "${HEARTH_REGISTRY:-}" ]; then
        say "pulling $image"
        docker pull --quiet "$image" >/dev/null || die "$image cannot be pulled; 'make models' lists what is here"
    else
        [ -f "models/$recipe.yaml" ] || die "MODEL=$model: there is neither an image $image nor a recipe models/$recipe.yaml; 'make models' lists what is here"
        say "building $image"
        unset HEARTH_WEIGHTS
        HEARTH_RECIPE=$recipe HEARTH_BACKEND=$backend; made=weights/$model
        [ ! -f "$made/hearth.json" ] || HEARTH_WEIGHTS=$made
        export HEARTH_RECIPE HEARTH_BACKEND HEARTH_WEIGHTS=${HEARTH_WEIGHTS:-}
        bake "engine-$accelerator"
    fi
fi

before=$serving
[ "$model" != "$serving" ] || before=$(chosen before)  # a new version of the same
cat > "$next" <<EOF
# Which model this stack serves. Written by 'make use' and 'make rollback', read by Compose and make; without this file it
# is the profile's default.
# model: $model
# before: $before
services:
  $engine:
    image: \${HEARTH_REGISTRY:-}hearth-engine:\${HEARTH_VERSION:-0.1.0}-$model-$accelerator
    build: {args: {RECIPE: "$recipe", BACKEND: "$backend"}}
EOF
choose() { sync "$next"; mv -T "$next" compose.override.yaml; sync .; }

old=$(docker compose ps --all --quiet "$engine") gateway=$(docker compose ps --quiet gateway)
if [ -z "$old" ] || [ -z "$gateway" ]; then
    choose
    say "the stack is not running: 'make up' starts it with $model"
    exit
fi
if [ "$model" = "$serving" ] && [ "$(docker inspect -f '{{.Config.Image}}' "$old")" = "$image" ]; then
    rm "$next"
    say "$model is being served already"
    exit
fi
compose() {  # with the new choice
    local files=() file
    IFS=: read -ra files <<<"${COMPOSE_FILE:-compose.yaml}"
    local options=(); for file in "${files[@]}"; do [ "$file" = compose.override.yaml ] || options+=(--file "$file"); done
    docker compose "${options[@]}" --file "$next" "$@"
}
route() { docker exec "$gateway" hearth-gateway route "$@"; }
restart() { docker update --restart "$@" >/dev/null; }

new='' trial='' state=undecided
leave() {
    local status=$?
    trap '' INT TERM
    trap - EXIT
    [ -z "$trial" ] || docker rm --force "$trial" >/dev/null 2>&1 || true
    if [ "$state" = undecided ]; then
        say "leaving $serving in place"
        [ -z "$new" ] || docker rm --force --volumes "$new" >/dev/null 2>&1 || true
        if ! { docker start "$old" >/dev/null && wait_healthy "$old"; }; then
            say "the old engine does not come back: 'make up', then 'make logs'"
        fi
        restart unless-stopped "$old"
        route --default >/dev/null || true
        rm -f "$next"
    elif [ "$state" = chosen ]; then
        say "$model is chosen and serves; 'make up' takes away what is left of $serving"
    fi
    exit "$status"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

wait_healthy() {
    local since=$SECONDS status
    while status=$(docker inspect -f '{{.State.Status}} {{.State.Health.Status}}' "$1") && [[ $status == running* ]]; do
        [ "$status" != "running healthy" ] || return 0
        [ $((SECONDS - since)) -lt "${HEARTH_START_TIMEOUT:-600}" ] || break
        sleep 1
        [ $(((SECONDS - since) % 15)) -ne 0 ] || say "$((SECONDS - since)) s: $status"
    done
    docker logs --tail 30 "$1" >&2
    return 1
}

# Whether memory holds both. On the host an engine may take what its container's limit says, on a GPU what it plans.
both_fit() {
    case ${HEARTH_SWAP:-auto} in
        beside) return 0 ;;
        after) return 1 ;;
        auto) ;;
        *) die "HEARTH_SWAP=$HEARTH_SWAP: allowed are auto, beside, after" ;;
    esac
    local limit free
    limit=$(docker inspect -f '{{.HostConfig.Memory}}' "$new")
    free=$(awk '/^MemAvailable/ {print $2}' /proc/meminfo)
    [ "$free" -ge "$((limit / 1024))" ] || return 1
    [ "$engine" = engine-gpu ] || return 0
    limit=$(compose run --rm --no-deps -T "$engine" plan --json | sed -n 's/^ *"memory_budget": \([0-9]*\),*$/\1/p')
    free=$(nvidia-smi --query-gpu=memory.free --format=csv,noheader,nounits | head -n 1)
    [ "$((free * 1048576))" -ge "$limit" ]
}

said=$(compose create --no-build --no-recreate --scale "$engine=2" "$engine" 2>&1) || die "Compose: $said"
new=$(docker compose ps --all --quiet "$engine" | grep -vx "$old") || die "Compose made no second container of $engine"
name=$(docker inspect -f '{{.Name}}' "$new") name=${name#/}
network=$(docker inspect -f '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' "$new")
restart no "$new"
# Nobody finds it under the name `engine` yet.
docker network disconnect "$network" "$new"
docker network connect "$network" "$new"

if both_fit; then
    say "starting $model beside $serving"
else
    say "memory does not hold both: $serving answers what it was asked, new requests wait"
    route --close "$((drain + ${HEARTH_START_TIMEOUT:-600}))" --drain "$drain" >/dev/null ||
        die "some answers took longer than $drain s (HEARTH_DRAIN_SECONDS)"
    restart always "$old"  # a stopped container with this policy, and no other, is started when Docker is
    docker stop "$old" >/dev/null
    say "starting $model"
fi
docker start "$new" >/dev/null
wait_healthy "$new" || die "$model does not start: its last lines stand above"

say "smoke test of $model"
trial=$(docker run --detach --rm --network "$network" --label "hearth.trial=$network" --read-only --tmpfs /tmp --cap-drop ALL \
    --security-opt no-new-privileges --memory 512m --pids-limit 128 --env "HEARTH_ENGINE_URL=http://$name:8000" \
    --env HEARTH_MAX_IN_FLIGHT "$(docker inspect -f '{{.Image}}' "$gateway")")
until docker exec "$trial" python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz')" 2>/dev/null; do
    docker inspect "$trial" >/dev/null 2>&1 || die "the smoke test's own gateway does not start"
    sleep 0.2
done
docker exec "$trial" hearth-gateway smoke >&2 || die "$model fails the smoke test"
docker rm --force "$trial" >/dev/null; trial=''

docker network disconnect "$network" "$new"
docker network connect --alias engine --alias "$engine" "$network" "$new"
wait_healthy "$new" || die "$model has gone"
choose; state=chosen
restart unless-stopped "$new"
restart no "$old"
route --to "http://$name:8000" >/dev/null
say "$model serves; waiting for what $serving is still answering"
route --drain "$drain" >/dev/null || say "some answers of $serving took longer than $drain s (HEARTH_DRAIN_SECONDS) and are cut off"
docker stop "$old" >/dev/null
route --default >/dev/null  # while two are there: of one alone tidy.sh would not know that requests are still led to its name
docker rm --volumes "$old" >/dev/null
state=complete
say "$model is in its place"
