"""API keys: a file of `name:sha256` lines.

The keys are 256 random bits, so a plain hash is enough: there is nothing to guess that salt or stretching would slow.

A key that expires is a line `#until 2027-02-24T15:09:13Z name:sha256`. A gateway that knows nothing of this takes it
for a comment and refuses the key, instead of honouring it for ever. When a key was made is a comment above it.
"""

import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hearth_gateway.errors import Problem
from hearth_gateway.settings import Settings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_LINE = re.compile(rf"(?:#until ({_TIME.pattern}) )?({_NAME.pattern}):([0-9a-f]{{64}})")
_CREATED = re.compile(rf"# ({_NAME.pattern}): created ({_TIME.pattern})")
_UNAUTHORIZED = {"WWW-Authenticate": "Bearer"}
_FRESH = 1_000_000_000
"""Nanoseconds for which a file may change again without its times telling: a clock tick, with much to spare."""

log = logging.getLogger(__name__)


class KeyFileError(ValueError):
    """The key file cannot be used; the message says which line and why."""


@dataclass(frozen=True)
class Key:
    name: str
    hash: bytes
    """In hexadecimal digits."""
    created: datetime | None = None
    """None where the file does not say."""
    expires: datetime | None = None
    """None: never."""

    @property
    def id(self) -> str:
        """Tells keys apart in a list; of no use to anybody else."""
        return self.hash[:8].decode()

    @property
    def expired(self) -> bool:
        return self.expires is not None and self.expires.timestamp() <= time.time()


def digest(key: bytes) -> bytes:
    return hashlib.sha256(key).hexdigest().encode()


def parse(text: str) -> dict[str, Key]:
    """The file's text as keys by name. Blank lines and `#` comments are skipped.

    Raises KeyFileError with the line's number, never with its content: it may be a key pasted by mistake.
    """
    keys: dict[str, Key] = {}
    created: dict[str, datetime] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if match := _CREATED.fullmatch(line):
            created[match[1]] = _time(match[2], number)
        if not line or (line.startswith("#") and not line.startswith("#until ")):
            continue
        if not (match := _LINE.fullmatch(line)):
            raise KeyFileError(f"line {number} is not name:sha256 (64 hexadecimal digits)")
        until, name, hashed = match.groups()
        if name in keys:
            raise KeyFileError(f"line {number}: the name {name} is there twice")
        keys[name] = Key(name, hashed.encode(), created.get(name), _time(until, number) if until else None)
    return keys


def _time(text: str, number: int) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise KeyFileError(f"line {number}: {error}") from None


class KeyFile:
    """The keys of one file, read again when it changes."""

    def __init__(self, path: Path, *, required: bool = True) -> None:
        """Where the file is not required and was never there, everyone may ask, until it is there.

        Raises KeyFileError when the file cannot be read: starting open instead would be worse.
        """
        self._path, self._required = path, required
        self._stamp: tuple[int, ...] | None = None
        self._keys: dict[str, Key] | None = None
        self._complaint = ""
        try:
            self._read()
        except (OSError, ValueError) as error:
            raise KeyFileError(f"{path}: {_reason(error)}") from None

    @classmethod
    def of(cls, settings: Settings) -> "KeyFile | None":
        """The file that the settings name, or `api_keys` in the folder for secrets, whenever it is there."""
        if settings.api_keys_file:
            return cls(settings.api_keys_file)
        return cls(settings.secrets / "api_keys", required=False) if settings.secrets else None

    def _read(self) -> None:
        try:
            stat = os.stat(self._path)
        except FileNotFoundError:
            if self._required:
                raise
            if not (lock := _lock_of(self._path)).exists() and self._keys is None:
                return
            raise KeyFileError(
                f"is gone, and there were keys: bring it back, or make one; deleting {lock.name} lets everyone in"
            ) from None
        stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        if stamp == self._stamp:
            return
        # A broken file is reported once, not on every request; one just written is read again, it may not be done.
        self._stamp = stamp if time.time_ns() - stat.st_ctime_ns > _FRESH else None
        before, self._keys = self._keys, parse(self._path.read_text(encoding="utf-8"))
        self._complaint = ""
        if before is not None and before != self._keys:
            log.info("%s was read again: new %s; gone %s", self._path, *_differences(before, self._keys))

    def check(self, authorization: bytes | None) -> str:
        """The name of the key in an `Authorization` header; nothing where everyone may ask. Raises Problem 401."""
        try:
            self._read()
        except (OSError, ValueError) as error:
            if (complaint := _reason(error)) != self._complaint:
                self._complaint = complaint
                log.error("%s cannot be read again, the last keys stay in force: %s", self._path, complaint)
            self._keys = self._keys or {}  # a first file that is broken lets nobody in
        if self._keys is None:
            return ""
        if authorization is None or authorization[:7].lower() != b"bearer ":
            raise Problem(
                401, "An API key is needed: Authorization: Bearer <key>.", code="invalid_api_key", headers=_UNAUTHORIZED
            )
        given, found = digest(authorization[7:].strip()), None
        for key in self._keys.values():  # all of them, so that the time tells nothing about a match
            if hmac.compare_digest(given, key.hash):
                found = key
        if found is None:
            raise Problem(401, "This API key is not known.", code="invalid_api_key", headers=_UNAUTHORIZED)
        if found.expired:
            message = f"This API key expired at {shown(found.expires)}."
            raise Problem(401, message, code="expired_api_key", headers=_UNAUTHORIZED)
        return found.name


def _differences(before: dict[str, Key], after: dict[str, Key]) -> tuple[list[str], list[str]]:
    new, gone = after.items() - before.items(), before.items() - after.items()
    return sorted(name for name, _ in new), sorted(name for name, _ in gone)


def read(path: Path) -> list[Key]:
    """The keys of a file, in its order. Raises KeyFileError when it cannot be read."""
    try:
        return list(parse(path.read_text(encoding="utf-8")).values())
    except (OSError, ValueError) as error:
        raise KeyFileError(f"{path}: {_reason(error)}") from None


def issue(path: Path, name: str, lifetime: timedelta | None = None, owner: int | None = None) -> str:
    """Make a key, put its hash into `path` under `name`, return the key: it is stored nowhere else. A new file belongs
    to the user `owner` where one is given.

    Raises KeyFileError when the name is taken or not allowed, or the file cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise KeyFileError(f"the name {name!r} is not allowed: letters, digits, dot, dash and underscore, at most 64")
    key = f"hearth_{secrets.token_urlsafe(32)}"
    now = datetime.now(UTC)
    with _changed(path, owner) as lines:
        if name in parse("".join(lines)):
            raise KeyFileError(f"{path} already has a key named {name}")
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        until = f"#until {shown(now + lifetime)} " if lifetime else ""
        lines += [f"# {name}: created {shown(now)}\n", f"{until}{name}:{digest(key.encode()).decode()}\n"]
    return key


def revoke(path: Path, name: str) -> None:
    """Take a key out of the file. Nothing of it is left: no edit brings it back, and its name is free again.

    Raises KeyFileError when there is no such key, or the file cannot be used.
    """
    read(path)  # where there is no file, no lock is left that says there was one
    with _changed(path) as lines:
        if name not in (names := parse("".join(lines))):
            raise KeyFileError(f"{path} has no key named {name}; it has: {', '.join(names) or 'none'}")
        lines[:] = [line for line in lines if _named(line) != name]


def _named(line: str) -> str | None:
    """The name of the key that a line is, or is about."""
    if key := _LINE.fullmatch(line.strip()):
        return key[2]
    note = _CREATED.fullmatch(line.strip())
    return note[1] if note else None


@contextmanager
def _changed(path: Path, owner: int | None = None) -> Iterator[list[str]]:
    """The file's lines, to be changed in place; none where there is no file yet. Whoever reads, or comes after one
    who was interrupted, sees the file as it was or as it is to be. Whoever else wants to change it waits.

    The lock is a file of its own, because the key file is replaced. It stays: where it is, there were keys once, and a
    gateway that finds them gone does not start.
    """
    path = path.resolve()  # the file, not a link to it, is replaced
    fresh = path.with_name(f".{path.name}.new")
    try:
        with open(_lock_of(path), "a", opener=_private) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            old = path.stat() if path.exists() else None
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if old else []
            yield lines
            fresh.unlink(missing_ok=True)  # of one who was interrupted
            with open(fresh, "x", encoding="utf-8", opener=_private) as file:
                file.writelines(lines)
                file.flush()
                if old:
                    os.fchmod(file.fileno(), old.st_mode & 0o777)
                    owner = old.st_uid
                for made in (file, lock):
                    if owner not in (None, os.fstat(made.fileno()).st_uid):
                        os.fchown(made.fileno(), owner, old.st_gid if old else owner)
                os.fsync(file.fileno())
            fresh.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path}: {_reason(error)}") from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def shown(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment else ""


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
