#!/usr/bin/env bash
# backup.sh FILE: what this stack keeps, in one archive: settings, keys, the choice of model, answered responses, the
# workspace. Taken while it runs. backup.sh --restore FILE: puts it back, into a stack that is down.
#
# Neither images nor weights are in it (make bundle), nor the search index, which is made anew.
set -euo pipefail
cd "$(dirname "$0")/.."
. docker/host.sh

volumes=(gateway-data workspace)
[ -z "${HEARTH_WORKSPACE:-}" ] || { volumes=(gateway-data); say "the workspace is $HEARTH_WORKSPACE, a folder of this host: it is not part of the backup"; }
project=$(docker compose config --format json | sed -n 's/^  "name": "\(.*\)",*$/\1/p')
image=$(image gateway)
inside=(docker run --rm --interactive --network none --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --entrypoint python)
docker image inspect "$image" >/dev/null 2>&1 || die "there is no image $image here: 'make build' makes it"

# What the gateway's Python does with the volumes; a database is copied by SQLite, whatever is being written to it.
# shellcheck disable=SC2016
save='
import pathlib, sqlite3, sys, tarfile
def copied(entry):
    path = pathlib.Path("/", entry.name)
    if path.suffix == ".sqlite":
        copy = pathlib.Path("/tmp", path.name)
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as source, sqlite3.connect(copy) as target:
            source.backup(target)
        entry.size = copy.stat().st_size
        archive.addfile(entry, copy.open("rb"))
        return None
    return None if path.name.endswith(("-journal", "-wal", "-shm")) or not (entry.isfile() or entry.isdir() or entry.issym()) else entry
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
    archive.add("/volumes", filter=copied)
'
# shellcheck disable=SC2016
load='
import sys, tarfile
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
    for entry in archive:
        if not f"{entry.name}/".startswith("volumes/") or "/../" in f"/{entry.name}/":
            sys.exit(f"{entry.name} does not belong into a backup")
        archive.extract(entry, "/")
'
mounted=()
mount() { mounted+=(--volume "${project}_$1:/volumes/$1$2"); }

if [ "${1:-}" = --restore ]; then
    file=${2:-}
    [ -f "$file" ] || die "BACKUP=$file: no such file"
    [ -z "$(docker compose --profile '*' ps --quiet)" ] || die "the stack is running: make down"
    tar -tzf "$file" volumes.tar host/.env >/dev/null || die "$file is not a backup that 'make backup' wrote, or not all of it"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    tar -xzf "$file" -C "$work"
    cp -a "$work/host/." .
    for volume in "${volumes[@]}"; do
        docker volume create --label "com.docker.compose.project=$project" --label "com.docker.compose.volume=$volume" "${project}_$volume" >/dev/null
        mount "$volume" ""
    done
    "${inside[@]}" --user 0:0 --cap-add CHOWN --cap-add DAC_OVERRIDE --cap-add FOWNER "${mounted[@]}" "$image" -c "$load" <"$work/volumes.tar"
    say "restored $file; 'make up' starts it"
    exit
fi

file=${1:?backup.sh FILE}
[ ! -e "$file" ] || die "$file is there already"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/host"
kept=(.env config compose.override.yaml)
for each in "$HEARTH_SECRETS" "${HEARTH_APPROVAL_KEY_FILE:-}" "${HEARTH_SEARCH_API_KEY_FILE:-}"; do
    [[ -z $each || $each == /* ]] || kept+=("$each")
    [[ $each != /* ]] || say "$each is outside of this folder and is not in the backup"
done
for each in "${kept[@]}"; do [ ! -e "$each" ] || cp -a --parents "$each" "$work/host"; done
for volume in "${volumes[@]}"; do
    ! docker volume inspect "${project}_$volume" >/dev/null 2>&1 || mount "$volume" :ro
done
"${inside[@]}" "${mounted[@]}" "$image" -c "$save" >"$work/volumes.tar"
mkdir -p "$(dirname "$file")"
(umask 077 && tar -czf "$file.partial" -C "$work" volumes.tar host)
mv "$file.partial" "$file"
say "$file ($(du -h "$file" | cut -f1)): it holds keys' hashes, and all that users and the model wrote; keep it as safe as them"
