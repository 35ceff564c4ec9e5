"""Two engines on two GPUs behind vllm-router, against one behind it: a JSON line for each.

    python measure_two.py [--streams 64] [--rounds 3]

Run it in the engine's environment with vllm-router in it; HEARTH_MODEL_DIR says which artifact. The latency is held
equal by giving each engine the same number of streams: one engine gets them, then two get twice as many, in turn. The
router's own time is the difference of one-token answers with and without it, in turn. Not a test: CI has no GPU.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import aiohttp
from measure_engine import first_token, stream

ENGINES, ROUTERS = (8100, 8101), {1: 8201, 2: 8202}  # ports; a router before so many engines
PROMPT, ANSWER = 256, 256  # tokens
CLIENTS = 4  # processes that load one engine: one alone would be busier than the engine

Seen = tuple[float, float, int]


@contextlib.contextmanager
def child(name: str, command: list[str], **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its log in /tmp, ended with all that it has started."""
    with open(f"/tmp/measure-two-{name}.log", "wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def engine(number: int) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    serve = [sys.executable, "-c", "from hearth_engine.cli import main; main()", "serve"]
    port = str(ENGINES[number])
    # Each with a cache of its own, as in two containers.
    return child(f"engine-{number}", serve, HEARTH_DEVICE="cuda", HEARTH_ENGINE_PORT=port,
                 CUDA_VISIBLE_DEVICES=str(number), HEARTH_CACHE_DIR=f"/tmp/hearth-cache-{number}")  # fmt: skip


def router(count: int) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    urls = [f"http://127.0.0.1:{port}" for port in ENGINES[:count]]
    return child(f"router-{count}", [
        sys.executable, "-m", "vllm_router.launch_router", "--worker-urls", *urls, "--policy", "sticky_least_loaded",
        "--host", "127.0.0.1", "--port", str(ROUTERS[count]), "--prometheus-port", str(ROUTERS[count] + 1000),
    ])  # fmt: skip


def wait_for(port: int) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readiness", timeout=2):
            return
        time.sleep(0.2)
    raise SystemExit(f"the router on port {port} is not ready; see /tmp/measure-two-*.log")


async def together(streams: int, seed: int, port: int) -> list[Seen]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120), connector=connector) as session:
        return list(await asyncio.gather(*(stream(session, PROMPT, ANSWER, seed + n, port) for n in range(streams))))


def client(streams: int, seed: int, port: int) -> list[Seen]:
    return asyncio.run(together(streams, seed, port))


def load(engines: int, streams: int, seed: int) -> dict[str, float]:
    """`streams` for each of so many engines, at once, through their router."""
    share = streams // CLIENTS
    jobs = [(share, seed + 1000 * n, ROUTERS[engines]) for n in range(CLIENTS * engines)]
    with multiprocessing.Pool(len(jobs)) as pool:
        pool.starmap(abs, [(0,)] * len(jobs))  # they have started
        start = time.time()
        seen = [one for part in pool.starmap(client, jobs, chunksize=1) for one in part]
        seconds = time.time() - start
    return {
        "engines": engines,
        "streams": len(seen),
        "tok_s": round(sum(tokens for _, _, tokens in seen) / seconds, 1),
        "ttft_ms": round(statistics.median(ttft for ttft, _, _ in seen) * 1e3, 1),
        "tpot_ms": round(statistics.median(tpot for _, tpot, _ in seen) * 1e3, 2),
    }


async def one_token(port: int, seed: int) -> float:
    """Milliseconds of an answer of one token."""
    async with aiohttp.ClientSession() as session:
        await stream(session, 32, 1, seed, port)  # its connection
        start = time.perf_counter()
        await stream(session, 32, 1, seed + 1, port)
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=64, help="for each engine")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if given.streams < CLIENTS or given.streams % CLIENTS or given.rounds < 1:
        parser.error(f"--streams is a multiple of {CLIENTS}, --rounds at least 1")
    with contextlib.ExitStack() as running:
        start = time.time()
        engines = [running.enter_context(engine(number)) for number in range(len(ENGINES))]
        for process, port in zip(engines, ENGINES, strict=True):
            print(json.dumps({"port": port, "first_token_s": first_token(process, start, port)}), flush=True)
        for count, port in ROUTERS.items():
            running.enter_context(router(count))
            wait_for(port)
        for count in ROUTERS:  # what happens once only
            load(count, given.streams, 10_000_000 * count)
        found: dict[int, list[float]] = {1: [], 2: []}
        for number in range(given.rounds):
            for count in ROUTERS:
                seen = load(count, given.streams, 100_000 * (number + 1) + 50_000 * count)
                found[count].append(seen["tok_s"])
                print(json.dumps(seen), flush=True)
        ratios = [two / one for one, two in zip(found[1], found[2], strict=True)]
        print(json.dumps({"ratio": round(statistics.median(ratios), 3), "of": [round(r, 3) for r in ratios]}))
        times: dict[int, list[float]] = {ENGINES[0]: [], ROUTERS[1]: []}
        for number in range(100):
            for port in times:
                times[port].append(asyncio.run(one_token(port, 5_000_000 + 10 * number + (port == ROUTERS[1]) * 2)))
        direct, routed = (statistics.median(times[port]) for port in times)
        print(json.dumps({"one_token_ms": round(direct, 2), "through_router_ms": round(routed, 2),
                          "added_ms": round(routed - direct, 2)}), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
