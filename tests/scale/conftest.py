"""deploy/compose.scale.yaml on the CPU: two engines, a router, two gateways, their state, and a tool server.

Nothing here is asserted of time. What was measured goes to reports/scale.json, from which docs/benchmarks.md has it.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import docker
import pytest
import requests
from docker.models.containers import Container
from tests.e2e.conftest import engine_client, free_port, host, wait_until  # noqa: F401 - a fixture among them
from tests.report import report

PROJECT = "hearth-scale"
ENGINES = ("engine-cpu", "engine-cpu-2")
SERVICES = (*ENGINES, "router", "state", "gateway", "gateway-2", "tool-files")
MODEL = "qwen3-4b-gptq"
# GET from inside a container, whose port only its network reaches.
ASK = """
import urllib.request as r
print(r.urlopen(r.Request('http://127.0.0.1:{}', method='{}'), timeout=30).read().decode())
"""


class Scale:
    def __init__(self, client: docker.DockerClient) -> None:
        self.client = client
        ports = free_port(), free_port()
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        self.env = {
            "COMPOSE_FILE": "compose.yaml:deploy/compose.scale.yaml", "COMPOSE_PROFILES": "cpu,scale,tools",
            "COMPOSE_PROJECT_NAME": PROJECT, "HEARTH_BIND": f"127.0.0.1:{ports[0]}",
            "HEARTH_BIND_2": f"127.0.0.1:{ports[1]}", "HEARTH_CPU_THREADS": "1", "HEARTH_ENGINE_MEMORY": "5g",
            "HEARTH_PROGRESS": "plain",
        }  # fmt: skip

    def compose(self, command: str, **env: str) -> str:
        return host(f"docker compose {command}", self.env | env).stdout

    def up(self, *services: str, **env: str) -> None:
        self.compose(f"up --detach --no-build --wait --wait-timeout 600 {' '.join(services)}", **env)

    def container(self, service: str) -> Container:
        labels = [f"com.docker.compose.project={PROJECT}", f"com.docker.compose.service={service}"]
        (found,) = self.client.containers.list(all=True, filters={"label": labels})
        return found

    def kill(self, service: str) -> float:
        """SIGKILL from outside, so that Docker sees a crash and not an order; when it was."""
        os.kill(self.container(service).attrs["State"]["Pid"], signal.SIGKILL)
        return time.monotonic()

    def healthy(self, service: str) -> bool:
        state = self.container(service).attrs["State"]
        return bool(state["Running"] and state["Health"]["Status"] == "healthy")

    # Asked from inside

    def get(self, service: str, path: str, method: str = "GET") -> str:
        code, out = self.container(service).exec_run(
            ["python", "-c", ASK.format(path, method)], environment={"LD_PRELOAD": ""}
        )
        assert code == 0, out.decode()
        return out.decode()

    def engine_metric(self, service: str, name: str) -> float:
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in self.get(service, "8000/metrics").splitlines()
            if line.startswith(f"{name}{{")
        )

    def hits(self) -> dict[str, float]:
        """Prompt tokens asked of the engines' prefix caches, and found there."""
        return {
            what: sum(self.engine_metric(engine, f"vllm:prefix_cache_{what}_total") for engine in ENGINES)
            for what in ("queries", "hits")
        }

    def routed(self) -> dict[str, int]:
        """Requests that the router sent to each engine since it started, by the engine's service."""
        found = dict.fromkeys(ENGINES, 0)
        for line in self.get("router", "29000/metrics").splitlines():
            if line.startswith("vllm_router_processed_requests_total{"):
                found[ENGINES["engine-b" in line]] = int(float(line.rsplit(" ", 1)[1]))
        return found

    def workers(self) -> dict[str, bool]:
        """The engines that the router knows, and whether it thinks them healthy."""
        known = json.loads(self.get("router", "8000/workers"))["workers"]
        return {ENGINES["engine-b" in worker["url"]]: worker["is_healthy"] for worker in known}

    def whole(self) -> bool:
        """Everything runs, and the router sends to both."""
        return all(self.healthy(one) for one in SERVICES) and list(self.workers().values()) == [True, True]

    # Asked from outside

    def chat(self, *turns: str, gateway: int = 0, timeout: float = 120, **fields: Any) -> requests.Response:
        messages = [{"role": ("user", "assistant")[index % 2], "content": turn} for index, turn in enumerate(turns)]
        body = {"model": MODEL, "messages": messages, "max_tokens": 8, "temperature": 0} | fields
        return requests.post(f"{self.urls[gateway]}/v1/chat/completions", json=body, timeout=timeout)


@pytest.fixture(scope="session")
def running(engine_client: docker.DockerClient) -> Iterator[Scale]:  # noqa: F811
    scale = Scale(engine_client)
    host("bake cpu scale tool-files", scale.env)
    scale.compose("down --volumes --timeout 5")
    try:
        scale.up(*SERVICES)
        yield scale
    except BaseException:
        print(scale.compose("logs --tail 40"))
        raise
    finally:
        scale.compose("down --volumes --timeout 5")


@pytest.fixture
def scale(running: Scale) -> Scale:
    """The stack with everything at work, whatever the test before did to it."""
    wait_until(running.whole, "not everything is at work again", 300)
    return running


@pytest.fixture(scope="session")
def figures() -> Iterator[dict[str, Any]]:
    with report("scale") as measured:
        yield measured


def in_network_of(container: Container, *command: str) -> None:
    """Runs a command of the host in the container's own network namespace."""
    namespace = f"--net=/proc/{container.attrs['State']['Pid']}/ns/net"
    subprocess.run(["nsenter", namespace, *command], check=True, capture_output=True)
