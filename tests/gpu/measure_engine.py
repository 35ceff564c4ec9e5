"""Start `hearth-engine serve` on a GPU and time it: one JSON line with seconds to ready, device memory, TTFT, TPOT.

    python measure_engine.py NAME [HEARTH_SETTING=VALUE …] [--start-only] [--prompt TOKENS] [--drop-caches]
                             [--faults kill,stop,cuda]

Run it in the engine's environment; HEARTH_MODEL_DIR says which artifact. Load, after a short warm-up: 1, 16 and 64
streams of 256 prompt and 256 answer tokens, then one prompt of 32,000 tokens. Memory is the whole device's, as
nvidia-smi tells it, so nothing else may use the GPU. Each fault happens to the engine's own process, while nobody asks
for anything: how long until the launcher ends, and how long does the next start take, as the container's restart policy
would make it? Not a test: CI has no GPU.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import aiohttp

from hearth_engine import hardware

PORT = int(os.environ.get("HEARTH_ENGINE_PORT", "8100"))
START_LIMIT = 240  # seconds; a first start compiles
SEEN_IN_LOG = {
    "weights_load_s": r"Loading weights took ([\d.]+)",
    "model_gib": r"Model loading took ([\d.]+)",
    "graphs": r"Graph capturing finished in (.*)",
    "kv_tokens": r"KV cache size: ([\d,]+)",
    "kernel": r"Using (\w+LinearKernel)",
    "memory": r"hearth-engine: (.* of device memory.*)",
    "caches": r"hearth-engine: (.*compiled kernels.*)",
}


def device_mib() -> int:
    return hardware.device_memory_used() // hardware.MIB


async def stream(
    session: aiohttp.ClientSession, n_in: int, n_out: int, seed: int, port: int = PORT
) -> tuple[float, float, int]:
    """(TTFT in s, TPOT in s, answer tokens) of one streamed completion of `n_in` prompt tokens.

    `seed` makes the prompt, and is the conversation that a router goes by.
    """
    body = {
        "prompt": [(seed * 7919 + i * 31) % 4000 + 5 for i in range(n_in)],
        "max_tokens": n_out,
        "ignore_eos": True,
        "stream": True,
        "temperature": 0,
        "stream_options": {"include_usage": True},
    }
    start, first, last, tokens = time.time(), 0.0, 0.0, 0
    url, headers = f"http://127.0.0.1:{port}/v1/completions", {"X-Session-ID": f"s{seed}"}
    async with session.post(url, json=body, headers=headers) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                if event.get("choices"):
                    last = time.time()
                    first = first or last
                if event.get("usage"):
                    tokens = event["usage"]["completion_tokens"]
    return first - start, (last - first) / max(1, tokens - 1), tokens


async def load(streams: int, n_in: int, n_out: int, seed: int) -> dict[str, float]:
    """Medians, and tokens/s, of so many streams at once."""
    timeout, connector = aiohttp.ClientTimeout(total=120), aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        start = time.time()
        seen = await asyncio.gather(*(stream(session, n_in, n_out, seed + i) for i in range(streams)))
        seconds = time.time() - start
    return {
        "ttft_ms": round(statistics.median(ttft for ttft, _, _ in seen) * 1e3, 1),
        "tpot_ms": round(statistics.median(tpot for _, tpot, _ in seen) * 1e3, 2),
        "tok_s": round(sum(tokens for _, _, tokens in seen) / seconds, 1),
    }


def first_token(engine: subprocess.Popen[bytes], start: float, port: int = PORT) -> float:
    """Seconds from the process to its first token."""
    body = json.dumps({"prompt": [5, 6, 7], "max_tokens": 1}).encode()
    while time.time() - start < START_LIMIT and engine.poll() is None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/completions", body, {"Content-Type": "application/json"}
        )
        try:
            urllib.request.urlopen(request, timeout=60).close()
        except OSError:
            time.sleep(0.05)
        else:
            return round(time.time() - start, 2)
    raise SystemExit("the engine did not become ready; see its log")


# For every Python process that is started with it: an illegal access on the device, when the signal comes.
BREAKS = """
import signal

def _break(*_):
    import torch
    torch.zeros(1, device="cuda")[torch.tensor([1 << 40], device="cuda")]

signal.signal(signal.SIGUSR2, _break)
"""
FAULTS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "cuda": signal.SIGUSR2}


def fault(engine: subprocess.Popen[bytes], kind: str) -> dict[str, object]:
    """Let one happen: how long until the launcher ends, and with what status?"""
    names = {
        pid: Path(f"/proc/{pid}/comm").read_text().strip()
        for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
        if os.path.exists(f"/proc/{pid}/stat") and session_of(pid) == session_of_child(engine.pid)
    }
    core = next(pid for pid, name in names.items() if name.startswith("VLLM::EngineCor"))
    os.kill(core, FAULTS[kind])
    began = time.time()
    status = engine.wait(120)
    return {"to": names[core], "ended_after_s": round(time.time() - began, 1), "status": status}


def seen_by_launcher(log: str, times: int) -> None:
    """Return once the launcher has had a token of its own, and looks for silence: its log says so."""
    for _ in range(600):
        if len(re.findall(SEEN_IN_LOG["memory"], Path(log).read_text(errors="replace"))) >= times:
            return
        time.sleep(0.1)
    raise SystemExit(f"the launcher has had no token; see {log}")


def session_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3])
    except OSError:
        return -1


def session_of_child(pid: int) -> int:
    """vLLM has a session of its own; its leader is the launcher's child."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("settings", nargs="*", metavar="HEARTH_SETTING=VALUE")
    parser.add_argument("--start-only", action="store_true", help="no load but one prompt")
    parser.add_argument("--prompt", type=int, default=32000, metavar="TOKENS", help="of the long prompt; 0: none")
    parser.add_argument("--drop-caches", action="store_true", help="read everything from the disk (needs root)")
    parser.add_argument("--faults", default="", metavar="KIND,KIND", help="one after the other, of kill, stop and cuda")
    given = parser.parse_args()
    kinds = list(filter(None, given.faults.split(",")))
    if unknown := set(kinds) - FAULTS.keys():
        parser.error(f"--faults: {', '.join(sorted(unknown))}: not one of {', '.join(FAULTS)}")
    fixed = {"HEARTH_DEVICE": "cuda", "HEARTH_ENGINE_PORT": str(PORT)}
    env = os.environ | dict(setting.split("=", 1) for setting in given.settings) | fixed
    path = f"/tmp/measure-{given.name}.log"
    result: dict[str, object] = {"name": given.name, "mib_before": device_mib()}
    if given.drop_caches:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
    if kinds:
        breaks = Path(tempfile.mkdtemp())
        (breaks / "sitecustomize.py").write_text(BREAKS)
        env["PYTHONPATH"] = f"{breaks}:{env.get('PYTHONPATH', '')}"
    serve = [sys.executable, "-c", "from hearth_engine.cli import main; main()", "serve"]
    with open(path, "wb") as log:

        def started() -> subprocess.Popen[bytes]:
            return subprocess.Popen(serve, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

        start, engine = time.time(), started()
        try:
            result["first_token_s"] = first_token(engine, start)
            result["mib_ready"] = device_mib()
            if not given.start_only:
                asyncio.run(load(1, 256, 16, 999))
                result["c1"] = asyncio.run(load(1, 256, 256, 1))
                result["c16"] = asyncio.run(load(16, 256, 256, 100))
                result["c64"] = asyncio.run(load(64, 256, 256, 200))
            if given.prompt:
                result[f"prompt_{given.prompt}"] = asyncio.run(load(1, given.prompt, 32, 77))
            result["mib_after"] = device_mib()
            for number, kind in enumerate(kinds):
                seen_by_launcher(path, number + 1)
                seen = fault(engine, kind)
                start, engine = time.time(), started()
                result[kind] = {**seen, "first_token_again_s": first_token(engine, start)}
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(engine.pid, signal.SIGTERM)
            engine.wait(30)
    with open(path, encoding="utf-8", errors="replace") as log_text:
        text = log_text.read()
    result |= {key: found[-1] for key, pattern in SEEN_IN_LOG.items() if (found := re.findall(pattern, text))}
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
