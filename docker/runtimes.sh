# shellcheck shell=bash
# Sourced by host.sh. A runtime is everything of an image but our own code and weights: 99 % of it. In a registry it is an
# image of its own, named by what it is made from, so that every release and model shares its layers, and a machine
# with cold caches neither makes them again nor has its users pull the same content under another digest.
runtimes=(node gateway commands browser search egress cpu cuda)  # node first: others are made from it

# What a stage of the Dockerfile is made from: its text without comments, the files that it mounts or copies, and the same of
# the stages that it takes layers from. (uv and the CA come by mount and leave nothing.)
made_from() {
    local text stage
    text=$(awk -v stage="$1" '/^FROM / {on = $NF == stage} on && !/^ *#/ && NF' docker/Dockerfile)
    [ -n "$text" ] || return 0
    echo "$text"
    # shellcheck disable=SC2046  # one word each
    cat $(grep -oE 'docker/(requirements|tools)/[a-z.-]+' <<<"$text") /dev/null
    sed -nE 's/^FROM ([^ ]+) AS .*/\1/p; s/^COPY .*--from=([a-z-]+) .*/\1/p' <<<"$text" | while read -r stage; do made_from "$stage"; done
}

# The name of a runtime's image in a registry.
runtime() { echo "${2}hearth-runtime:$1-$(made_from "runtime-$1" | sha256sum | cut -c1-16)"; }

# Prints an image's digest, fails where the registry has it not.
in_registry() { docker buildx imagetools inspect "$1" 2>/dev/null | sed -n 's/^Digest: *//p' | grep .; }

# Bake's arguments that take from HEARTH_RUNTIMES what is there; by digest, since this engine may hold an older one.
runtime_contexts() {
    local name image digest
    [ -n "${HEARTH_RUNTIMES:-}" ] || return 0
    for name in "${runtimes[@]}"; do
        image=$(runtime "$name" "$HEARTH_RUNTIMES")
        ! digest=$(in_registry "$image") || printf -- '--set\n*.contexts.runtime-%s=docker-image://%s@%s\n' "$name" "$image" "$digest"
    done
}
