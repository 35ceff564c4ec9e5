#!/usr/bin/env bash
# Installs hearth from the bundle that this script lies in, or brings an installation to the bundle's version. It needs
# Docker, bash, coreutils and tar, and no network. Stopped at any point, it can be run again.
set -euo pipefail
shopt -s inherit_errexit
here=$(cd "$(dirname "$0")" && pwd)
[ -e "$here/stack/docker/lib.sh" ] || { echo "error: $here/stack/docker/lib.sh is missing: unpack the whole bundle" >&2; exit 1; }
# shellcheck source=../lib.sh
. "$here/stack/docker/lib.sh"

dir=$([ "$(id -u)" = 0 ] && echo /opt/hearth || echo "$HOME/hearth")
usage() {
    cat <<END
usage: install.sh [--dir DIR] [--no-start]
  --dir DIR    where compose file, settings and config go (default: $dir)
  --no-start   load and install only
In DIR, what you changed stays: .env, config, keys, and all that is not the bundle's; so do the volumes. README.md says more.
END
}
start=1
while [ $# -gt 0 ]; do
    case $1 in
        --dir) [ -n "${2:-}" ] || die "--dir needs a folder"; dir=$2; shift ;;
        --dir=?*) dir=${1#*=} ;;
        --no-start) start= ;;
        --help | -h) usage; exit ;;
        *) usage >&2; die "$1: unknown option" ;;
    esac
    shift
done
loading=
trap '[ -z "$loading" ] || kill "$loading" 2>/dev/null || true' EXIT   # a background process hears no Ctrl-C
# By a process of its own: a printf that is interrupted by another loses the other's text.
trap '(echo >&2; say "stopped; running it again goes on"); exit 130' INT TERM

# at_least VERSION MAJOR MINOR
at_least() {
    local major minor
    IFS=.- read -r major minor _ <<< "${1#v}"
    [[ $major =~ ^[0-9]+$ && $minor =~ ^[0-9]+$ ]] && ((major > $2 || (major == $2 && minor >= $3)))
}

check_docker() {
    command -v docker >/dev/null || die "docker is missing: install Docker Engine 24 or newer with its compose plugin"
    local engine compose
    engine=$(docker version -f '{{.Server.Version}}' 2>&1) || die "no Docker engine answers this user: ${engine##*$'\n'}"
    at_least "$engine" 24 0 || die "Docker Engine $engine is too old: 24 or newer is needed"
    compose=$(docker compose version --short 2>/dev/null) || die "the compose plugin is missing: install docker-compose-plugin 2.20 or newer"
    at_least "$compose" 2 20 || die "docker compose $compose is too old: 2.20 or newer is needed"
}

# check_hardware PROFILES: what only the engine would notice otherwise, minutes later.
check_hardware() {
    case ,$1, in
        *,gpu,*) gpu_usable || die "this bundle needs an NVIDIA GPU: nvidia-smi must answer (driver 580 or newer) and Docker have the NVIDIA container toolkit" ;;
        *,cpu,*) [[ $(< /proc/cpuinfo) == *avx2* ]] || die "this bundle's engine needs a CPU with AVX2" ;;
    esac
}

check_sums() {
    local sum path bad=() checked=0 told=$SECONDS sums
    mapfile -t sums < "$here/SHA256SUMS" || die "$here/SHA256SUMS is missing: unpack the whole bundle"
    say "checking ${#sums[@]} files"
    for line in "${sums[@]}"; do
        read -r sum path <<< "$line"
        if [ ! -e "$here/$path" ]; then bad+=("$path is missing")
        elif [ "$(sha256sum < "$here/$path")" != "$sum  -" ]; then bad+=("$path is not what it was when the bundle was made")
        fi
        checked=$((checked + 1))
        [ $((SECONDS - told)) -lt 10 ] || { told=$SECONDS; say "checked $checked of ${#sums[@]} files"; }
    done
    [ ${#bad[@]} -eq 0 ] || die "the bundle is damaged, nothing is installed; copy it again: $(printf '\n  %s' "${bad[@]}")"
}

# there NAME CONFIG: whether the engine has this image. Its id is the config's digest; in containerd's store it is another,
# which `load` wrote down.
there() {
    local id
    id=$(docker image inspect -f '{{.Id}}' "$1" 2>/dev/null) || return 1
    [ "$id" = "sha256:$2" ] || [[ -e $dir/.images && $'\n'$(< "$dir/.images")$'\n' == *$'\n'"$2 $id"$'\n'* ]]
}

check_disk() {
    local needed=$1 root free
    root=$(docker info -f '{{.DockerRootDir}}')
    [ -d "$root" ] || return 0   # an engine elsewhere
    { read -r _; read -r free; } < <(df --output=avail --block-size=1 "$root")
    [ "$free" -ge "$needed" ] || die "$root has $((free / 1000000)) MB free, the images need $((needed / 1000000)) MB"
}

load() {
    local name=$1 config=$2 megabytes=$3 folder=$here/images/${2:0:12} began=$SECONDS id
    mapfile -t blobs < "$folder/blobs"
    say "loading $name, $megabytes MB"
    tar -c -C "$folder" manifest.json -C "$here/images/blobs" "${blobs[@]}" | docker load --quiet >/dev/null &
    loading=$!
    while kill -0 $loading 2>/dev/null; do
        sleep 1
        [ $(((SECONDS - began) % 15)) -ne 0 ] || say "$((SECONDS - began)) s"
    done
    wait $loading || die "docker load refused $name: see above"
    loading=
    id=$(docker image inspect -f '{{.Id}}' "$name")
    echo "$config $id" >> "$dir/.images"
}

load_images() {
    local name config size compressed needed=0 largest=0 missing=()
    while read -r name config size compressed; do
        there "$name" "$config" && { say "$name is there"; continue; }
        missing+=("$name $config $((size / 1000000))")
        needed=$((needed + size)) largest=$((compressed > largest ? compressed : largest))
    done < "$here/images/list"
    [ ${#missing[@]} -eq 0 ] || check_disk $((needed + largest))   # the engine unpacks what it is sent, then the layers
    for image in "${missing[@]}"; do
        # shellcheck disable=SC2086  # three words
        load $image
    done
}

# put FILE: from the bundle to DIR, whole or not at all. What it replaces is kept.
put() {
    local file=$dir/$1
    mkdir -p "$(dirname "$file")"
    if [ -e "$file" ] && ! same "$file" "$here/stack/$1"; then keep_copy "$1"; fi
    cp "$here/stack/$1" "$file.partial"
    mv "$file.partial" "$file"
}
keep_copy() {
    mkdir -p "$(dirname "$backup/$1")"
    cp --preserve "$dir/$1" "$backup/$1"
    say "$1 is replaced; what stood there is in $backup"
}
same() { [ "$(sha256sum < "$1")" = "$(sha256sum < "$2")" ]; }
# brought SUM FILE: the last bundle brought FILE, and like this.
brought() { [[ -e $dir/.bundle && $'\n'$(< "$dir/.bundle")$'\n' == *$'\n'"$1  $2"$'\n'* ]]; }

# A config that nobody changed follows the bundle; one that was changed stays, and a newer one of the bundle lies beside it.
put_config() {
    local file=$1 sum=$2 mine
    [ -e "$dir/$file" ] || { put "$file"; return; }
    mine=$(sha256sum < "$dir/$file")
    if [ "$mine" = "$sum  -" ] || brought "${mine%% *}" "$file"; then put "$file"
    elif brought "$sum" "$file"; then say "$file: yours stays"
    else
        cp "$here/stack/$file" "$dir/$file.new"
        say "$file: yours stays; this version's is $file.new"
    fi
}

# Settings: of .env the operator's lines stay; what a version newly needs is added.
merge_settings() {
    local line name old="" new="" profile theirs="" ours=""
    [ -e "$dir/.env" ] || { put .env; return; }
    old=$(< "$dir/.env")
    while IFS= read -r line; do [[ $line != COMPOSE_PROFILES=* ]] || ours=${line#*=}; done < "$here/stack/.env"
    while IFS= read -r line || [ -n "$line" ]; do
        if [[ $line == COMPOSE_PROFILES=* ]]; then
            theirs=${line#*=}
            for profile in ${theirs//,/ }; do
                [[ ,$ours, == *,$profile,* ]] || { say ".env: this bundle has no profile $profile, so COMPOSE_PROFILES=$ours"; line=COMPOSE_PROFILES=$ours; break; }
            done
        fi
        new+=$line$'\n'
    done <<< "$old"
    while IFS= read -r line; do
        name=${line%%=*}
        [[ $line != [A-Z]*=* || $'\n'$new == *$'\n'"$name="* ]] || { say ".env: $line is new"; new+=$line$'\n'; }
    done < "$here/stack/.env"
    [ "$new" != "$old"$'\n' ] || return 0
    keep_copy .env
    (umask 077; printf %s "$new" > "$dir/.env.partial")   # it may hold keys
    chmod --reference "$dir/.env" "$dir/.env.partial"
    mv "$dir/.env.partial" "$dir/.env"
}

install_files() {
    local sum path file shipped=""
    say "installing to $dir"
    backup=$dir/backups/$(date +%Y-%m-%dT%H-%M-%S)
    while read -r sum path; do
        [[ $path == stack/* ]] || continue
        file=${path#stack/}
        case $file in
            .env) merge_settings ;;
            config/*) put_config "$file" "$sum" ;;
            *) put "$file" ;;
        esac
        shipped+="$sum  $file"$'\n'
    done < "$here/SHA256SUMS"
    printf %s "$shipped" > "$dir/.bundle.partial"
    mv "$dir/.bundle.partial" "$dir/.bundle"
}

check_docker
profiles=
while IFS= read -r line; do [[ $line != COMPOSE_PROFILES=* ]] || profiles=${line#*=}; done < "$here/stack/.env"
check_hardware "$profiles"
check_sums
mkdir -p "$dir" 2>/dev/null && [ -w "$dir" ] || die "$dir cannot be written: choose another with --dir, or run this as root"
dir=$(cd "$dir" && pwd)
[ ! -e "$dir/.git" ] || die "$dir is a clone of the repository: 'make up' there, or choose another folder with --dir"
load_images
install_files
cd "$dir"
if [ -z "$start" ]; then
    say "installed; to start it: cd $dir && docker compose up --detach --wait"
    exit
fi
export COMPOSE_REMOVE_ORPHANS=true   # services of another bundle's profile
bash docker/bring-up.sh
address=$(docker compose port gateway 8080)
bash docker/print-usage.sh "http://${address/0.0.0.0/127.0.0.1}" "In $dir: docker compose ps, logs, stop, up; README.md says more."
