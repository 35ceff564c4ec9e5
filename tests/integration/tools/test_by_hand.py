"""GET /v1/tools and POST /v1/tools/{name} on a real socket, what `hearth-gateway tools` makes of them, and the engine's
tokenizer as the measure of a result."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from rich.console import Console
from tests.integration.gateway.conftest import Server, error_of
from tests.integration.gateway.fake_engine import Exchange, FakeEngine
from tests.integration.tools.conftest import Serve, Tools, Use, bytes_as_tokens, until

from hearth_gateway.app import create_app
from hearth_gateway.auth import issue
from hearth_gateway.engine import Engine
from hearth_gateway.metrics import Metrics
from hearth_gateway.routers import tools as router
from hearth_gateway.services import Services
from hearth_gateway.settings import Settings
from hearth_gateway.tools.hub import Hub
from hearth_gateway.tools.results import tokens_of
from hearth_gateway.tools.table import show


@contextlib.asynccontextmanager
async def gateway(hub: Hub, **settings: Any) -> AsyncIterator[str]:
    """A gateway with these tools; gives its URL."""
    given = Settings(**settings)
    app = create_app(given)
    counters = Metrics()
    app.include_router(router.router(Services(given, Engine(given, counters), counters, hub), hub))
    server = Server(uvicorn.Config(app, port=0, http="httptools", ws="none", log_config=None))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
async def tools(use: Use, serve: Serve) -> Tools:
    down = {"command": ["/no/such/program"]}
    return await use({"t": {"url": (await serve()).url, "approval": {"big": "always"}}, "down": down})


@pytest.fixture
async def client(tools: Tools) -> AsyncIterator[aiohttp.ClientSession]:
    async with gateway(tools.hub) as url, aiohttp.ClientSession(url) as session:
        yield session


async def test_tools_and_servers_are_listed(client: aiohttp.ClientSession) -> None:
    async with client.get("/v1/tools") as answer:
        told = await answer.json()
    by_name = {tool["name"]: tool for tool in told["data"]}
    assert list(by_name) == sorted(by_name)
    assert by_name["t_echo"]["parameters"]["required"] == ["text"]
    assert (by_name["t_echo"]["read_only"], by_name["t_big"]["approval"]) == (True, True)
    assert by_name["hearth_read_result"]["server"] == "hearth"
    there, down = told["servers"]
    assert (there["state"], there["detail"], "t_echo" in there["tools"]) == ("ready", None, True)
    assert (down["state"], down["detail"]) == ("reconnecting", "No such file or directory: /no/such/program")
    assert told["problem"] is None


async def test_a_tool_is_called_by_hand(client: aiohttp.ClientSession) -> None:
    async with client.post("/v1/tools/t_echo", json={"arguments": {"text": "你好"}}) as answer:
        assert await answer.json() == {
            "object": "tool.result", "name": "t_echo", "content": "你好", "is_error": False
        }  # fmt: skip
    async with client.post("/v1/tools/t_fail", json={}) as answer:
        assert (answer.status, (await answer.json())["is_error"]) == (200, True)


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("t_none", {}, 404, "tool_not_found"),
        ("t_echo", [], 400, "invalid_json"),
        ("t_echo", {"args": {}}, 400, "invalid_json"),
        ("t_echo", {"arguments": "{}"}, 400, "invalid_type"),
        ("t_echo", {"arguments": {"text": "x" * 9_000_000}}, 413, "body_too_large"),
        ("t_echo", {}, 400, "invalid_arguments"),
        ("t_add", {"arguments": {"a": "two", "b": 3}}, 400, "invalid_arguments"),
        ("hearth_read_result", {"arguments": {"handle": "0", "ofset": 1}}, 400, "invalid_arguments"),
    ],
)
async def test_a_bad_request_is_told(
    client: aiohttp.ClientSession, name: str, body: Any, status: int, code: str
) -> None:
    async with client.post(f"/v1/tools/{name}", json=body) as answer:
        assert (answer.status, (await error_of(answer))["code"]) == (status, code)


async def test_the_argument_that_does_not_fit_is_named_and_nothing_runs(
    client: aiohttp.ClientSession, tools: Tools
) -> None:
    async with client.post("/v1/tools/t_add", json={"arguments": {"a": "two", "b": 3}}) as answer:
        error = await error_of(answer)
    assert error["message"] == "These arguments do not fit the schema of t_add: a: 'two' is not of type 'integer'."
    assert error["param"] == "arguments"
    assert tools.outcomes == []


async def test_what_is_nested_too_deep_is_refused(client: aiohttp.ClientSession) -> None:
    body = b'{"arguments": {"text": ' + b"[" * 500 + b"]" * 500 + b"}}"
    async with client.post("/v1/tools/t_echo", data=body, headers={"content-type": "application/json"}) as answer:
        assert (answer.status, (await error_of(answer))["code"]) == (400, "invalid_json")


async def test_a_call_has_the_time_of_a_request_and_no_more(use: Use, serve: Serve) -> None:
    process = await serve()
    tools = await use({"t": {"url": process.url, "timeout": 60}}, limits={"seconds": 0.5})
    call = {"arguments": {"name": "h"}}
    async with (
        gateway(tools.hub) as url,
        aiohttp.ClientSession(url) as session,
        session.post("/v1/tools/t_hang", json=call) as answer,
    ):
        told = await answer.json()
    assert told["is_error"]
    assert "one request may take 0.5 seconds" in told["content"]
    await until(lambda: "h cancelled" in process.lines())


async def test_calls_count_as_requests_of_their_key(tools: Tools) -> None:
    async with gateway(tools.hub, requests_per_minute=2) as url, aiohttp.ClientSession(url) as session:
        statuses = []
        for text in (1, "a", "b", "c"):  # what is refused anyway costs nothing
            async with session.post("/v1/tools/t_echo", json={"arguments": {"text": text}}) as answer:
                statuses.append(answer.status)
        assert statuses == [400, 200, 200, 429]
        assert int(answer.headers["retry-after"]) >= 1


async def test_what_is_not_json_is_refused(client: aiohttp.ClientSession) -> None:
    async with client.post("/v1/tools/t_echo", data=b"{", headers={"content-type": "application/json"}) as answer:
        assert (await error_of(answer))["code"] == "invalid_json"
    async with client.post("/v1/tools/t_echo", data={"arguments": "a form of a web page"}) as answer:
        assert answer.status == 415


async def test_a_caller_that_leaves_cancels_the_call(client: aiohttp.ClientSession, tmp_path: Path) -> None:
    def noted(line: str) -> bool:
        return any(line in record.read_text() for record in tmp_path.glob("record*"))

    call = asyncio.create_task(client.post("/v1/tools/t_hang", json={"arguments": {"name": "h"}}))
    await until(lambda: noted("h started"))
    call.cancel()
    await until(lambda: noted("h cancelled"))


async def test_keys_are_asked_for(tools: Tools, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    key = issue(keys, "ann")
    async with gateway(tools.hub, api_keys_file=keys) as url, aiohttp.ClientSession(url) as session:
        for request in (session.get("/v1/tools"), session.post("/v1/tools/t_echo", json={})):
            async with request as answer:
                assert answer.status == 401
        async with session.get("/v1/tools", headers={"authorization": f"Bearer {key}"}) as answer:
            assert answer.status == 200


async def shown(url: str, key: str | None = None) -> tuple[bool, str]:
    console = Console(file=io.StringIO(), record=True, width=200)
    told = await show(url, key, 10, console)
    return told, console.export_text()


async def test_the_table_tells_it_all(tools: Tools, tmp_path: Path) -> None:
    tools.path.write_text("servers: [")
    await until(lambda: tools.hub.problem)
    async with gateway(tools.hub) as url:
        for given in (url, f"{url}/v1/"):
            told, text = await shown(given)
            assert told
            for expected in ("t_echo", "Say it again.", "read-only", "approval", "reconnecting", "/no/such/program",
                             "is not YAML", "2026-07-28"):  # fmt: skip
                assert expected in text
    told, text = await shown(url)
    assert not told
    assert url in text


async def test_without_servers_the_table_says_where_they_go() -> None:
    async with Hub(None, bytes_as_tokens) as hub, gateway(hub) as url:
        told, text = await shown(url)
    assert told
    assert "HEARTH_TOOLS_FILE" in text


async def test_the_engine_counts_tokens() -> None:
    engine = FakeEngine()
    await engine.start()

    async def counts(exchange: Exchange) -> None:
        assert exchange.path == "/tokenize"
        assert exchange.body == {"prompt": "three little words", "add_special_tokens": False}
        await exchange.answer(json.dumps({"count": 3, "max_model_len": 4096, "tokens": [1, 2, 3]}).encode())

    async def fails(exchange: Exchange) -> None:
        await exchange.answer(b'{"count": "many"}', status=int(exchange.body["prompt"]))

    async with Engine(Settings(engine_url=engine.url), Metrics()) as of_gateway:
        count = tokens_of(of_gateway)
        engine.completes = counts
        assert await count("three little words") == 3
        engine.completes = fails
        assert await count("500") is None
        assert await count("200") is None
        await engine.stop()
        assert await count("200") is None
