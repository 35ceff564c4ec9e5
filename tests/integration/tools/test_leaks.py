"""Many calls, callers that leave and servers that are killed: afterwards nothing is left of them."""

import asyncio
import os
import random

from tests.integration.tools.conftest import ROOT, Serve, Tools, Use, command, until

SEED = 4
CALLS = 150


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def settled(tools: Tools) -> tuple[int, int]:
    """(tasks, open files) once all servers are there and answer."""
    await until(lambda: all(status.state == "ready" and not status.running for status in tools.hub.servers))
    for label in ("web", "local"):
        assert (await tools.call(f"{label}_echo", text=label)).text == label
    return len(asyncio.all_tasks()), open_files()


async def test_nothing_is_left_of_calls_that_ended_badly(use: Use, serve: Serve, tmp_path) -> None:
    process = await serve()
    local = {"command": command(tmp_path / "local"), "cwd": str(ROOT), "timeout": 5}
    tools = await use({"web": {"url": process.url, "timeout": 5, "concurrency": 4}, "local": local})
    tasks, files = await settled(tools)
    dice = random.Random(SEED)

    async def caller(number: int) -> None:
        label = dice.choice(("web", "local"))
        name, arguments = dice.choice(
            [
                ("echo", {"text": "x"}),
                ("hang", {"name": f"h{number}"}),
                ("steps", {}),
                ("fail", {}),
                ("big", {"lines": 999}),
            ]
        )
        call = asyncio.create_task(tools.call(f"{label}_{name}", **arguments))
        await asyncio.wait({call}, timeout=dice.random() * 0.5)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    callers = [asyncio.create_task(caller(number)) for number in range(CALLS)]
    await until(lambda: sum(task.done() for task in callers) > CALLS // 3)
    await process.kill()
    await asyncio.gather(*callers)
    await process.start()

    assert len(tools.outcomes) == CALLS + 2, "each call is accounted for"
    await until(lambda: all(not status.running for status in tools.hub.servers))
    now = await settled(tools)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    assert now[1] <= files + 8, "a few connections are kept for the next calls"
    for server in tools.hub._servers.values():
        assert server._slots._value == server.config.concurrency
        assert not server._confirmations
