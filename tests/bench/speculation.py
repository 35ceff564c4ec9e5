"""What HEARTH_SPECULATION=ngram gains and costs: the CPU engine as planned without it and with it, in turn.

    python -m tests.bench.speculation IMAGE [--rounds 3] [--weights FOLDER]

One engine for each way, all of them up, asked the same one after the other; every ratio is the median of the rounds'
own ratios. Traffic: `copies`, whose answers repeat much of their prompts (long arguments, files that are read, JSON
that is written with a change); `calls`, the held-out prompts of the quality gates with the tools of an agent;
`questions`, whose answers stand in no prompt. At temperature 0 speculation changes an answer only where two tokens are
as good as equally likely: answers unlike those without it, one at a time, are counted and shown.

`--weights` serves that folder in place of the image's weights, by the same plan: a CPU without AVX-512 has no kernel
for INT4, and can measure models/tiny/model at 16 bit.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

Json = dict[str, Any]

EVALUATION = Path(__file__).parents[2] / "models/evaluation/tools.jsonl"
# What replaces parts of the plan's configuration, by the name of the way.
WAYS: dict[str, Json | None] = {
    "off": None,
    "ngram, as planned": {},
    "8 tokens after 3 to 5": {"num_speculative_tokens": 8, "prompt_lookup_min": 3, "prompt_lookup_max": 5},
}
STREAMS = (1, 4)
# In the container: the plan as it is, or with other parameters or weights; without verification and canary.
RUN = """
import json, os, sys
from hearth_engine import hardware, settings
from hearth_engine.plan import plan
from hearth_quantizer.manifest import Manifest

chosen, changed, weights = settings.load(), json.loads(sys.argv[1]), sys.argv[2]
manifest = Manifest.load(chosen.model_dir).model_copy(update={"canary": None})
cpu = hardware.detect("cpu")
if weights:
    cpu = cpu.model_copy(update={"flags": cpu.flags | hardware.INT4_CPU_FLAGS})
decided = plan(manifest, chosen, cpu)
command = decided.command
if changed is not None:
    at = command.index("--speculative-config") + 1
    command[at] = json.dumps(json.loads(command[at]) | changed)
if weights:
    command[command.index("--model") + 1] = weights
os.execve(command[0], command, os.environ | decided.environment)
"""


def _tool(name: str, description: str, *parameters: str) -> Json:
    schema = {"type": "object", "properties": {each: {"type": "string"} for each in parameters}}
    function = {"name": name, "description": description, "parameters": {**schema, "required": list(parameters)}}
    return {"type": "function", "function": function}


def _called(name: str, result: str, **arguments: str) -> list[Json]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"id": "call_0", "type": "function", "function": function}
    return [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_0", "content": result},
    ]


TOOLS = [
    _tool("read_file", "Read the contents of a file.", "path"),
    _tool("write_file", "Write a text to a file.", "path", "content"),
    _tool("list_directory", "List the files of a directory.", "path"),
]
SENTENCES = [
    "The keeper of the harbour wrote down the names of all ships that came in before noon.",
    "Every second window of the old mill was closed, and nobody had counted the sacks of grain.",
    "Please send the list of open invoices to the office in Toronto until Friday evening.",
    "The backup of the database takes nine hours and needs a disk that is not full.",
]
QUESTIONS = [
    f"{ask} {what}"
    for ask, things in {
        "What is the capital of": "France? Japan? Egypt? Norway? Peru? Kenya?",
        "What is the opposite of": "hot? big? early? light? empty? strong?",
        "List three": "fruits. colours. animals. planets. rivers. languages.",
    }.items()
    for what in things.split()
]


def copies() -> list[Json]:
    asked = []
    for number, sentence in enumerate(SENTENCES):
        other = SENTENCES[(number + 1) % len(SENTENCES)]
        settings = {
            "name": f"service-{number}",
            "note": sentence,
            "port": 8080 + number,
            "paths": ["/data", "/var/log"],
        }
        before, after = json.dumps(settings), json.dumps(settings | {"port": 9090 + number})
        path = f"/workspace/notes-{number}.txt"
        asked += [
            [{"role": "user", "content": f'Write "{sentence} {other}" to {path}'}],
            [
                {"role": "user", "content": f"Read the file {path}"},
                *_called("read_file", f"{sentence}\n{other}\n", path=path),
            ],
            [
                {"role": "user", "content": f"Write '{before}' to {path}"},
                *_called("write_file", f"Successfully wrote to {path}", path=path, content=before),
                {"role": "assistant", "content": f"I wrote {path}."},
                {"role": "user", "content": f"Write '{after}' to {path}"},
            ],
        ]
    return [{"messages": messages, "tools": TOOLS, "max_tokens": 200} for messages in asked]


def calls() -> list[Json]:
    rows = [json.loads(line) for line in EVALUATION.read_text("utf-8").splitlines()]
    return [{"messages": row["messages"], "tools": row["tools"], "max_tokens": 120} for row in rows[::13]]


def questions() -> list[Json]:
    return [{"messages": [{"role": "user", "content": text}], "max_tokens": 60} for text in QUESTIONS]


TRAFFIC = {"copies": copies, "calls": calls, "questions": questions}


@dataclass(frozen=True)
class Answer:
    said: str  # text and calls
    tokens: int
    first: float  # seconds until the first token, and until the last
    last: float


@dataclass(frozen=True)
class Cell:
    """A list of requests, answered."""

    answers: list[Answer]
    seconds: float
    proposed: float  # tokens
    accepted: float

    @property
    def tokens_per_s(self) -> float:
        return sum(answer.tokens for answer in self.answers) / self.seconds

    @property
    def tpot(self) -> float:
        """Mean milliseconds of a token after an answer's first."""
        later = [answer for answer in self.answers if answer.tokens > 1]
        return 1e3 * sum(each.last - each.first for each in later) / sum(each.tokens - 1 for each in later)


class Engine:
    def __init__(self, image: str, way: str, weights: Path | None) -> None:
        changed = WAYS[way]
        hardened = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        writable = ["--tmpfs", "/tmp:exec,mode=1777", "--tmpfs", "/home/hearth:exec,uid=1000,gid=1000"]
        chosen = ["--env", f"HEARTH_SPECULATION={'off' if changed is None else 'ngram'}"]
        if weights:
            chosen += ["--volume", f"{weights.resolve()}:/weights:ro"]
        reached = ["--publish", "127.0.0.1::8000", "--entrypoint", "python", image]
        running = ["-c", RUN, json.dumps(changed), "/weights" if weights else ""]
        self._began = time.monotonic()
        self._id = _docker("run", "--detach", "--init", *hardened, *writable, *chosen, *reached, *running)
        self.url = f"http://{_docker('port', self._id, '8000').splitlines()[0]}"
        self.model = ""
        self.ready = 0.0  # seconds until it answered

    def stop(self) -> None:
        _docker("rm", "--force", "--volumes", self._id)

    async def wait(self, session: aiohttp.ClientSession) -> None:
        while not self.model:
            if _docker("inspect", "--format", "{{.State.Running}}", self._id) != "true":
                raise SystemExit(f"vLLM ended before it answered:\n{_docker('logs', '--tail', '30', self._id)}")
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{self.url}/v1/models") as answer:
                    self.model = str((await answer.json())["data"][0]["id"])
            await asyncio.sleep(0.1)
        self.ready = time.monotonic() - self._began

    def memory(self) -> float:
        """MiB of its processes, what they share counted once."""
        lines = _docker("exec", self._id, "sh", "-c", "cat /proc/[0-9]*/smaps_rollup").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

    async def counters(self, session: aiohttp.ClientSession) -> tuple[float, float]:
        """Tokens proposed and accepted since it started."""
        async with session.get(f"{self.url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        proposed, accepted = (
            sum(
                float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"vllm:spec_decode_num_{name}_total")
            )
            for name in ("draft_tokens", "accepted_tokens")
        )
        return proposed, accepted

    async def ask(self, session: aiohttp.ClientSession, asked: Json) -> Answer:
        body = asked | {
            "model": self.model,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        content, made, tokens, times = "", dict[int, list[str]](), 0, list[float]()
        began = time.monotonic()
        async with session.post(f"{self.url}/v1/chat/completions", json=body) as answer:
            answer.raise_for_status()
            async for chunk in _chunks(answer):
                for choice in chunk["choices"]:
                    times.append(time.monotonic() - began)
                    content += choice["delta"].get("content") or ""
                    for call in choice["delta"].get("tool_calls") or []:
                        function = call["function"]
                        parts = made.setdefault(call["index"], [])
                        parts += filter(None, (function.get("name"), function.get("arguments")))
                if chunk.get("usage"):
                    tokens = chunk["usage"]["completion_tokens"]
        said = " ".join([content, *("".join(parts) for parts in made.values())])
        return Answer(said, tokens, times[0], times[-1])

    async def load(self, session: aiohttp.ClientSession, asked: list[Json], streams: int) -> Cell:
        gate = asyncio.Semaphore(streams)

        async def one(request: Json) -> Answer:
            async with gate:
                return await self.ask(session, request)

        before, began = await self.counters(session), time.monotonic()
        answers = await asyncio.gather(*map(one, asked))
        seconds, after = time.monotonic() - began, await self.counters(session)
        return Cell(answers, seconds, *(late - early for early, late in zip(before, after, strict=True)))


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[Json]:
    async for line in answer.content:
        data = line.decode().removeprefix("data: ").strip()
        if data and data != "[DONE]":
            yield json.loads(data)


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


async def compare(engines: dict[str, Engine], rounds: int) -> None:
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        print("| | ready, s | first answer, s | memory after it, MiB |\n| --- | --- | --- | --- |")
        for way, engine in engines.items():
            first = await engine.load(session, copies()[:1], 1)
            print(f"| {way} | {engine.ready:.1f} | {first.seconds:.2f} | {engine.memory():.0f} |", flush=True)
        print(f"\n{rounds} rounds, medians\n")
        print("| traffic, streams | | tokens/s | : off | TPOT, ms | : off | accepted | answers that differ |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        differing = dict[str, str]()
        for name, make in TRAFFIC.items():
            asked, without = make(), list[str]()
            for engine in engines.values():  # each then has the prompts in its prefix cache
                await engine.load(session, asked, max(STREAMS))
            for streams in STREAMS:
                found: dict[str, list[Cell]] = {way: [] for way in engines}
                for _ in range(rounds):
                    for way, engine in engines.items():
                        found[way].append(await engine.load(session, asked, streams))
                without = without or [answer.said for answer in found["off"][0].answers]
                for way, cells in found.items():
                    unlike = {n: each.said for n, each in enumerate(cells[0].answers) if each.said != without[n]}
                    for n, said in unlike.items():
                        differing.setdefault(f"{name} {n}", f"off: {without[n]}\n{way}, {streams} at a time: {said}")
                    row = f"{name}, {streams} | {way} | {_row(cells, found['off'])} | {len(unlike)} of {len(asked)}"
                    print(f"| {row} |", flush=True)
        for key, shown in differing.items():
            print(f"\n{key}\n{shown}")


def _row(cells: list[Cell], off: list[Cell]) -> str:
    def median(of: str) -> tuple[float, float]:
        mine, others = ([getattr(cell, of) for cell in run] for run in (cells, off))
        return statistics.median(mine), statistics.median(a / b for a, b in zip(mine, others, strict=True))

    rate, rate_ratio = median("tokens_per_s")
    tpot, tpot_ratio = median("tpot")
    proposed, accepted = (sum(getattr(cell, of) for cell in cells) for of in ("proposed", "accepted"))
    tokens = sum(answer.tokens for cell in cells for answer in cell.answers)
    share = f"{accepted / proposed:.0%} of {proposed / tokens:.2f} a token" if proposed else ""
    return f"{rate:.0f} | {rate_ratio:.2f} | {tpot:.2f} | {tpot_ratio:.2f} | {share}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("image")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights", type=Path)
    given = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}", flush=True)
    with contextlib.ExitStack() as stack:
        engines = {}
        for way in WAYS:  # one start after the other
            engines[way] = Engine(given.image, way, given.weights)
            stack.callback(engines[way].stop)
            asyncio.run(_ready(engines[way]))
        asyncio.run(compare(engines, given.rounds))


async def _ready(engine: Engine) -> None:
    async with aiohttp.ClientSession() as session:
        await engine.wait(session)


if __name__ == "__main__":
    main()
