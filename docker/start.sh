#!/usr/bin/env bash
# Starts the stack (bring-up.sh), after what a change of models that was cut off may have left (tidy.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
. docker/lib.sh

exec 8<compose.yaml
flock -n 8 || die "make use or rollback is at work on this stack"
docker/tidy.sh
exec docker/bring-up.sh
