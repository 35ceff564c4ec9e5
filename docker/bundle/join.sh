#!/usr/bin/env bash
# bash NAME.join.sh [FOLDER]: checks the parts of NAME.tar that lie beside it and unpacks them to FOLDER/NAME (default: here).
set -euo pipefail
say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

[[ ${1:-} != -* ]] || { echo "usage: bash ${0##*/} [FOLDER]   checks the parts beside it, unpacks them to FOLDER (default: here)"; exit; }
from=$(cd "$(dirname "$0")" && pwd) name=$(basename "$0" .join.sh)
to=$(cd "${1:-.}" && pwd)/$name
[ -e "$from/$name.tar.sha256" ] || die "$name.tar.sha256 is missing: it names the parts"
[ ! -e "$to" ] || die "$to is there already"

parts=() bad=()
while read -r sum part; do
    say "checking $part"
    if [ ! -e "$from/$part" ]; then bad+=("$part is missing")
    elif [ "$(sha256sum < "$from/$part")" != "$sum  -" ]; then bad+=("$part is damaged: copy it again")
    fi
    parts+=("$from/$part")
done < "$from/$name.tar.sha256"
[ ${#bad[@]} -eq 0 ] || die "nothing is unpacked: $(printf '\n  %s' "${bad[@]}")"

say "unpacking to $to"
trap 'rm -rf "$to.partial"' EXIT
mkdir "$to.partial"
cat "${parts[@]}" | tar -x -C "$to.partial" --strip-components 1
mv "$to.partial" "$to"
say "next: $to/install.sh"
