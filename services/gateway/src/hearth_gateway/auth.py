"""API keys: a file of `name:sha256` lines.

The keys are 256 random bits, so a plain hash is enough: there is nothing to guess that salt or stretching would slow.
"""

import hashlib
import hmac
import logging
import re
import secrets
from pathlib import Path

from hearth_gateway.errors import Problem

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LINE = re.compile(rf"({_NAME.pattern}):([0-9a-f]{{64}})")
_UNAUTHORIZED = {"WWW-Authenticate": "Bearer"}

log = logging.getLogger(__name__)


class KeyFileError(ValueError):
    """The key file cannot be used; the message says which line and why."""


def digest(key: bytes) -> bytes:
    return hashlib.sha256(key).hexdigest().encode()


def parse(text: str) -> dict[str, bytes]:
    """The file's text as {name: hex digest}. Blank lines and `#` comments are skipped.

    Raises KeyFileError with the line's number, never with its content: it may be a key pasted by mistake.
    """
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not (line := line.strip()) or line.startswith("#"):
            continue
        if not (match := _LINE.fullmatch(line)):
            raise KeyFileError(f"line {number} is not name:sha256 (64 hexadecimal digits)")
        if match[1] in keys:
            raise KeyFileError(f"line {number}: the name {match[1]} is there twice")
        keys[match[1]] = match[2].encode()
    return keys


class KeyFile:
    """The keys of one file, read again when it changes."""

    def __init__(self, path: Path) -> None:
        """Raises KeyFileError when the file cannot be read: starting open instead would be worse."""
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._keys: dict[str, bytes] = {}
        self._complaint = ""
        try:
            self._read()
        except (OSError, ValueError) as error:
            raise KeyFileError(f"{path}: {error}") from None

    def _read(self) -> None:
        stat = self._path.stat()
        if (stamp := (stat.st_mtime_ns, stat.st_size)) == self._stamp:
            return
        self._stamp = stamp  # a broken file is reported once, not on every request
        self._keys = parse(self._path.read_text(encoding="utf-8"))

    def check(self, authorization: bytes | None) -> str:
        """The name of the key in an `Authorization` header. Raises Problem 401."""
        try:
            self._read()
        except (OSError, ValueError) as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                log.error("%s cannot be read again, the last keys stay in force: %s", self._path, error)
        if authorization is None or authorization[:7].lower() != b"bearer ":
            raise Problem(
                401, "An API key is needed: Authorization: Bearer <key>.", code="invalid_api_key", headers=_UNAUTHORIZED
            )
        given, name = digest(authorization[7:].strip()), None
        for candidate, known in self._keys.items():  # all of them, so that the time tells nothing about a match
            if hmac.compare_digest(given, known):
                name = candidate
        if name is None:
            raise Problem(401, "This API key is not known.", code="invalid_api_key", headers=_UNAUTHORIZED)
        return name


def issue(path: Path, name: str) -> str:
    """Make a key, append its hash to `path` under `name`, return the key: it is stored nowhere else.

    Raises KeyFileError when the name is taken or not allowed, or the file is not a key file.
    """
    if not _NAME.fullmatch(name):
        raise KeyFileError(f"the name {name!r} is not allowed: letters, digits, dot, dash and underscore, at most 64")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if name in parse(text):
        raise KeyFileError(f"{path} already has a key named {name}")
    key = f"hearth_{secrets.token_urlsafe(32)}"
    with path.open("a", encoding="utf-8") as file:
        file.write(("" if not text or text.endswith("\n") else "\n") + f"{name}:{digest(key.encode()).decode()}\n")
    return key
