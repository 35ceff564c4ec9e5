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

# unpack_from_trixie FOLDER PACKAGE…: programs that bookworm has not, or too old. They run on bookworm's libc, in a folder of
# their own; apt's state stays as it is.
unpack_from_trixie() (
    folder=$1; shift
    mirror=${HEARTH_DEBIAN_MIRROR:-$(debian_mirror bookworm)}
    [ -n "$mirror" ] || die "apt knows no source for bookworm: is this Debian 12? HEARTH_DEBIAN_MIRROR=URL names one"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$folder"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" > "$work/sources.list"
    apt=(-qq -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
         -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o Acquire::Languages=none
         -o APT::Sandbox::User=root)
    apt-get "${apt[@]}" update
    cd "$work" && apt-get "${apt[@]}" download "$@"
    for deb in *.deb; do dpkg -x "$deb" "$folder"; done
)

debian_with_root() { [ "$(id -u)" = 0 ] && grep -q '^ID=debian' /etc/os-release 2>/dev/null; }
