"""Does HEARTH_BATCH_WINDOW_MS help? Prints a Markdown table of token latencies, as ratios to no window.

    python measure_batch_window.py ENGINE_URL [--rounds 6] [--seconds 12] [--tokens 64] [--prompt-words 150]
                                   [--windows 0,2,5,10,20,50,100]

ENGINE_URL is a running engine that nothing else uses, on a GPU or not. A gateway for each window stands before it, all
in one run; each round sends the same arrivals through every one of them, in a random order, so that a machine that
grows slower or faster does so for all. Loads, as a GUI's agents make them:

    steady   single requests, 2.5 a second, at random
    bursts   4 to 8 requests within 15 ms, every 2.4 s (2.5 requests a second)

Token latency is a request's whole time, the window included, divided by its tokens. Not a test: it judges nothing.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import sys
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp

RATE = 2.5  # requests a second
BURST = (4, 8)
SPREAD = 0.015  # seconds between a burst's first and last request
WORDS = "window button click menu scroll page text field list open close save file search result image table"


@dataclass(frozen=True)
class Arrival:
    at: float
    prompt: str


@dataclass(frozen=True)
class Seen:
    ttft: float
    whole: float
    tokens: int


def arrivals(load: str, seconds: float, words: int, chance: random.Random) -> list[Arrival]:
    times: list[float] = []
    now = 0.0
    while now < seconds:
        if load == "steady":
            times.append(now)
            now += chance.expovariate(RATE)
        else:
            size = chance.randint(*BURST)
            times += sorted(now + chance.uniform(0, SPREAD) for _ in range(size))
            now += size / RATE
    # No two prompts begin alike: a cached prefix would hide what a step costs.
    return [Arrival(at, f"{chance.random()} " + " ".join(chance.choices(WORDS.split(), k=words))) for at in times]


async def ask(client: aiohttp.ClientSession, prompt: str, tokens: int) -> Seen:
    body = {
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    start, first, generated = time.perf_counter(), 0.0, 0
    async with client.post("/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                # By its chunk, not its text: what random weights say is often not text at all.
                if not first and any("role" not in choice["delta"] for choice in event["choices"]):
                    first = time.perf_counter()
                if usage := event.get("usage"):
                    generated = usage["completion_tokens"]
    end = time.perf_counter()
    return Seen((first or end) - start, end - start, generated)


async def play(client: aiohttp.ClientSession, load: list[Arrival], tokens: int) -> list[Seen]:
    started = time.perf_counter()

    async def later(arrival: Arrival) -> Seen:
        await asyncio.sleep(arrival.at - (time.perf_counter() - started))
        return await ask(client, arrival.prompt, tokens)

    return await asyncio.gather(*(later(arrival) for arrival in load))


async def gateway(stack: AsyncExitStack, engine: str, window: float) -> aiohttp.ClientSession:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"HEARTH_ENGINE_URL": engine, "HEARTH_PORT": str(port), "HEARTH_BATCH_WINDOW_MS": f"{window:g}",
                "HEARTH_LOG_LEVEL": "warning"}  # fmt: skip
    serve = "import sys; from hearth_gateway.cli import main; sys.exit(main(['serve']))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", serve, env=os.environ | settings)
    stack.callback(process.terminate)
    client = aiohttp.ClientSession(
        f"http://127.0.0.1:{port}", connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=300)
    )
    await stack.enter_async_context(client)
    async with asyncio.timeout(60):
        while True:
            try:
                async with client.get("/readyz") as answer:
                    if answer.status == 200:
                        return client
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.1)


def figures(seen: list[Seen]) -> dict[str, float]:
    """Milliseconds."""
    by_token = [one.whole / one.tokens * 1e3 for one in seen]
    return {
        "mean token latency": statistics.fmean(by_token),
        "p95 token latency": statistics.quantiles(by_token, n=20)[-1],
        "mean TTFT": statistics.fmean(one.ttft for one in seen) * 1e3,
        "mean TPOT": statistics.fmean((one.whole - one.ttft) / max(1, one.tokens - 1) for one in seen) * 1e3,
    }


async def main(given: argparse.Namespace) -> None:
    windows = [float(window) for window in given.windows.split(",")]
    if windows[0] != 0:
        raise SystemExit("the first window should be 0: the others are compared with it")
    async with AsyncExitStack() as stack:
        clients = {window: await gateway(stack, given.engine, window) for window in windows}
        for client in clients.values():  # connections, the catalog, the engine's first steps
            await play(client, arrivals("bursts", 1, given.prompt_words, random.Random(0)), 8)
        for load in ("steady", "bursts"):
            rounds: defaultdict[float, list[dict[str, float]]] = defaultdict(list)
            for number in range(given.rounds):
                for window in random.sample(windows, len(windows)):
                    same = arrivals(load, given.seconds, given.prompt_words, random.Random(number))
                    rounds[window].append(figures(await play(clients[window], same, given.tokens)))
                    print(json.dumps({"load": load, "round": number, "window_ms": window} | rounds[window][-1]),
                          file=sys.stderr, flush=True)  # fmt: skip
            names = list(rounds[0][0])
            print(f"\n| {load}: window, ms | " + " | ".join(names) + " |\n|" + " --- |" * (len(names) + 1))
            for window in windows:
                cells = []
                for name in names:
                    pairs = zip(rounds[window], rounds[0], strict=True)
                    ratios = sorted(mine[name] / none[name] for mine, none in pairs)
                    mean = statistics.fmean(one[name] for one in rounds[window])
                    cells.append(
                        f"{mean:.2f} ms" if window == 0
                        else f"×{statistics.median(ratios):.3f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"
                    )  # fmt: skip
                print(f"| {window:g} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt-words", type=int, default=150)
    parser.add_argument("--windows", default="0,2,5,10,20,50,100")
    asyncio.run(main(parser.parse_args()))
