# shellcheck shell=bash
# Shared by the scripts of this folder: how they speak. Goes with a bundle too, to boxes that have bash and coreutils only.
say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# An NVIDIA GPU is usable when the driver answers and Docker can hand the device over (runtime or CDI).
gpu_usable() { [[ $(nvidia-smi -L 2>/dev/null) == *GPU* ]] && toolkit_ready; }
toolkit_ready() { [[ $(docker info -f '{{json .Runtimes}}' 2>/dev/null) == *nvidia* || -e /etc/cdi/nvidia.yaml ]]; }

# apt-get update once an hour is enough; a fresh machine has no lists at all.
apt_install() {
    local missing=() package
    for package in "$@"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
    [ ${#missing[@]} -eq 0 ] && return
    say "installing ${missing[*]} with apt-get"
    [ -n "$(find /var/cache/apt/pkgcache.bin -mmin -60 2>/dev/null)" ] || apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# debian_mirror SUITE: where this host gets that suite of Debian from, without a slash at its end.
# shellcheck disable=SC2016  # apt-get expands these
debian_mirror() {
    local uri
    uri=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null | awk -v suite="$1" '$1 == suite {print $2; exit}')
    echo "${uri%/}"
}

debian_with_root() { [ "$(id -u)" = 0 ] && grep -q '^ID=debian' /etc/os-release 2>/dev/null; }
