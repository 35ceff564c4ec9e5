#!/usr/bin/env bash
# Ends with Debian's Redis on this machine, for tests that start one of their own. The package redis-tools has the program,
# under another name, and not the service that redis-server would start.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

command -v redis-server >/dev/null || command -v redis-check-rdb >/dev/null || {
    debian_with_root || die "redis-server is needed for the tests (Debian: apt-get install redis-tools)"
    apt_install redis-tools
}
