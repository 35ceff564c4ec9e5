#!/usr/bin/env bash
# Takes away what a change of models (use.sh) left that was cut off: of two engines the one stays whose image Compose asks
# for, or else the older one; requests go to the engine called `engine`. Does nothing where nothing was left.
set -euo pipefail
cd "$(dirname "$0")/.."
. docker/host.sh

rm -f compose.override.yaml.next
mapfile -t engines < <(docker compose ps --all --quiet "$engine")
[ ${#engines[@]} -gt 0 ] || exit 0
wanted=$(docker compose config --images "$engine")
keep=$(docker inspect -f '{{.Created}} {{.Id}}' "${engines[@]}" | sort | head -n 1 | cut -d' ' -f2)
for container in "${engines[@]}"; do
    [ "$(docker inspect -f '{{.Config.Image}}' "$container")" != "$wanted" ] || keep=$container
done
policy=$(docker inspect -f '{{.HostConfig.RestartPolicy.Name}}' "$keep")
[ ${#engines[@]} -gt 1 ] || [ "$policy" != unless-stopped ] || exit 0

say "tidying up after a change of models that was cut off"
network=$(docker inspect -f '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' "$keep")
mapfile -t trials < <(docker ps --all --quiet --filter "label=hearth.trial=$network")
for container in "${engines[@]}" "${trials[@]}"; do
    [ "$container" = "$keep" ] || docker rm --force --volumes "$container" >/dev/null
done
docker update --restart unless-stopped "$keep" >/dev/null
docker start "$keep" >/dev/null
gateway=$(docker compose ps --quiet gateway)
[ -z "$gateway" ] || docker exec "$gateway" hearth-gateway route --default >/dev/null || true
