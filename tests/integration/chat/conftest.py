"""The gateway with real tool servers, in front of an engine whose answers are scripted."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.integration.gateway.conftest import Start, collector, engine, start  # noqa: F401 - fixtures
from tests.integration.gateway.fake_engine import NAMES, USAGE, Exchange, FakeEngine, event
from tests.integration.tools.conftest import Process, until


def said(content: str = "", *calls: tuple[str, Any], finish: str = "") -> dict[str, Any]:
    """An engine's answer: text, and calls as (name, arguments as an object or as the text that the model wrote)."""
    made = [
        {
            "id": f"chatcmpl-tool-{index}",
            "type": "function",
            "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
        }
        for index, (name, given) in enumerate(calls)
    ]
    return {"content": content, "tool_calls": made, "finish": finish or ("tool_calls" if made else "stop")}


class Model:
    """Answers one scripted turn after another, streamed or whole as it is asked, and keeps what it was asked."""

    def __init__(self, fake: FakeEngine) -> None:
        self.asked: list[dict[str, Any]] = []
        self.turns: list[dict[str, Any]] = []
        fake.completes = self._answer

    async def _answer(self, exchange: Exchange) -> None:
        if exchange.path == "/tokenize":
            await exchange.answer(json.dumps({"count": len(exchange.body["prompt"])}).encode())
            return
        self.asked.append(exchange.body)
        turn = self.turns.pop(0)
        if not exchange.body.get("stream"):
            message = {"role": "assistant", "content": turn["content"], "tool_calls": turn["tool_calls"]}
            choice = {"index": 0, "message": message, "finish_reason": turn["finish"]}
            body = {"id": "chatcmpl-1", "object": "chat.completion", "model": NAMES[0], "choices": [choice]}
            await exchange.answer(json.dumps(body | {"usage": USAGE}).encode())
            return
        await exchange.start_stream()
        await exchange.chunk(event({"role": "assistant", "content": ""}))
        for word in turn["content"].split(" "):
            if word:
                await exchange.chunk(event({"content": word + " "}))
        for index, call in enumerate(turn["tool_calls"]):
            await exchange.chunk(event({"tool_calls": [{"index": index} | call]}))
        await exchange.chunk(event({}, turn["finish"]))
        await exchange.chunk(b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n")
        await exchange.chunk(b"data: [DONE]\n\n")
        await exchange.end_stream()


@pytest.fixture
def model(engine: FakeEngine) -> Model:  # noqa: F811
    return Model(engine)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Process]:
    process = Process(tmp_path / "record")
    await process.start()
    yield process
    await process.kill()


Chat = Callable[..., Awaitable[aiohttp.ClientSession]]


@pytest.fixture
async def chat(start: Start, server: Process, tmp_path: Path) -> Chat:  # noqa: F811
    """Start a gateway that has the tools of `server` under the label `t`; `more` is more of its file."""

    async def chat(
        server_config: dict[str, Any] | None = None, /, *, settings: dict[str, Any] | None = None, **more: Any
    ) -> aiohttp.ClientSession:
        path = tmp_path / "hearth.tools.yaml"
        path.write_text(json.dumps({"servers": {"t": {"url": server.url} | (server_config or {})}} | more))
        client = await start(tools_file=path, **(settings or {}))

        async def up() -> bool:
            async with client.get("/v1/tools") as answer:
                return all(server["tools"] for server in (await answer.json())["servers"])

        while not await up():
            pass
        return client

    return chat


__all__ = ["until"]
