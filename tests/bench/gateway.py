"""What the gateway costs, with the yardstick's engine, client and nginx: in turn, many short rounds of each.

    python -m tests.bench.gateway YARDSTICK [--rounds 5] [--seconds 3]      beside no proxy and nginx, with and without
                                                                            the tool loop; and a pooled tool call
    python -m tests.bench.gateway YARDSTICK --memory [--requests 100000]    the gateway's memory

The machine may be shared: every ratio is the median of the rounds' own ratios, and the proxy's CPU time a request says
more than requests a second. Engine, client and tool server are on core 0, the proxies on core 1. `PY` is a Python that
has what the client needs (uvloop, httptools, psutil). Rows: `pass` brings its own functions and is passed on; `loop`
asks for a tool of ours as well, which the model never calls.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from mcp import Client
from tests.soak.soak import Child

ENGINE, NGINX, GATEWAY, TOOLS = 9000, 9100, 9101, 9200  # the first two are the yardstick's own
PORTS = {"direct": ENGINE, "nginx": NGINX, "pass": GATEWAY, "loop": GATEWAY}

Row = dict[str, Any]


class Bench:
    def __init__(self, yardstick: Path, work: Path) -> None:
        conf = (yardstick / "nginx.conf.in").read_text().replace("@WORK@", str(work))
        (work / "nginx.conf").write_text(conf)
        (work / "tools.yaml").write_text(json.dumps({"servers": {"t": {"url": f"http://127.0.0.1:{TOOLS}/mcp"}}}))
        self._python, self._client = os.environ.get("PY", "python3"), str(yardstick / "load.py")
        tool_server = ("-m", "tests.integration.tools.tool_server", str(work / "record"), "--port", str(TOOLS))
        self.children = {
            "engine": _child("0", ENGINE, self._python, str(yardstick / "mock_engine.py"), str(ENGINE)),
            "nginx": _child("1", NGINX, "nginx", "-c", str(work / "nginx.conf"), "-p", str(work)),
            "tools": _child("0", TOOLS, sys.executable, *tool_server),
            "gateway": _child(
                "1", GATEWAY, str(Path(sys.executable).with_name("hearth-gateway")), "serve",
                HEARTH_TOOLS_FILE=str(work / "tools.yaml"), HEARTH_ENGINE_URL=f"http://127.0.0.1:{ENGINE}",
                HEARTH_PORT=str(GATEWAY), HEARTH_LOG_LEVEL="warning",
            ),
        }  # fmt: skip

    async def start(self) -> None:
        for child in self.children.values():
            await child.start()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{GATEWAY}") as gateway:
            while True:
                async with gateway.get("/v1/tools") as answer:
                    if (await answer.json())["servers"][0]["tools"]:
                        return

    async def stop(self) -> None:
        for child in self.children.values():
            if hasattr(child, "process") and child.process.returncode is None:
                child.process.terminate()
                await child.process.wait()

    async def load(self, row: str, model: str, connections: int, seconds: float) -> Row:
        """One cell of the yardstick."""
        asking = [str(Path(__file__).with_name("asking.py"))] if row == "loop" else []
        child = {"direct": "engine", "nginx": "nginx"}.get(row, "gateway")
        process = await asyncio.create_subprocess_exec(
            "taskset", "-c", "0", self._python, *asking, self._client, str(PORTS[row]), model, str(connections),
            str(seconds), str(self.children[child].process.pid), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        if process.returncode:
            raise SystemExit(f"{self._client} ended with status {process.returncode}")
        cell: Row = json.loads(out)
        if cell["err"] or not cell["n"]:
            raise SystemExit(f"{row}, {model}, {connections} connections: {cell}")
        return cell

    def memory(self) -> float:
        """The gateway's, in MiB."""
        status = Path(f"/proc/{self.children['gateway'].process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def _child(core: str, port: int, *command: str, **environment: str) -> Child:
    return Child(port, "taskset", "-c", core, *command, **environment)


async def cells(bench: Bench, rounds: int, seconds: float) -> None:
    for model, connections in (("mock-0", 1), ("mock-0", 16), ("mock-5", 1), ("mock-5", 16)):
        found: dict[str, list[Row]] = {row: [] for row in PORTS}
        for _ in range(rounds):
            for row in PORTS:
                found[row].append(await bench.load(row, model, connections, seconds))
        rps, cpu, first = ({row: _median(found[row], key) for row in PORTS} for key in ("rps", "cpu_ms_req", "ttfb50"))
        print(f"\n{model}, {connections} connections, {rounds} rounds of {seconds:g} s")
        print("| | requests/s | CPU ms a request | TTFB p50 ms | rps : nginx | rps : pass | CPU : pass | TTFB added |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for row, runs in found.items():
            ratios = [
                f"{_paired(runs, found['nginx'], 'rps', float.__truediv__):.0%}",
                f"{_paired(runs, found['pass'], 'rps', float.__truediv__):.0%}",
                f"{_paired(runs, found['pass'], 'cpu_ms_req', float.__truediv__):.2f}",
                f"{_paired(runs, found['direct'], 'ttfb50', float.__sub__):+.2f}",
            ]
            print(f"| {row} | {rps[row]:.0f} | {cpu[row]:.2f} | {first[row]:.2f} | {' | '.join(ratios)} |", flush=True)


def _median(runs: list[Row], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def _paired(runs: list[Row], others: list[Row], key: str, of: Callable[[float, float], float]) -> float:
    """The median of what the rounds say by themselves: they are neighbours in time."""
    return statistics.median(of(float(a[key]), float(b[key]) or 1e-9) for a, b in zip(runs, others, strict=True))


async def tool_calls(rounds: int, calls: int = 200) -> None:
    """A call by the gateway, over its pooled session, beside one by a session of ours."""
    found: dict[str, list[float]] = {"direct": [], "gateway": []}
    async with (
        Client(f"http://127.0.0.1:{TOOLS}/mcp") as client,
        aiohttp.ClientSession(f"http://127.0.0.1:{GATEWAY}") as gateway,
    ):

        async def direct() -> None:
            assert not (await client.call_tool("echo", {"text": "hello"})).is_error

        async def through() -> None:
            async with gateway.post("/v1/tools/t_echo", json={"arguments": {"text": "hello"}}) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()

        for _ in range(rounds):
            found["direct"].append(await _p50(direct, calls))
            found["gateway"].append(await _p50(through, calls))
    added = statistics.median(there - here for here, there in zip(found["direct"], found["gateway"], strict=True))
    ours, gateways = (statistics.median(found[way]) for way in ("direct", "gateway"))
    print(f"\nA tool call, p50 ms of {calls}, {rounds} rounds:", end=" ")
    print(f"by a session of ours {ours:.2f}, by the gateway {gateways:.2f}, added {added:+.2f}")


async def _p50(call: Callable[[], Awaitable[None]], calls: int) -> float:
    """Milliseconds."""
    took = []
    for _ in range(calls):
        began = time.perf_counter()
        await call()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e3


async def memory(bench: Bench, requests: int) -> None:
    print("| | requests | memory MiB, at 10 % | at the end | least and most since 10 % | change |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in ("pass", "loop"):
        done, seen = 0, list[float]()
        while done < requests:
            done += (await bench.load(row, "mock-0", 16, 10))["n"]
            if done >= requests / 10:
                seen.append(bench.memory())
        print(f"| {row} | {done} | {seen[0]:.1f} | {seen[-1]:.1f} | {min(seen):.1f}, {max(seen):.1f} "
              f"| {seen[-1] - seen[0]:+.1f} |", flush=True)  # fmt: skip


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("yardstick", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--requests", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(given.yardstick.resolve(), Path(work))
        try:
            await bench.start()
            if given.memory:
                await memory(bench, given.requests)
            else:
                await cells(bench, given.rounds, given.seconds)
                await tool_calls(given.rounds)
        finally:
            await bench.stop()


if __name__ == "__main__":
    asyncio.run(main())
