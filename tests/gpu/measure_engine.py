"""Start `hearth-engine serve` on a GPU and time it: one JSON line with seconds to ready, device memory, TTFT, TPOT.

    python measure_engine.py NAME [HEARTH_SETTING=VALUE …]

Run it in the engine's environment; HEARTH_MODEL_DIR says which artifact. Load, after a short warm-up: one stream, then
16 streams of 256 prompt and 128 answer tokens, then one prompt of 32,000 tokens. Memory is the whole device's, as
nvidia-smi tells it, so nothing else may use the GPU. Not a test: CI has no GPU.
"""

import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
import urllib.request

import aiohttp

PORT = 8100
START_LIMIT = 240  # seconds; a first start compiles
SEEN_IN_LOG = {
    "weights_load_s": r"Loading weights took ([\d.]+)",
    "model_gib": r"Model loading took ([\d.]+)",
    "graphs": r"Graph capturing finished in (.*)",
    "kv_tokens": r"KV cache size: ([\d,]+)",
    "kernel": r"Using (\w+LinearKernel)",
}


def device_mib() -> int:
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.check_output(query).split()[0])


async def stream(session: aiohttp.ClientSession, n_in: int, n_out: int, seed: int) -> tuple[float, float, int]:
    """(TTFT in s, TPOT in s, answer tokens) of one streamed completion of `n_in` prompt tokens."""
    body = {
        "prompt": [(seed * 7919 + i * 31) % 4000 + 5 for i in range(n_in)],
        "max_tokens": n_out,
        "ignore_eos": True,
        "stream": True,
        "temperature": 0,
        "stream_options": {"include_usage": True},
    }
    start, first, last, tokens = time.time(), 0.0, 0.0, 0
    async with session.post(f"http://127.0.0.1:{PORT}/v1/completions", json=body) as answer:
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


def wait_until_ready(engine: subprocess.Popen[bytes]) -> float:
    """Seconds until the engine's own health check passes."""
    start = time.time()
    while time.time() - start < START_LIMIT and engine.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return round(time.time() - start, 1)
    raise SystemExit("the engine did not become ready; see its log")


def main(name: str, *settings: str) -> None:
    fixed = {"HEARTH_DEVICE": "cuda", "HEARTH_ENGINE_PORT": str(PORT)}
    env = os.environ | dict(setting.split("=", 1) for setting in settings) | fixed
    path = f"/tmp/measure-{name}.log"
    result: dict[str, object] = {"name": name, "mib_before": device_mib()}
    serve = [sys.executable, "-c", "from hearth_engine.cli import main; main()", "serve"]
    with open(path, "wb") as log:
        engine = subprocess.Popen(serve, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            result["ready_s"] = wait_until_ready(engine)
            result["mib_ready"] = device_mib()
            asyncio.run(load(1, 256, 16, 999))
            result["c1"] = asyncio.run(load(1, 256, 128, 1))
            result["c16"] = asyncio.run(load(16, 256, 128, 100))
            result["prompt_32000"] = asyncio.run(load(1, 32000, 32, 77))
            result["mib_after"] = device_mib()
        finally:
            os.killpg(engine.pid, signal.SIGTERM)
            engine.wait(30)
    with open(path, encoding="utf-8", errors="replace") as log_text:
        text = log_text.read()
    result |= {key: found[-1] for key, pattern in SEEN_IN_LOG.items() if (found := re.findall(pattern, text))}
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
