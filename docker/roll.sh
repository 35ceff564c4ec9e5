#!/usr/bin/env bash
# roll.sh: has each engine behind the router start anew, one after the other, with whatever image and settings it should
# have now (HEARTH_VERSION, .env). Nobody notices: the router sends an engine nothing more, it answers what it was asked,
# goes, and gets its part again when it is healthy. What breaks off leaves one engine at work and can be run again.
#   HEARTH_DRAIN_SECONDS  how long running answers may take (default 600)
set -euo pipefail
cd "$(dirname "$0")/.."
: "${COMPOSE_FILE:=compose.yaml:deploy/compose.scale.yaml}"
export COMPOSE_FILE
. docker/host.sh

[[ ,$COMPOSE_PROFILES, == *,scale,* ]] || COMPOSE_PROFILES+=,scale
[ -n "$(docker compose ps --quiet router)" ] || die "no router runs here: one engine takes another's place by 'make use'"
exec 8<compose.yaml
flock -n 8 || die "make use, rollback, up or roll is at work on this stack already"

router() {  # METHOD PATH: asked from inside, nobody else reaches it
    docker compose exec -T router python -c "import urllib.request as r, sys
print(r.urlopen(r.Request('http://127.0.0.1:8000' + sys.argv[2], method=sys.argv[1]), timeout=30).read().decode())" "$@"
}
unanswered() {
    docker compose exec -T --env LD_PRELOAD= "$1" python -c "import urllib.request as r
lines = r.urlopen('http://127.0.0.1:8000/metrics', timeout=10).read().decode().splitlines()
print(int(sum(float(line.split()[-1]) for line in lines if line.startswith(('vllm:num_requests_running', 'vllm:num_requests_waiting{')))))"
}

roll() {
    local service=$1 url=$2 since=$SECONDS said
    if [ -n "$(docker compose ps --quiet "$service")" ]; then
        [[ $(router GET /list_workers) != *"$url"* ]] || router POST "/remove_worker?url=$url" >/dev/null
        say "$service gets nothing more; waiting for what it is answering"
        # Twice in a row: what the router sent last may be on its way.
        until [ "$(unanswered "$service")" = 0 ] && sleep 0.5 && [ "$(unanswered "$service")" = 0 ]; do
            [ $((SECONDS - since)) -lt "${HEARTH_DRAIN_SECONDS:-600}" ] || { say "some of its answers took longer than that and are cut off"; break; }
            sleep 0.5
        done
    fi
    said=$(docker compose up --detach --no-build --no-deps --force-recreate --wait --wait-timeout "${HEARTH_START_TIMEOUT:-600}" "$service" 2>&1) || {
        docker compose logs --no-log-prefix --tail 30 "$service" >&2
        tail -n 5 <<<"$said" >&2  # it may be the old one that does not end
        die "$service does not start: the others go on, its last lines and Compose's stand above"
    }
    router POST "/add_worker?url=$url" >/dev/null
    say "$service is back"
}
roll "$engine" http://engine-a:8000
roll "$engine-2" http://engine-b:8000
