"""The engine is killed, starved of memory, stopped: it comes back by itself, and nobody is sent to it before it can."""

import time

import pytest
import requests

from .conftest import Stack, wait_until

# vLLM's server is the only child of the container's first process, and the process that computes a child of it.
VLLM = """
import os
from pathlib import Path
server = int(open("/proc/1/task/1/children").read().split()[0])
(engine,) = (int(comm.parent.name) for comm in Path("/proc").glob("[0-9]*/comm") if "EngineCor" in comm.read_text())
"""
KILL = VLLM + "os.kill(engine, 9)"
KILL_SERVER = VLLM + "os.kill(server, 9)"
STOP = VLLM + "os.kill(engine, 19)"
# Takes memory until the kernel ends somebody, and has it prefer vLLM.
STARVE = (
    VLLM
    + """
open(f"/proc/{server}/oom_score_adj", "w").write("1000")
taken = []
while True:
    taken.append(bytearray(os.urandom(1 << 20) * 64))
"""
)


@pytest.mark.parametrize(
    ("blow", "said"),
    [
        (KILL, "EngineCore"),
        (KILL_SERVER, "vLLM was ended by SIGKILL"),
        (STARVE, "vLLM was ended by SIGKILL, out of memory"),
        (STOP, "vLLM stands still and is ended (HEARTH_HANG_SECONDS)"),
    ],
    ids=["killed", "server killed", "out of memory", "stopped"],
)
def test_the_engine_comes_back(stack: Stack, blow: str, said: str) -> None:
    engine = stack.container("engine-cpu")
    restarts, since = engine.attrs["RestartCount"], int(time.time())
    wait_until(lambda: ready(stack) == 200)

    _, out = engine.exec_run(["python", "-c", blow], environment={"LD_PRELOAD": ""})

    wait_until(lambda: restart_count(stack) == restarts + 1, out.decode())
    assert said in engine.logs(since=since).decode()
    wait_until(lambda: ready(stack) == 503, "ready though it is starting", 30)
    # From here on every look that finds it ready must find it able: the health check and /readyz wait for a token.
    wait_until(lambda: ready(stack) == 200, "ready again", 180)
    answer = requests.post(
        f"{stack.url}/v1/chat/completions", timeout=60,
        json={"model": "hearth-tiny", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 4},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    wait_until(lambda: health(stack) == "healthy", "healthy again")
    assert restart_count(stack) == restarts + 1


def ready(stack: Stack) -> int:
    return requests.get(f"{stack.url}/readyz", timeout=60).status_code


def restart_count(stack: Stack) -> int:
    return int(stack.container("engine-cpu").attrs["RestartCount"])


def health(stack: Stack) -> str:
    return str(stack.container("engine-cpu").attrs["State"]["Health"]["Status"])
