#!/usr/bin/env bash
# push.sh: bakes the images of COMPOSE_PROFILES for HEARTH_REGISTRY and pushes them with SBOM and provenance. DIST (dist/) then
# has what a release consists of: compose.lock.yaml (every image by its digest), sbom/, provenance/, and hearth-VERSION.tar.gz,
# which is all that a box needs to pull and start it.
#   HEARTH_RENEW=1  makes the runtimes anew although the registry has them: security updates of the base
set -euo pipefail
. docker/lib.sh
export PATH="$PATH:/opt/hearth-docker/usr/bin"

dist=${DIST:-dist}
settings() { (. docker/host.sh; printf '%s\n' "${HEARTH_REGISTRY:-}" "${HEARTH_VERSION:-0.1.0}" "$COMPOSE_PROFILES"); }
{ read -r registry; read -r version; read -r profiles; } < <(settings)
[ -n "$registry" ] || die "HEARTH_REGISTRY names the registry to push to, with a slash at its end: ghcr.io/me/"
[[ $registry == */ ]] || die "HEARTH_REGISTRY=$registry: a slash is missing at its end"

HEARTH_REVISION=$(git rev-parse HEAD)$(git diff --quiet HEAD || echo -dirty)
HEARTH_CREATED=$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)  # equal commits, equal images
HEARTH_SOURCE=${HEARTH_SOURCE:-$(git remote get-url origin 2>/dev/null | sed -nE 's#^(https://)([^/@]*@)?(.*[^/])$#\1\3#p; s#^git@([^:]*):(.*)$#https://\1/\2#p')}
[ -n "$HEARTH_SOURCE" ] || die "HEARTH_SOURCE is the https address of this repository, for the labels: git has no origin that tells it"
HEARTH_BASE_DIGEST=$(docker image inspect -f '{{range .RepoDigests}}{{.}}{{"\n"}}{{end}}' debian:bookworm-slim 2>/dev/null | sed -n '1s/.*@//p')
export HEARTH_REVISION HEARTH_CREATED HEARTH_SOURCE HEARTH_BASE_DIGEST HEARTH_RUNTIMES=$registry

# In a subshell each: what host.sh finds out (recipe, weights) differs between the profiles.
push_part() (
    # shellcheck disable=SC2030,SC2031
    export COMPOSE_PROFILES=$1
    . docker/host.sh
    case $1 in
        cpu) target=engine-cpu needed=(cpu) ;;
        gpu) target=engine-cuda needed=(cuda) ;;
        tools) target=tools needed=(node commands browser search egress) ;;
        gateway) target=gateway needed=(gateway) ;;
        *) die "COMPOSE_PROFILES: unknown profile $1; allowed: cpu, gpu, tools" ;;
    esac
    for name in "${needed[@]}"; do
        image=$(runtime "$name" "$registry")
        if [ -n "${HEARTH_RENEW:-}" ]; then
            say "making $image anew, with today's Debian packages"
            bake_file --no-cache --set "runtime-$name.tags=$image" "runtime-$name"
        else
            ! in_registry "$image" >/dev/null || continue
            say "making $image, which the registry has not"
            mapfile -t contexts < <(runtime_contexts)
            bake_file "${contexts[@]}" --set "runtime-$name.tags=$image" "runtime-$name"
        fi
        docker push --quiet "$image"
    done
    bake "$target"
    bake --print "$target" 2>/dev/null | .venv/bin/python docker/publish.py "$dist"
)

mkdir -p "$dist"
[[ ,$profiles, != *,[cg]pu,* ]] || profiles=gateway,$profiles
for part in ${profiles//,/ }; do push_part "$part"; done

folder=hearth-$version
mkdir -p "$dist/$folder"
cp -r compose.yaml config "$dist/compose.lock.yaml" "$dist/$folder"
install -D -m 644 secrets/.gitignore "$dist/$folder/secrets/.gitignore"  # the folder that the gateway sees, without what is in it
{ cat .env; printf '%s\n' "COMPOSE_FILE=compose.yaml:compose.lock.yaml" "HEARTH_REGISTRY=$registry" "HEARTH_VERSION=$version"; } > "$dist/$folder/.env"
tar -C "$dist" --owner 0 --group 0 -czf "$dist/$folder.tar.gz" "$folder" && rm -r "${dist:?}/$folder"
say "pushed; $dist has compose.lock.yaml, sbom/, provenance/ and $folder.tar.gz"
