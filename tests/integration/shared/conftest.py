"""Several gateways that share a real Redis, each on a socket in this process, before one fake engine."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.integration.chat.conftest import Chat, Model, chat, model, server  # noqa: F401 - fixtures
from tests.integration.gateway.conftest import Start, engine, start  # noqa: F401 - fixtures

Gateway = Callable[..., Awaitable[aiohttp.ClientSession]]


class Redis:
    """Debian's, at a socket of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.socket = folder, folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.password = ""
        self._process: subprocess.Popen[bytes] | None = None
        found = shutil.which("redis-server") or shutil.which("redis-check-rdb")
        assert found, "redis-server is missing: docker/provide-redis.sh"
        self._program = folder / "redis-server"  # it is one program, and its name says what it does
        self._program.symlink_to(found)

    def start(self) -> None:
        command = [self._program, "--port", "0", "--unixsocket", self.socket, "--dir", self._folder, "--save", "",
                   *(["--requirepass", self.password] if self.password else [])]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while "PONG" not in self.cli("ping"):
            assert time.monotonic() < deadline, "redis-server does not start"
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self.socket.unlink(missing_ok=True)
        self._process = None

    def pause(self, on: bool = True) -> None:
        """Have it take connections and answer nothing, or go on."""
        assert self._process
        self._process.send_signal(19 if on else 18)

    def cli(self, *command: str) -> str:
        password = ["--no-auth-warning", "-a", self.password] if self.password else []
        done = subprocess.run(["redis-cli", "-s", self.socket, *password, *command], capture_output=True, text=True)
        return done.stdout + done.stderr


@pytest.fixture
def redis(tmp_path: Path) -> AsyncIterator[Redis]:
    server = Redis(tmp_path)  # noqa: F811
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def gateway(start: Start, redis: Redis) -> Gateway:  # noqa: F811
    """Start one of the gateways; gives a client of it."""

    async def gateway(**settings: Any) -> aiohttp.ClientSession:
        return await start(**{"shared_state_url": redis.url} | settings)

    return gateway


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)
