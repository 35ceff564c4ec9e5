"""One stack for the whole session: built and started the way `make up` does, under its own project and port."""

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
import yaml
from docker.models.containers import Container
from openai import OpenAI

ROOT = Path(__file__).parents[2]
PROJECT = "hearth-test"


def host(command: str, env: dict[str, str] | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a command as the Makefile's recipes do, with what docker/host.sh finds out about this machine."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f". docker/host.sh; {command}"],
        cwd=ROOT, env=os.environ | (env or {}), capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert not check or done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def baked_model(client: docker.DockerClient, image: str, folder: Path) -> Path:
    """An engine image's artifact, copied into a folder."""
    container = client.containers.create(image)
    try:
        subprocess.run(["docker", "cp", "-q", f"{container.id}:/opt/hearth/model", folder], check=True)
    finally:
        container.remove()
    return folder / "model"


def judge_by_little(models: Path) -> None:
    """Cut the held-out data in a copy of models/, so that gates take seconds, not minutes.

    Few rows say little about perplexity, and of eight prompts one may be lost; the limits on the KL divergence stay.
    """
    for name, count in (("dialogues", 12), ("tools", 8)):
        path = models / f"evaluation/{name}.jsonl"
        rows = path.read_text("utf-8").splitlines(keepends=True)
        path.write_text("".join(rows[:: len(rows) // count][:count]), "utf-8")
    recipe = yaml.safe_load((models / "tiny.yaml").read_text("utf-8"))
    recipe["evaluation"]["limits"] |= {"perplexity_increase": 0.1, "tool_match": 0.5, "tool_match_drop": 0.2}
    (models / "tiny.yaml").write_text(yaml.safe_dump(recipe), "utf-8")


@dataclass
class Stack:
    url: str
    env: dict[str, str]
    client: docker.DockerClient

    def container(self, service: str) -> Container:
        (found,) = self.client.containers.list(
            all=True,
            filters={"label": [f"com.docker.compose.project={PROJECT}", f"com.docker.compose.service={service}"]},
        )
        return found

    def engine_get(self, path: str) -> str:
        """GET from the engine's own port, which only its network reaches: asked from inside its container."""
        script = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000{path}').read().decode())"
        code, out = self.container("engine-cpu").exec_run(["python", "-c", script], environment={"LD_PRELOAD": ""})
        assert code == 0, out.decode()
        return out.decode()

    def engine_metric(self, name: str) -> float:
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in self.engine_get("/metrics").splitlines() if line.startswith(name)
        )


@pytest.fixture(scope="session")
def engine_client() -> docker.DockerClient:
    client = docker.from_env(timeout=600)
    client.ping()  # a machine without Docker fails here, loudly
    return client


@pytest.fixture(scope="session")
def images(engine_client: docker.DockerClient) -> dict[str, str]:
    """Tags of the built images by target."""
    env = {"COMPOSE_PROFILES": "cpu", "HEARTH_PROGRESS": "plain"}
    host("bake cpu", env)
    return {"engine": "hearth-engine:0.1.0-tiny-cpu", "gateway": "hearth-gateway:0.1.0"}


@pytest.fixture(scope="session")
def stack(images: dict[str, str], engine_client: docker.DockerClient) -> Iterator[Stack]:
    port = free_port()
    env = {"COMPOSE_PROFILES": "cpu", "COMPOSE_PROJECT_NAME": PROJECT, "HEARTH_BIND": f"127.0.0.1:{port}"}
    compose = "docker compose"
    host(f"{compose} down --volumes --timeout 5", env)
    try:
        up = host(f"{compose} up --detach --no-build --wait --wait-timeout 600", env, check=False)
        assert up.returncode == 0, up.stderr[-2000:] + host(f"{compose} logs --tail 60", env).stdout
        yield Stack(f"http://127.0.0.1:{port}", env, engine_client)
    finally:
        host(f"{compose} down --volumes --timeout 5", env)


@pytest.fixture
def openai(stack: Stack) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{stack.url}/v1", api_key="unused", max_retries=0, timeout=300) as client:
        yield client


@pytest.fixture(scope="session")
def artifact(
    images: dict[str, str], engine_client: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The baked artifact, copied out of the engine image."""
    return baked_model(engine_client, images["engine"], tmp_path_factory.mktemp("artifact"))
