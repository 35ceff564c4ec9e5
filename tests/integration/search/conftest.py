"""The search server on a real socket, in this process, spoken to by the MCP SDK's client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx2
import pytest
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from hearth_search.cli import app
from hearth_search.settings import Settings

Serve = Callable[..., contextlib.AbstractAsyncContextManager[Client]]


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they are pytest's


@contextlib.asynccontextmanager
async def connected(socket: Path, mode: str = "auto") -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=str(socket)), timeout=30) as http,
        Client(streamable_http_client("http://search/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def serve(workspace: Path, tmp_path: Path) -> Serve:
    """A server with some settings, and a client of it."""

    @contextlib.asynccontextmanager
    async def serve(mode: str = "auto", **given: str) -> AsyncIterator[Client]:
        settings = Settings(
            **{"workspace": workspace, "index": tmp_path / "index.sqlite", "socket": tmp_path / "mcp.sock"} | given
        )
        server = Server(uvicorn.Config(app(settings), uds=str(settings.socket), ws="none", log_config=None))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.001)
            assert not serving.done(), "the server did not start"
        async with connected(tmp_path / "mcp.sock", mode) as client:
            yield client
        server.should_exit = True
        await serving

    return serve
