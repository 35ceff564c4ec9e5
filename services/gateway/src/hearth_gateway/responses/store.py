"""The responses that clients may go on from, in SQLite: for a while, and as many as fit."""

import asyncio
import logging
import sqlite3
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson

from hearth_gateway.settings import SettingsError

_OVERHEAD = 512  # bytes that a row costs beside what it holds
_SCHEMA = """
PRAGMA secure_delete = ON;
CREATE TABLE IF NOT EXISTS responses (
    user TEXT, id TEXT, expires REAL, size INTEGER, response BLOB, items BLOB, PRIMARY KEY (user, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS responses_by_age ON responses (expires, size);
"""
_OLDEST = "SELECT user, id, size FROM responses ORDER BY expires"

log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Stored:
    """`items`: the conversation, the response's output included."""

    response: dict[str, Any]
    items: list[dict[str, Any]]


class ResponseStore:
    """Use as an async context manager. One thread speaks to the database, and no request waits for a disk.

    A row is a whole conversation: deleting one response takes nothing from those that follow it.
    """

    def __init__(self, path: Path | None, seconds: float, most: int, clock: Callable[[], float] = time.time) -> None:
        """`path`: None keeps them in memory. `seconds`: for how long. `most`: bytes of all together; the oldest go
        first. Raises SettingsError when the file cannot be used."""
        self._seconds, self._most, self._clock = seconds, most, clock
        self._thread = ThreadPoolExecutor(1, "responses")
        try:
            if path:
                path.touch(0o600)  # it holds all that users and the model wrote
            self._database = sqlite3.connect(path or ":memory:", check_same_thread=False)
            self._database.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(f"HEARTH_RESPONSES_FILE={path}: {error}") from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._run(self._database.close)
        self._thread.shutdown()

    async def put(self, user: str, response: dict[str, Any], items: Sequence[dict[str, Any]]) -> None:
        """Keep it, unless it alone is too much. A disk that is full costs the memory of it, not the answer."""
        try:
            await self._run(self._put, user, response["id"], packed(response), packed(items))
        except sqlite3.Error as error:
            log.error("a response cannot be stored: %s", error)

    async def get(self, user: str, id: str) -> Stored | None:
        found = await self._run(self._get, user, id)
        return Stored(unpacked(found[0]), unpacked(found[1])) if found else None

    async def delete(self, user: str, id: str) -> bool:
        """Whether it was there."""
        return await self._run(self._delete, user, id)

    async def _run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    # In the thread

    def _put(self, user: str, id: str, response: bytes, items: bytes) -> None:
        now, size = self._clock(), len(response) + len(items) + _OVERHEAD
        if size > self._most:
            return
        row = (user, id, now + self._seconds, size, response, items)
        with self._database as database:
            database.execute("INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?, ?)", row)
            database.execute("DELETE FROM responses WHERE expires <= ?", (now,))
            (over,) = database.execute("SELECT total(size) - ? FROM responses", (self._most,)).fetchone()
            for owner, oldest, freed in database.execute(_OLDEST).fetchall() if over > 0 else ():
                database.execute("DELETE FROM responses WHERE user = ? AND id = ?", (owner, oldest))
                if (over := over - freed) <= 0:
                    break

    def _get(self, user: str, id: str) -> tuple[bytes, bytes] | None:
        wanted = "SELECT response, items FROM responses WHERE user = ? AND id = ? AND expires > ?"
        found: tuple[bytes, bytes] | None = self._database.execute(wanted, (user, id, self._clock())).fetchone()
        return found

    def _delete(self, user: str, id: str) -> bool:
        with self._database as database:
            where = "DELETE FROM responses WHERE user = ? AND id = ? AND expires > ?"
            return database.execute(where, (user, id, self._clock())).rowcount > 0


def packed(value: Any) -> bytes:
    return zlib.compress(orjson.dumps(value), 1)


def unpacked(data: bytes) -> Any:
    return orjson.loads(zlib.decompress(data))
