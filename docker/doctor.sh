#!/usr/bin/env bash
# Is this machine fit to run hearth? One line a check, and what to do where it is not. Exits 1 if anything failed.
# The checks of the gpu profile apply where a GPU is, or where COMPOSE_PROFILES=gpu asks for one.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. docker/host.sh 2>/dev/null

failed=0
ok() { printf '  \033[32mok\033[0m    %-18s %s\n' "$1" "$2"; }
note() { printf '  \033[33mnote\033[0m  %-18s %s\n        %-18s → %s\n' "$1" "$2" '' "$3"; }
bad() { printf '  \033[31mFAIL\033[0m  %-18s %s\n        %-18s → %s\n' "$1" "$2" '' "$3"; failed=1; }
gib() { awk -v k="$1" 'BEGIN {printf "%.1f GiB", k / 1048576}'; }
at_least() { [ "${1%.*}" -ge "$2" ] 2>/dev/null; }

echo "profile $COMPOSE_PROFILES"

if docker info >/dev/null 2>&1; then
    version=$(docker version -f '{{.Server.Version}}')
    if at_least "${version%%.*}" 23; then ok docker "engine $version"; else
        bad docker "engine $version is too old" "install Docker Engine 24 or newer: its BuildKit must know heredocs, COPY --link and named contexts"; fi
    for plugin in buildx compose; do
        if out=$(docker "$plugin" version 2>/dev/null); then ok "docker $plugin" "$out"; else
            bad "docker $plugin" "missing" "install the docker-$plugin-plugin package, or let 'make up' do it on Debian with root"; fi
    done
elif debian_with_root && [ "${HEARTH_INSTALL_DOCKER:-1}" != 0 ]; then
    note docker "no engine answers" "'make up' installs and starts one from Debian's packages"
else
    bad docker "no engine answers" "start it, or install it (https://docs.docker.com/engine/install/); 'docker info' must succeed for this user"
fi

if [[ ,$COMPOSE_PROFILES, == *,gpu,* ]]; then
    if driver=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null); then
        major=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1)
        if at_least "${major%%.*}" 580; then ok driver "$driver"; else
            bad driver "$driver" "the image is CUDA 13's: install driver 580 or newer"; fi
    else
        bad driver "nvidia-smi does not answer" "install NVIDIA's driver 580 or newer, then reboot; or COMPOSE_PROFILES=cpu make up"
    fi
    if toolkit_ready; then ok "container toolkit" "Docker knows the NVIDIA runtime"; else
        bad "container toolkit" "Docker cannot hand a GPU to a container" "install nvidia-container-toolkit, then: nvidia-ctk runtime configure --runtime=docker && systemctl restart docker"; fi
    disk_gib=40 memory_gib=12
else
    if command -v nvidia-smi >/dev/null; then note gpu "a driver is installed, but the cpu profile was chosen" "see the checks of COMPOSE_PROFILES=gpu make doctor"; fi
    if grep -qw avx512f /proc/cpuinfo; then ok AVX-512 "the INT4 kernel's instructions are there"
    elif grep -qw avx2 /proc/cpuinfo; then note AVX-512 "this CPU lacks it" "vLLM's INT4 kernel for CPUs needs it: the weights are unpacked at each start, which takes more memory"
    else bad AVX2 "this CPU lacks it" "vLLM for CPUs needs AVX2: use another machine, or the gpu profile"; fi
    disk_gib=20 memory_gib=6
fi

root=$(docker info -f '{{.DockerRootDir}}' 2>/dev/null); [ -d "${root:-}" ] || root=/var/lib; [ -d "$root" ] || root=/
free=$(df -Pk "$root" | awk 'NR == 2 {print $4}')
if [ "$free" -ge $((disk_gib * 1048576)) ]; then ok disk "$(gib "$free") free in $root"; else
    bad disk "$(gib "$free") free in $root, $disk_gib GiB wanted" "make room there (docker system prune), or move Docker's data-root"; fi

memory=$(awk '/^MemAvailable/ {print $2}' /proc/meminfo)
if [ "$memory" -ge $((memory_gib * 1048576)) ]; then ok memory "$(gib "$memory") available"; else
    bad memory "$(gib "$memory") available, $memory_gib GiB wanted" "close what else runs, or add swap"; fi

address=$bind
if docker compose ps --status running --services 2>/dev/null | grep -qx gateway; then ok port "$address is the running gateway's"
elif (exec 3<>"/dev/tcp/${address%:*}/${address##*:}") 2>/dev/null; then
    bad port "$address is taken" "stop what listens there, or choose another: HEARTH_BIND=127.0.0.1:8081 make up"
else ok port "$address is free"; fi

# gateway_may BITS PATH: whether the gateway's user, uid 1000, has these permissions. A mounted file keeps its owner and mode.
gateway_may() {
    local owner mode; read -r owner mode < <(stat -Lc '%u %a' "$2")
    mode=000$mode
    if [ "$owner" = 1000 ]; then mode=${mode: -3:1}; else mode=${mode: -1}; fi
    (((mode & $1) == $1))
}
if ! [ -d "$HEARTH_SECRETS" ]; then bad secrets "there is no folder $HEARTH_SECRETS" "mkdir -m 755 $HEARTH_SECRETS"
elif ! gateway_may 1 "$HEARTH_SECRETS"; then bad secrets "uid 1000, the gateway's user, cannot look into $HEARTH_SECRETS" "chmod o+x $HEARTH_SECRETS"; fi
secret() {
    local path=$HEARTH_SECRETS/$2
    if ! [ -e "$path" ]; then bad "$1" "$path is not there" "$3"
    elif ! gateway_may 4 "$path"; then bad "$1" "uid 1000, the gateway's user, cannot read $path" "chown 1000 $path && chmod 600 $path"
    else ok "$1" "$path"; fi
}
if [ -n "${HEARTH_API_KEYS_FILE:-}" ] || [ -e "$HEARTH_SECRETS/api_keys" ] || [ -e "$HEARTH_SECRETS/.api_keys.lock" ]; then
    secret "API keys" "${HEARTH_API_KEYS_FILE:-api_keys}" "bring it back from a backup, or make new keys: make keys ARGS=\"create NAME\""
elif [[ $bind != 127.* && $bind != localhost:* ]]; then
    note "API keys" "there are none, and $bind can be reached from elsewhere" "make keys ARGS=\"create NAME\""
fi
if [ -n "${HEARTH_TLS_CERTIFICATE_FILE:-}${HEARTH_TLS_KEY_FILE:-}" ]; then
    for name in HEARTH_TLS_CERTIFICATE_FILE HEARTH_TLS_KEY_FILE; do
        if [ -n "${!name:-}" ]; then secret TLS "${!name}" "put it there, or set $name to the name of a file in $HEARTH_SECRETS"; else
            bad TLS "$name is unset" "set it: certificate and key belong together"; fi
    done
fi

[ "$HEARTH_CA" = /dev/null ] || ok "custom CA" "$HEARTH_CA is handed to builds"
exit $failed
