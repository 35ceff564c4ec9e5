#!/usr/bin/env bash
# Ends with the image debian:bookworm-slim in the engine: there already, pulled, or (no registry) made by debootstrap
# with what the official slim image has, under the same name, so that the Dockerfile knows one base only.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

image=debian:bookworm-slim
docker image inspect "$image" >/dev/null 2>&1 && exit 0
say "pulling $image"
timeout 120 docker pull -q "$image" >/dev/null 2>&1 && exit 0

debian_with_root || die "$image cannot be pulled, and making it takes Debian, root and debootstrap"
say "no registry answers: making $image with debootstrap"
apt_install debootstrap
mirror=${HEARTH_DEBIAN_MIRROR:-$(debian_mirror bookworm)} security=$(debian_mirror bookworm-security)
[ -n "$mirror" ] || die "apt knows no source for bookworm; HEARTH_DEBIAN_MIRROR=URL names one"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase bookworm "$root" "$mirror" > "$root.log" 2>&1 || die "debootstrap failed:
$(tail -n 15 "$root.log")"
rm -f "$root.log" "$root/etc/apt/sources.list"
cat > "$root/etc/apt/sources.list.d/debian.sources" <<EOF
Types: deb
URIs: $mirror
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOF
[ -z "$security" ] || cat >> "$root/etc/apt/sources.list.d/debian.sources" <<EOF

Types: deb
URIs: $security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOF
# As in the official slim image: no documentation, no services started by packages, no package cache.
cat > "$root/etc/dpkg/dpkg.cfg.d/docker" <<'EOF'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/info/*
EOF
echo 'Acquire::Languages "none";' > "$root/etc/apt/apt.conf.d/docker-no-languages"
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d" && chmod 755 "$root/usr/sbin/policy-rc.d"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{man,locale,info}/* "$root"/var/log/*
find "$root/usr/share/doc" -type f ! -name copyright -delete
: > "$root/etc/resolv.conf"; echo localhost > "$root/etc/hostname"
tar -C "$root" --one-file-system --exclude=./dev/* --exclude=./proc/* --exclude=./sys/* -c . |
    docker import -c 'CMD ["bash"]' - "$image" >/dev/null
say "made $image"
