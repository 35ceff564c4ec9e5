# shellcheck shell=bash
# Sourced by the Makefile's recipes: finds out what this machine is, exports what Compose and Bake ask for.
# Whatever is set already, in the environment or in .env, wins.
. docker/lib.sh
. docker/runtimes.sh
export PATH="$PATH:/opt/hearth-docker/usr/bin:/usr/sbin:/sbin"

# Compose reads .env by itself; Bake and these scripts do not.
while IFS='=' read -r name value; do
    [[ -v $name ]] || export "$name=$value"
done < <(grep -E '^HEARTH_[A-Z_]+=' .env)

# A CA that the distribution does not ship, in the host's bundle: a TLS-intercepting proxy. Prints the bundle's path.
custom_ca() {
    local bundle shipped; bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}; shipped=/usr/share/ca-certificates
    [ -f "$bundle" ] && [ -d "$shipped" ] || return 0
    { find "$shipped" -name '*.crt' -exec cat {} +; echo '=== bundle'; cat "$bundle"; } | awk '
        /^=== bundle/ {bundle = 1; next}
        /BEGIN CERT/ {certificate = ""; next}
        /END CERT/ {if (!bundle) known[certificate] = 1; else if (!(certificate in known)) found = 1; next}
        {certificate = certificate $0}
        END {exit !found}' && echo "$bundle"
}

# PyTorch's CPU wheel, where pip was told of a local folder that has it; else the folder here, empty unless filled.
local_wheels() {
    local folder
    for folder in ${PIP_FIND_LINKS:-}; do
        ls "$folder"/torch-*+cpu-*.whl >/dev/null 2>&1 && { echo "$folder"; return; }
    done
    echo docker/wheels
}

# COMPOSE_PROFILES of the environment, not of .env: .env says what a bare `docker compose up` does. With commas: cpu,tools.
: "${COMPOSE_PROFILES:=$(gpu_usable && echo gpu || echo cpu)}"
: "${HEARTH_CA:=$(custom_ca)}"
: "${HEARTH_WHEELS:=$(local_wheels)}"
engine=engine-$([[ ,$COMPOSE_PROFILES, == *,gpu,* ]] && echo gpu || echo cpu)
# What `make use` wrote of this engine: chosen model, chosen before. Nothing where Compose is told to read other files.
chosen() {
    [[ :${COMPOSE_FILE:-compose.override.yaml}: == *:compose.override.yaml:* ]] && grep -qs "^  $engine:" compose.override.yaml || return 0
    sed -n "s/^# $1: //p" compose.override.yaml
}
# A model's name is its recipe's, and its back end's where one was named: prints the two.
parts_of() {
    case $1 in
        *-gptqmodel | *-auto-gptq) [ -f "models/$1.yaml" ] || { echo "$(sed -E 's/-(gptqmodel|auto-gptq)$//' <<<"$1") $(grep -oE '(gptqmodel|auto-gptq)$' <<<"$1")"; return; } ;;
    esac
    echo "$1"
}
if model=$(chosen model) && [ -n "$model" ]; then
    given=${HEARTH_RECIPE:-}${HEARTH_BACKEND:+-$HEARTH_BACKEND}
    [ -z "$given" ] || [ "$given" = "$model" ] ||
        die "compose.override.yaml says $model, HEARTH_RECIPE and HEARTH_BACKEND say $given: unset them and 'make use MODEL=$given', or delete the file"
    read -r HEARTH_RECIPE HEARTH_BACKEND < <(parts_of "$model")
    export HEARTH_RECIPE
fi
recipe=${HEARTH_RECIPE:-$([ "$engine" = engine-gpu ] && echo qwen3-4b-instruct-2507 || echo tiny)}
case ${HEARTH_BACKEND:=} in
    '' | gptqmodel | auto-gptq) ;;
    *) die "HEARTH_BACKEND=$HEARTH_BACKEND: unknown back end; allowed: gptqmodel, auto-gptq" ;;
esac
# Weights that `make quantize` made are baked as they are; otherwise the build quantizes.
made=weights/$recipe${HEARTH_BACKEND:+-$HEARTH_BACKEND}
: "${HEARTH_WEIGHTS:=$([ -f "$made/hearth.json" ] && echo "$made" || true)}"
# Kernels that `make warm` compiled on this kind of GPU, or on others.
: "${HEARTH_WARM:=$([ -d build/warm/triton ] && echo build/warm || true)}"
# No more requests at the engine than it computes at once: the others wait in the gateway, where each key gets its share.
# On the CPU the engine's own default is 16, on a GPU it is what the gateway's is.
[[ ,$COMPOSE_PROFILES, != *,cpu,* ]] || export HEARTH_MAX_IN_FLIGHT=${HEARTH_MAX_IN_FLIGHT:-${HEARTH_MAX_NUM_SEQS:-16}}
# With tool servers beside it the gateway gets their file.
[[ ,$COMPOSE_PROFILES, != *,tools,* ]] || export HEARTH_TOOLS_FILE=${HEARTH_TOOLS_FILE:-config/hearth.tools.yaml}
export COMPOSE_PROFILES HEARTH_CA=${HEARTH_CA:-/dev/null} HEARTH_WHEELS HEARTH_WEIGHTS HEARTH_WARM HEARTH_BACKEND

# Keys and certificate are mounted by their folder, see compose.yaml: a path to one of them says which folder.
secrets=${HEARTH_SECRETS:-}
for name in HEARTH_API_KEYS_FILE HEARTH_TLS_CERTIFICATE_FILE HEARTH_TLS_KEY_FILE; do
    path=${!name:-}
    [[ $path == */* ]] || continue
    folder=${path%/*}
    if [ -z "$secrets" ]; then
        secrets=${folder:-/}
        [ -d "$secrets" ] || die "$name=$path: there is no folder $secrets"
        [ -z "$(find "$secrets" -mindepth 1 -type d -print -quit)" ] ||
            die "$name=$path: the gateway sees the whole folder $secrets, which has more in it: put the file into one of its own"
    fi
    [ "${folder:-/}" -ef "$secrets" ] || die "$name=$path: is not in $secrets, the one folder of such files that the gateway sees (HEARTH_SECRETS)"
    export "$name=${path##*/}"
done
export HEARTH_SECRETS=${secrets:-./secrets}

bind=${HEARTH_BIND:-127.0.0.1:8080}
[[ $bind == *:* ]] || bind=0.0.0.0:$bind   # a port alone is every address, as Compose reads it
scheme=http
if [ -n "${HEARTH_TLS_CERTIFICATE_FILE:-}" ]; then
    scheme=https
    # Whom the clients on this host believe: by default the certificate that is served.
    export HEARTH_TLS_CA=${HEARTH_TLS_CA:-$HEARTH_SECRETS/$HEARTH_TLS_CERTIFICATE_FILE}
fi
# shellcheck disable=SC2034  # for the recipes
url=${HEARTH_URL:-$scheme://${bind/0.0.0.0/127.0.0.1}}
bake_file() { docker buildx bake -f docker/docker-bake.hcl --progress "${HEARTH_PROGRESS:-auto}" "$@"; }
# What an engine's labels say of its weights is known once these are made: so first they are, and a file for Bake of them.
bake() {
    local argument engine arguments=()
    mapfile -t arguments < <(runtime_contexts)
    for argument; do
        case $argument in
            cpu | engine-cpu) engine="engine-cpu" ;;
            gpu | engine-cuda) engine="engine-cuda" ;;
            *) continue ;;
        esac
        bake_file "labels-$engine" || return
        arguments+=(-f "build/labels/$engine/labels.json")
    done
    bake_file "${arguments[@]}" "$@"
}
# The name of a target's image.
image() { bake_file --print "$1" 2>/dev/null | sed -n '/"tags"/ {n; s/.*"\(.*\)".*/\1/p}'; }
# Arguments that hand a CA over to a container.
ca=()
# shellcheck disable=SC2034  # for the recipes
[ "$HEARTH_CA" = /dev/null ] || ca=(--volume "$HEARTH_CA:/run/secrets/ca:ro" --env SSL_CERT_FILE=/run/secrets/ca)
