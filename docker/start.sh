#!/usr/bin/env bash
# Starts the stack (bring-up.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
exec docker/bring-up.sh
