"""Tool servers as processes of their own, and hubs that use them."""

import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.tools import tool_server

from hearth_gateway.tools.hub import Hub
from hearth_gateway.tools.types import Call, PreparedCall, Result

ROOT = Path(__file__).parents[3]
PATIENCE = 120  # seconds, for what will happen; a busy machine takes that long to start a server


async def until(condition: Callable[[], Any]) -> Any:
    """Wait for something to become true, and give it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if value := condition():
                return value
            await asyncio.sleep(0.01)


async def bytes_as_tokens(text: str) -> int:
    return len(text.encode())


def command(record: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "tests.integration.tools.tool_server", str(record), *more]


def lines(record: Path) -> list[str]:
    """What a tool server has noted."""
    return record.read_text().splitlines()


# Importing the SDK takes a second, and nearly every test wants a server: one process has it and forks.
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.integration.tools.tool_server"])


class Process:
    """A tool server that speaks HTTP; it can be killed and started again on its port."""

    def __init__(self, record: Path, *more: str) -> None:
        self.record, self._more = record, more
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"

    async def start(self, *more: str) -> None:
        arguments = [str(self.record), "--port", str(self.port), *self._more, *more]
        self._process = _forks.Process(target=tool_server.main, args=(arguments,), daemon=True)
        self._process.start()
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                assert self._process.is_alive()
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        self._process.kill()
        await self.died()

    def signal(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    async def died(self) -> None:
        await asyncio.to_thread(self._process.join)

    def lines(self) -> list[str]:
        return lines(self.record)


class Tools:
    """A hub, and its file."""

    def __init__(self, hub: Hub, path: Path) -> None:
        self.hub, self.path = hub, path
        self.outcomes: list[tuple[str, str]] = []

    def configure(self, servers: dict[str, Any], **more: Any) -> None:
        """JSON is YAML too."""
        self.path.write_text(json.dumps({"servers": servers} | more))

    async def call(self, name: str, /, **arguments: Any) -> Result:
        tool = self.hub.find(name)
        assert tool is not None, f"{name} is not among {[tool.name for tool in self.hub.tools]}"
        return await self.hub.call(PreparedCall(Call("call_1", name, json.dumps(arguments)), tool, arguments))

    def state(self, label: str) -> str:
        return next(status.state for status in self.hub.servers if status.label == label)

    def names(self, label: str) -> list[str]:
        return [tool.name for tool in self.hub.tools if tool.server == label]


Use = Callable[..., Awaitable[Tools]]


@pytest.fixture
async def use(tmp_path: Path) -> AsyncIterator[Use]:
    """Start a hub with some servers; it has tried to connect to each of them."""
    async with contextlib.AsyncExitStack() as stack:

        async def use(servers: dict[str, Any], **more: Any) -> Tools:
            path = tmp_path / "hearth.tools.yaml"
            path.write_text(json.dumps({"servers": servers} | more))
            outcomes: list[tuple[str, str]] = []
            hub = Hub(path, bytes_as_tokens, lambda tool, outcome, _: outcomes.append((tool.name, outcome)))
            tools = Tools(await stack.enter_async_context(hub), path)
            tools.outcomes = outcomes
            async with asyncio.timeout(PATIENCE):
                await hub.attempted()
            return tools

        yield use


Serve = Callable[..., Awaitable[Process]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start a tool server over HTTP."""
    processes: list[Process] = []

    async def serve(*more: str) -> Process:
        process = Process(tmp_path / f"record{len(processes)}", *more)
        processes.append(process)
        await process.start()
        return process

    yield serve
    for process in processes:
        await process.kill()


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "record"


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
