"""HEARTH_API_SERVERS=2 in a real engine: two processes answer for one, as they do on a GPU by default."""

import json
from collections.abc import Iterator

import docker
import pytest
from docker.models.containers import Container

from .conftest import engine_alone

SERVERS = """
import os
from pathlib import Path
servers = [int(comm.parent.name) for comm in Path("/proc").glob("[0-9]*/comm") if "APIServe" in comm.read_text()]
"""
STOP_ONE = SERVERS + "os.kill(servers[0], 19)"
# 24 answers, eight at a time, each over a connection of its own; then how busy each was, and what both tell of it.
LOAD = (
    SERVERS
    + """
import json, urllib.request
from concurrent.futures import ThreadPoolExecutor

def ask(path, body=None):
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request("http://127.0.0.1:8000" + path, data, {"Content-Type": "application/json"})
    return urllib.request.urlopen(request, timeout=120).read().decode()

def ticks():
    stats = [Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split() for server in servers]
    return [int(fields[11]) + int(fields[12]) for fields in stats]

def counted():
    return sum(float(line.split()[1]) for line in ask("/metrics").splitlines()
               if line.startswith("vllm:generation_tokens_total"))

model = json.loads(ask("/v1/models"))["data"][0]["id"]
before, tokens = ticks(), counted()
with ThreadPoolExecutor(8) as pool:
    bodies = [{"model": model, "prompt": f"Ship {n}:", "max_tokens": 16, "ignore_eos": True} for n in range(24)]
    answers = [json.loads(answer) for answer in pool.map(lambda body: ask("/v1/completions", body), bodies)]
print(json.dumps({
    "tokens": sum(answer["usage"]["completion_tokens"] for answer in answers),
    "busy": [now - then for then, now in zip(before, ticks())],
    "told": [counted() - tokens for _ in range(6)],
}))
"""
)


@pytest.fixture
def engine(images: dict[str, str], engine_client: docker.DockerClient) -> Iterator[Container]:
    with engine_alone(engine_client, images["engine"], {"HEARTH_API_SERVERS": "2"}) as container:
        yield container


def test_both_answer_and_either_tells_of_both(engine: Container) -> None:
    assert engine.logs().decode().count("canary passed") == 2
    code, out = engine.exec_run(["python", "-c", LOAD], environment={"LD_PRELOAD": ""})
    assert code == 0, out.decode()
    seen = json.loads(out)
    assert seen["tokens"] == 24 * 16
    assert len(seen["busy"]) == 2
    assert all(seen["busy"]), "one of them had nothing to do"
    # The launcher may have asked for a token of its own meanwhile.
    assert all(24 * 16 <= told <= 24 * 16 + 10 for told in seen["told"]), seen

    engine.stop(timeout=30)
    assert engine.wait()["StatusCode"] == 0


def test_one_that_is_stopped_ends_the_engine(engine: Container) -> None:
    """The other goes on to answer, but half of the requests would wait for ever."""
    _, out = engine.exec_run(["python", "-c", STOP_ONE], environment={"LD_PRELOAD": ""})
    assert engine.wait(timeout=60)["StatusCode"] == 137, out.decode()
    assert "vLLM stands still and is ended (HEARTH_HANG_SECONDS)" in engine.logs().decode()
