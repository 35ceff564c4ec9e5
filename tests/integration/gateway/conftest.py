"""The gateway on a real socket, in this process, in front of a fake engine."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import pytest
import uvicorn
from tests.integration.gateway.collector import collector  # noqa: F401 - a fixture
from tests.integration.gateway.fake_engine import FakeEngine

from hearth_gateway.app import create_app
from hearth_gateway.connection import connections
from hearth_gateway.settings import Settings

Start = Callable[..., Awaitable[aiohttp.ClientSession]]

CHAT = "/v1/chat/completions"


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they are pytest's


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    fake = FakeEngine()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def start(engine: FakeEngine) -> AsyncIterator[Start]:
    """Start a gateway with some settings; gives a client of it."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: Any) -> aiohttp.ClientSession:
            loaded = Settings(**{"engine_url": engine.url} | settings)
            app, protocol = create_app(loaded), connections(loaded.request_timeout)
            config = uvicorn.Config(app, port=0, http=protocol, ws="none", log_config=None, access_log=False,
                                    server_header=False, proxy_headers=False,
                                    timeout_graceful_shutdown=1)  # fmt: skip
            server = Server(config)
            serving = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.001)
                assert not serving.done(), "the gateway did not start"

            async def stop() -> None:
                server.should_exit = True
                await serving

            stack.push_async_callback(stop)
            port = server.servers[0].sockets[0].getsockname()[1]
            return await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}"))

        yield start


@pytest.fixture
async def client(start: Start) -> aiohttp.ClientSession:
    """Of a gateway with default settings."""
    return await start()


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(**fields: Any) -> dict[str, Any]:
    """A minimal chat request."""
    return {"model": "hearth-tiny", "messages": [{"role": "user", "content": "hello"}]} | fields


async def origin(client: aiohttp.ClientSession) -> str:
    """Where the gateway of `client` listens."""
    async with client.get("/healthz") as answer:
        return str(answer.url.origin())


async def error_of(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """The error of an answer, which must have the shape that OpenAI clients parse."""
    assert answer.content_type == "application/json"
    body = await answer.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() >= {"message", "type", "param", "code"}
    assert body["error"]["message"]
    error: dict[str, Any] = body["error"]
    return error


async def metric_reaches(client: aiohttp.ClientSession, value: float, name: str, *parts: str) -> None:
    """Wait a moment for a metric's sample whose labels contain all `parts` to have this value: counting follows the
    answer."""
    seen = ""
    try:
        async with asyncio.timeout(30):
            while True:
                async with client.get("/metrics") as answer:
                    seen = await answer.text()
                for line in seen.splitlines():
                    if line.startswith(name) and all(part in line for part in parts) and line.endswith(f" {value}"):
                        return
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"no {name} with {parts} reached {value}:\n{seen}")
