"""Many streams at once while clients leave, the engine restarts and the tool server is killed: nothing may leak.

    python -m tests.soak.soak [--streams 1000] [--minutes 5]

Everything runs on 127.0.0.1 in processes of its own and ends by itself. A stream survives when its client stays; it
then has to be whole and its own, or end with one error event. Afterwards the gateway must be as it was before: no
request in flight, nothing queued, and as many tasks, connections and file descriptors as before the load.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import aiohttp
from tests.soak.engine import PIECES

ROOT = Path(__file__).parents[2]
OURS = [{"type": "mcp", "server_label": "t"}]
GAUGES = ("hearth_in_flight", "hearth_engine_in_flight", "hearth_queued", "hearth_tasks")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Child:
    """A process on a port, which can be killed and started again."""

    def __init__(self, port: int, *command: str, **environment: str) -> None:
        self.port, self._command, self._environment = port, command, environment

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *self._command, cwd=ROOT, env=os.environ | self._environment
        )
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                if self.process.returncode is not None:
                    raise SystemExit(f"{self._command} ended with status {self.process.returncode}")
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


class Soak:
    def __init__(self, gateway: str, pid: int, streams: int) -> None:
        self.gateway, self.pid, self.streams = gateway, pid, streams
        self.outcomes: Counter[str] = Counter()
        self.broken: list[str] = []

    async def client(self, session: aiohttp.ClientSession, number: int, until: float) -> None:
        """One stream after another."""
        round_ = 0
        while time.monotonic() < until:
            round_ += 1
            kind = "tool" if random.random() < 0.4 else "text"
            name = f"s{number}r{round_}{kind}"
            patience = random.uniform(0, 4) if random.random() < 0.2 else None
            try:
                async with asyncio.timeout(patience):
                    outcome = await self.stream(session, name, kind)
            except TimeoutError:
                outcome = "left"
            except (aiohttp.ClientError, OSError) as error:
                outcome = f"connection: {type(error).__name__}"
                self.broken.append(f"{name}: {error!r}")
            self.outcomes[outcome] += 1
            if outcome.startswith(("5", "4")):
                await asyncio.sleep(random.uniform(0.2, 1))

    async def stream(self, session: aiohttp.ClientSession, name: str, kind: str) -> str:
        body = {"model": "hearth-tiny", "messages": [{"role": "user", "content": name}], "stream": True}
        body |= {"tools": OURS} if kind == "tool" or random.random() < 0.5 else {}
        async with session.post(f"{self.gateway}/v1/chat/completions", json=body) as answer:
            if answer.status != 200:
                return str(answer.status)
            text = (await answer.read()).decode()
        problem = wrong(text, name)
        if problem:
            self.broken.append(f"{name}: {problem}: …{text[-300:]!r}")
            return "broken"
        return "error event" if '"error"' in text else "whole"

    async def state(self, session: aiohttp.ClientSession) -> dict[str, float]:
        async with session.get(f"{self.gateway}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        found = {name: float(line.split()[1]) for line in lines for name in GAUGES if line.startswith(name + " ")}
        return found | held(self.pid)


def held(pid: int) -> dict[str, float]:
    """What a process has of the system."""
    files = [os.readlink(f"/proc/{pid}/fd/{file}") for file in os.listdir(f"/proc/{pid}/fd")]
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines())
    return {
        "descriptors": len(files),
        "sockets": sum(file.startswith("socket:") for file in files),
        "resident MB": int(status["VmRSS"].split()[0]) // 1024,
    }


def tools_file(folder: Path, port: int) -> str:
    path = folder / "hearth.tools.yaml"
    path.write_text(json.dumps({"servers": {"t": {"url": f"http://127.0.0.1:{port}/mcp", "concurrency": 64}}}))
    return str(path)


def wrong(text: str, name: str) -> str:
    """What is wrong with a stream that its client read to the end, or nothing."""
    events = [part for part in text.split("\n\n") if part]
    data = [part.removeprefix("data: ") for part in events if part.startswith("data: ")]
    if len(data) != len(events):
        return "something between the events"
    error = bool(data) and data[-1].startswith('{"error"')
    if not error and (not data or data.pop() != "[DONE]"):
        return "no end"
    chunks = [json.loads(one) for one in data]
    choices = [choice for chunk in chunks for choice in chunk.get("choices", [])]
    finished = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    said = "".join(choice["delta"].get("content") or "" for choice in choices).split()
    if said != [f"{name}:{number}" for number in range(len(said))]:
        return "not its own words, in order"
    if not error and (len(said) != PIECES or finished != ["stop"]):
        return f"{len(said)} pieces, ends {finished}"
    return "two ends" if len(finished) > 1 else ""


async def chaos(child: Child, pause: tuple[float, float], until: float, done: Counter[str], name: str) -> None:
    while (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(random.uniform(*pause), left))
        if time.monotonic() < until:
            await child.kill()
            await asyncio.sleep(random.uniform(0, 1))
            await child.start()
            done[name] += 1


async def run(streams: int, minutes: float) -> bool:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with tempfile.TemporaryDirectory() as folder:
        ports = [free_port() for _ in range(3)]
        python, module = sys.executable, "tests.integration.tools.tool_server"
        engine = Child(ports[0], python, "-m", "tests.soak.engine", str(ports[0]))
        server = Child(ports[1], python, "-m", module, str(Path(folder, "record")), "--port", str(ports[1]))
        gateway = Child(
            ports[2], str(Path(python).with_name("hearth-gateway")), "serve",
            HEARTH_PORT=str(ports[2]), HEARTH_ENGINE_URL=f"http://127.0.0.1:{ports[0]}",
            HEARTH_TOOLS_FILE=tools_file(Path(folder), ports[1]),
            HEARTH_MAX_IN_FLIGHT=str(streams), HEARTH_MAX_QUEUED=str(streams), HEARTH_LOG_LEVEL="error",
            HEARTH_LOG_REQUESTS="none",
        )  # fmt: skip
        try:
            for child in (engine, server, gateway):
                await child.start()
            return await soak(
                Soak(f"http://127.0.0.1:{ports[2]}", gateway.process.pid, streams), engine, server, minutes
            )
        finally:
            for child in (gateway, server, engine):
                if hasattr(child, "process"):
                    await child.kill()


async def soak(soak: Soak, engine: Child, server: Child, minutes: float) -> bool:
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(soak.stream(session, f"w{number}tool", "tool") for number in range(8)))
        await asyncio.sleep(6)  # idle connections to the engine are closed
        before = await soak.state(session)
        until, kills = time.monotonic() + minutes * 60, Counter[str]()
        async with asyncio.TaskGroup() as group:
            for number in range(soak.streams):
                group.create_task(soak.client(session, number, until))
            group.create_task(chaos(engine, (15, 30), until, kills, "engine restarts"))
            group.create_task(chaos(server, (8, 20), until, kills, "tool server kills"))
            while time.monotonic() < until:
                await asyncio.sleep(min(30, max(0.1, until - time.monotonic())))
                print(f"{until - time.monotonic():5.0f} s left: {dict(soak.outcomes)}, {dict(kills)}", flush=True)
        after: dict[str, float] = {}
        for _ in range(60):
            after = await soak.state(session)
            if all(after[name] <= before[name] for name in (*GAUGES, "sockets", "descriptors")):
                break
            await asyncio.sleep(1)
    print(f"before {before}\nafter  {after}")
    for line in soak.broken[:10]:
        print("BROKEN", line)
    leaked = [name for name in (*GAUGES, "sockets", "descriptors") if after[name] > before[name]]
    print(f"outcomes {dict(soak.outcomes)}, {dict(kills)}, {len(soak.broken)} broken, leaked: {leaked or 'nothing'}")
    return not soak.broken and not leaked


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=5)
    options = parser.parse_args()
    return 0 if asyncio.run(run(options.streams, options.minutes)) else 1


if __name__ == "__main__":
    sys.exit(main())
