"""The store of responses: its time, its bound, whose they are."""

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from hearth_gateway.responses.store import ResponseStore
from hearth_gateway.settings import SettingsError

ITEMS = [{"role": "user", "content": "hello"}]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def response(id: str, text: str = "") -> dict[str, Any]:
    return {"id": id, "text": text}


async def test_what_is_put_is_got_by_its_user_alone() -> None:
    async with ResponseStore(None, 60, 2**20) as store:
        await store.put("alice", response("r"), ITEMS)
        found = await store.get("alice", "r")
        assert found is not None
        assert (found.response, found.items) == (response("r"), ITEMS)
        assert await store.get("bob", "r") is None
        assert not await store.delete("bob", "r")
        assert await store.delete("alice", "r")
        assert not await store.delete("alice", "r")
        assert await store.get("alice", "r") is None


async def test_its_time_runs_out() -> None:
    clock = Clock()
    async with ResponseStore(None, 60, 2**20, clock) as store:
        await store.put("u", response("old"), ITEMS)
        clock.now += 59
        assert await store.get("u", "old")
        clock.now += 1
        assert await store.get("u", "old") is None
        assert not await store.delete("u", "old")


async def test_the_oldest_make_room(tmp_path: Path) -> None:
    clock = Clock()
    file = tmp_path / "responses.sqlite"
    async with ResponseStore(file, 60, 2**20, clock) as store:
        for number in range(20):
            clock.now += 1
            await store.put("u", response(str(number), os.urandom(50_000).hex()), ITEMS)
        kept = [number for number in range(20) if await store.get("u", str(number))]
        assert kept == list(range(kept[0], 20))
        assert 10 < len(kept) < 20
        await store.put("u", response("huge", os.urandom(2**20).hex()), ITEMS)
        assert await store.get("u", "huge") is None
        assert await store.get("u", "19")
    assert file.stat().st_size < 2 * 2**20


async def test_what_is_out_of_time_is_deleted_from_the_file(tmp_path: Path) -> None:
    clock = Clock()
    file = tmp_path / "responses.sqlite"
    mark = os.urandom(16).hex()
    async with ResponseStore(file, 60, 2**20, clock) as store:
        await store.put("u", response("first"), ITEMS)
        with sqlite3.connect(file) as database:  # uncompressed, to be found again
            database.execute("UPDATE responses SET items = ?", (mark.encode(),))
        assert mark.encode() in file.read_bytes()
        clock.now += 60
        await store.put("u", response("second"), ITEMS)
        assert mark.encode() not in file.read_bytes()


async def test_a_database_that_takes_nothing_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "responses.sqlite"
    async with ResponseStore(file, 60, 2**20) as store:
        with sqlite3.connect(file) as database:
            database.execute("DROP TABLE responses")
        await store.put("u", response("r", "a secret"), ITEMS)
    assert "cannot be stored" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("content", [None, b"no database" * 100])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "missing" / "file" if content is None else tmp_path / "file"
    if content:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=f"HEARTH_RESPONSES_FILE={file}"):
        ResponseStore(file, 60, 2**20)
