#!/usr/bin/env bash
# Ends with .venv holding what the tests need, exactly as uv.lock says, and .tools holding the uv that made it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

uv=.tools/bin/uv
if [ ! -x "$uv" ] || [ "$("$uv" --version | cut -d' ' -f2)" != "$(sed -n 's/^uv==\([^ ]*\).*/\1/p' docker/requirements/uv.txt)" ]; then
    python=$(command -v python3.11 || command -v python3 || true)
    if { [ -z "$python" ] || ! "$python" -c 'import ensurepip' 2>/dev/null; } && debian_with_root; then
        apt_install python3 python3-venv
        python=/usr/bin/python3
    fi
    [ -n "$python" ] || die "Python 3.11 with venv is needed (Debian: apt-get install python3-venv)"
    say "fetching uv"
    "$python" -m venv --clear .tools
    .tools/bin/pip install -q --disable-pip-version-check --require-hashes -r docker/requirements/uv.txt
fi
say "making .venv from uv.lock"
"$uv" sync -q --locked --python "$(command -v python3.11 || command -v python3)" --no-python-downloads
