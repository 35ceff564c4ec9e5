"""hearth-gateway keys: create, list, revoke. A running gateway heeds each of them at its next request."""

import argparse
import os
import re
import sys
from datetime import timedelta
from pathlib import Path

from hearth_gateway.auth import Key, KeyFileError, issue, read, revoke, shown

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=3660)


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--file",
        type=Path,
        help="key file (default: HEARTH_API_KEYS_FILE, else `api_keys` in the folder HEARTH_SECRETS)",
    )
    common.add_argument("--owner", type=int, metavar="UID", help="whose a new file shall be (default: yours)")
    actions = parser.add_subparsers(dest="action", required=True)

    create = actions.add_parser("create", parents=[common], help="make a key, show it once, store its hash")
    create.add_argument("name", help="who it is for")
    create.add_argument(
        "--expires", type=_lifetime, metavar="TIME", help="90d: in 90 days; also h and w (default: never)"
    )
    create.set_defaults(run=_create)

    list_ = actions.add_parser(
        "list", parents=[common], help="names of the keys, when they were made, when they expire"
    )
    list_.set_defaults(run=_list)

    revoke_ = actions.add_parser("revoke", parents=[common], help="refuse a key from now on")
    revoke_.add_argument("name", help="whose it is")
    revoke_.set_defaults(run=_revoke)


def _lifetime(text: str) -> timedelta:
    if not (match := re.fullmatch(r"([1-9]\d{0,5})([hdw])", text)):
        raise argparse.ArgumentTypeError(f"{text!r}: allowed are a number and h, d or w: 12h, 90d, 52w")
    if (lifetime := timedelta(**{_UNITS[match[2]]: int(match[1])})) > _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r}: at most {_LONGEST.days}d")
    return lifetime


def _file(given: argparse.Namespace) -> Path:
    """Raises KeyFileError when nobody said which file."""
    if file := given.file or os.environ.get("HEARTH_API_KEYS_FILE"):
        return Path(file)
    if folder := os.environ.get("HEARTH_SECRETS"):
        return Path(folder, "api_keys")
    raise KeyFileError("No key file: give --file, or set HEARTH_API_KEYS_FILE (a file) or HEARTH_SECRETS (its folder).")


def _create(given: argparse.Namespace) -> int:
    file = _file(given)
    key = issue(file, given.name, given.expires, given.owner)
    print(key)
    print(f"The key of {given.name}, shown this once; {file} holds its hash.", file=sys.stderr)
    return 0


def _list(given: argparse.Namespace) -> int:
    rows = [("name", "id", "created", "expires"), *map(_row, read(_file(given)))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _row(key: Key) -> tuple[str, str, str, str]:
    expires = shown(key.expires) or "never"
    return key.name, key.id, shown(key.created) or "unknown", f"{expires} (expired)" if key.expired else expires


def _revoke(given: argparse.Namespace) -> int:
    file = _file(given)
    revoke(file, given.name)
    print(f"The key of {given.name} is refused from now on; answers that have begun are finished.", file=sys.stderr)
    return 0
