#!/usr/bin/env bash
# Ends with a running Docker engine that has buildx and compose, or says what is missing.
#
# Where one runs already, nothing is touched. On Debian 12 with root and none, one is installed from Debian's own
# packages. Bookworm's engine (20.10) is too old for this project's Dockerfile (heredocs, COPY --link, named build
# contexts), so trixie's packages are unpacked into a folder of their own: they run on bookworm's libc, and apt's
# state stays as it is. Only runc must come from bookworm.
#   HEARTH_INSTALL_DOCKER=0  never installs; refuses with instructions
set -euo pipefail
. "$(dirname "$0")/lib.sh"

home=/opt/hearth-docker
log=/var/log/hearth-docker.log
export PATH="$PATH:$home/usr/bin:$home/usr/sbin:/usr/sbin:/sbin"

complete() { docker info >/dev/null 2>&1 && docker buildx version >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; }

complete && exit 0

exec 9>/tmp/hearth-docker.lock
flock 9
complete && exit 0

if docker info >/dev/null 2>&1; then
    problem="the Docker engine runs, but 'docker buildx' or 'docker compose' is missing"
else
    problem="no Docker engine answers"
fi
if [ "${HEARTH_INSTALL_DOCKER:-1}" = 0 ] || ! debian_with_root; then die "$problem.
  Install Docker Engine 24 or newer with the buildx and compose plugins (https://docs.docker.com/engine/install/),
  start it, and let this user reach it (docker info must succeed).
  On Debian 12, root may leave that to this script: HEARTH_INSTALL_DOCKER=1 make up"
fi

install_engine() {
    say "$problem: installing one from Debian's packages into $home (HEARTH_INSTALL_DOCKER=0 refuses instead)"
    apt_install ca-certificates iptables runc tini
    local work; work=$(mktemp -d)
    unpack_from_trixie "$work" docker.io docker-cli containerd docker-buildx docker-compose
    ln -sf /usr/bin/tini-static "$work/usr/bin/docker-init"   # for `docker run --init`
    rm -rf "$home" && mv "$work" "$home" && chmod 755 "$home"
    mkdir -p /usr/libexec/docker/cli-plugins
    ln -sf "$home"/usr/libexec/docker/cli-plugins/* /usr/libexec/docker/cli-plugins/
    command -v docker >/dev/null && [ "$(command -v docker)" != "$home/usr/bin/docker" ] || ln -sf "$home/usr/bin/docker" /usr/local/bin/docker
}

start_engine() {
    say "starting the Docker engine (log: $log)"
    mkdir -p /sys/fs/cgroup
    # Its own session, so that it outlives this shell; the lock's descriptor is closed, or it would hold the lock.
    setsid dockerd >>"$log" 2>&1 </dev/null 9>&- &
    local waited=0
    until docker info >/dev/null 2>&1; do
        [ $((waited += 1)) -le 120 ] || die "the Docker engine did not come up in 60 s; its log ends with:
$(tail -n 15 "$log")"
        sleep 0.5
    done
}

[ -x "$home/usr/libexec/docker/cli-plugins/docker-compose" ] || install_engine
docker info >/dev/null 2>&1 || start_engine
complete || die "the Docker engine runs, but buildx or compose does not: $(docker buildx version 2>&1 | head -n 1); $(docker compose version 2>&1 | head -n 1)"
say "Docker $(docker version -f '{{.Server.Version}}'), buildx and compose are ready"
