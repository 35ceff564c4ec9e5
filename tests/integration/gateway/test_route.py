"""One engine takes another's place under a running gateway, told through its control socket."""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from tests.integration.gateway.conftest import CHAT, Start, ask
from tests.integration.gateway.fake_engine import EVENTS, Exchange, FakeEngine, completion

from hearth_gateway import cli, control
from hearth_gateway.app import create_app
from hearth_gateway.settings import Settings, SettingsError


@pytest.fixture
async def other() -> AsyncIterator[FakeEngine]:
    """The engine that comes."""
    fake = FakeEngine()

    async def answers(exchange: Exchange) -> None:
        await exchange.answer(completion("from the other"))

    fake.completes = answers
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


async def text(client: aiohttp.ClientSession) -> str:
    async with client.post(CHAT, json=ask()) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["choices"][0]["message"]["content"])


async def test_a_stream_ends_where_it_began_and_the_next_request_goes_elsewhere(
    start: Start, engine: FakeEngine, other: FakeEngine, socket: Path
) -> None:
    client = await start(control_socket=socket)
    go_on = asyncio.Event()

    async def slowly(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.chunk(EVENTS[0])
        await go_on.wait()
        for data in EVENTS[1:]:
            await exchange.chunk(data)
        await exchange.end_stream()

    engine.completes = slowly
    async with client.post(CHAT, json=ask(stream=True)) as stream:
        await stream.content.readany()
        told = await control.order(socket, to=other.url, drain=0)
        assert told == {"to": other.url, "closed": False, "unanswered": 1}
        assert await text(client) == "from the other"

        draining = asyncio.create_task(control.order(socket, drain=30))
        go_on.set()
        assert (await stream.read()).endswith(EVENTS[-1])
        assert (await draining)["unanswered"] == 0


async def test_requests_wait_at_a_closed_route(
    start: Start, engine: FakeEngine, other: FakeEngine, socket: Path
) -> None:
    client = await start(control_socket=socket)
    assert await text(client) == "Red, green."
    assert (await control.order(socket, close=60, drain=30))["unanswered"] == 0
    await engine.stop()
    waiting = asyncio.create_task(text(client))
    async with client.get("/readyz") as ready:
        assert ready.status == 503
        assert "exchanged" in (await ready.json())["reason"]
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await control.order(socket, to=other.url)
    assert await waiting == "from the other"
    async with client.get("/readyz") as ready:
        assert ready.status == 200


async def test_names_are_asked_for_anew(start: Start, engine: FakeEngine, other: FakeEngine, socket: Path) -> None:
    async def lists(exchange: Exchange) -> None:
        await exchange.answer(json.dumps({"data": [{"id": "another", "max_model_len": 64}]}).encode())

    other.lists = lists
    client = await start(control_socket=socket)
    assert await text(client)
    await control.order(socket, to=other.url)
    async with client.get("/v1/models") as answer:
        assert [card["id"] for card in (await answer.json())["data"]] == ["another"]
    await control.order(socket, to=None)
    assert await text(client) == "Red, green."


async def test_the_command(start: Start, other: FakeEngine, engine: FakeEngine, socket: Path, capsys) -> None:
    await start(control_socket=socket)

    async def run(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(cli.main, ["route", "--socket", str(socket), *arguments])
        return code, capsys.readouterr().out

    assert await run() == (0, f"{engine.url}, 0 unanswered elsewhere\n")
    assert await run("--to", other.url + "/v1/") == (0, f"{other.url}, 0 unanswered elsewhere\n")
    assert await run("--close", "60", "--drain", "1") == (0, "closed, 0 unanswered elsewhere\n")
    assert await run("--default") == (0, f"{engine.url}, 0 unanswered elsewhere\n")


async def test_a_client_that_leaves_is_not_waited_for(
    start: Start, engine: FakeEngine, other: FakeEngine, socket: Path
) -> None:
    client = await start(control_socket=socket)

    async def never(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.chunk(EVENTS[0])
        await asyncio.Event().wait()

    engine.completes = never
    async with client.post(CHAT, json=ask(stream=True)) as stream:
        await stream.content.readany()
        await control.order(socket, to=other.url)
        stream.close()
    assert (await control.order(socket, drain=30))["unanswered"] == 0


async def test_only_its_user_may_open_the_socket(start: Start, socket: Path) -> None:
    await start(control_socket=socket)
    assert stat.S_IMODE(os.stat(socket).st_mode) == 0o600
    reader, writer = await asyncio.open_unix_connection(socket)
    writer.write(b"not json\n")
    assert await reader.read() == b""
    assert (await control.order(socket))["closed"] is False


def test_nobody_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    assert cli.main(["route", "--socket", str(tmp_path / "none")]) == 2
    assert "is the gateway running?" in capsys.readouterr().err
    monkeypatch.delenv("HEARTH_CONTROL_SOCKET", raising=False)
    assert cli.main(["route"]) == 2
    assert "HEARTH_CONTROL_SOCKET" in capsys.readouterr().err


async def test_a_socket_that_cannot_be_made_stops_the_gateway(tmp_path: Path) -> None:
    app = create_app(Settings(control_socket=tmp_path / "missing/socket"))
    with pytest.raises(SettingsError, match="HEARTH_CONTROL_SOCKET"):
        async with app.router.lifespan_context(app):
            pass
