"""The router's policies before two stand-ins for engines: how evenly each spreads conversations, and how many of their
turns meet the engine of the turn before, which has the prompt's beginning in its cache.

    python -m tests.bench.router [--sessions 64] [--turns 4] [--rounds 3] [POLICY …]

Needs neither Docker nor a model, and takes a minute; `tests.scale.policies` measures the caches of real engines.
"""

import argparse
import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from aiohttp import web

# kv_aware hears nothing of these engines' caches.
POLICIES = (
    "consistent_hash",
    "sticky_least_loaded",
    "kv_aware",
    "cache_aware",
    "power_of_two",
    "round_robin",
    "random",
)
AT_ONCE, ANSWER_SECONDS = 16, 0.06
SYSTEM = "You are the guide of a small town by the sea. Answer in few words, and only of what you know. " * 4


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def engine(stack: contextlib.AsyncExitStack) -> str:
    url = f"http://127.0.0.1:{free_port()}"

    async def knows(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "m"}]})

    async def answers(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(ANSWER_SECONDS)
        return web.json_response({"by": url})

    app = web.Application()
    app.add_routes([web.get("/{any:.*}", knows), web.post("/v1/chat/completions", answers)])
    runner = web.AppRunner(app)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", int(url.rpartition(":")[2])).start()
    return url


@contextlib.asynccontextmanager
async def router(policy: str, engines: list[str]) -> AsyncIterator[str]:
    """The real one; gives its address when it is ready."""
    program = shutil.which("vllm-router", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        sys.exit("vllm-router is missing: docker/requirements/router.txt has it")
    port = free_port()
    more = ["--kv-event-model", "m"] if policy == "kv_aware" else []
    for url in engines if policy == "kv_aware" else ():
        more += ["--kv-event-source", f"{url}=tcp://127.0.0.1:{free_port()}"]
    process = await asyncio.create_subprocess_exec(
        program, "--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(free_port()), "--policy", policy,
        "--worker-startup-check-interval", "1", *more, "--worker-urls", *engines,
        env=os.environ | {"RUST_LOG": "error"}, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://127.0.0.1:{port}/readiness") as answer:
                        if answer.status == 200:
                            break
                await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def measure(url: str, engines: list[str], sessions: int, turns: int) -> tuple[list[int], float]:
    """Requests by engine, the busiest first; and the share of later turns that met the engine of the turn before."""
    got, kept = dict.fromkeys(engines, 0), 0
    gate = asyncio.Semaphore(AT_ONCE)

    async def conversation(session: aiohttp.ClientSession) -> None:
        nonlocal kept
        name, before = secrets.token_hex(16), ""
        own = f"{name}: I walked along the harbour and asked for its name."
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": own}]
        for _ in range(turns):
            headers = {"x-session-id": name, "x-request-id": secrets.token_hex(16)}
            body = {"model": "m", "messages": messages}
            async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
                answer.raise_for_status()
                by = str((await answer.json())["by"])
            got[by] += 1
            kept += by == before
            before = by
            messages += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And then?"}]

    async def in_turn(session: aiohttp.ClientSession) -> None:
        async with gate:
            await conversation(session)

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for _ in range(sessions):
            group.create_task(in_turn(session))
    return sorted(got.values(), reverse=True), kept / (sessions * (turns - 1))


async def compare(policies: list[str], sessions: int, turns: int, rounds: int) -> None:
    print("| policy | requests by engine | busiest : idlest | turns that met the engine of the turn before |")
    print("| --- | --- | --- | --- |")
    async with contextlib.AsyncExitStack() as stack:
        engines = [await engine(stack), await engine(stack)]
        for policy in policies:
            async with router(policy, engines) as url:
                runs = [await measure(url, engines, sessions, turns) for _ in range(rounds)]
            counts = ", ".join(" + ".join(map(str, got)) for got, _ in runs)
            ratios = ", ".join(f"{got[0] / got[1]:.2f}" if got[1] else "∞" for got, _ in runs)
            print(f"| {policy} | {counts} | {ratios} | {', '.join(f'{kept:.0%}' for _, kept in runs)} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("policies", nargs="*", default=POLICIES, metavar="POLICY")
    given = parser.parse_args()
    asyncio.run(compare(list(given.policies), given.sessions, given.turns, given.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
