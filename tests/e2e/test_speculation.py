"""HEARTH_SPECULATION=ngram in a real engine: it proposes tokens and changes no answer."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from .conftest import ENGINE_CLIENT, Stack, engine_alone

# Answers repeat this word for word; tools as an agent's client sends them.
TEXT = "The keeper of the harbour wrote down the names of all ships that came in before noon."
TOOL = {
    "name": "write_file",
    "description": "Write a file.",
    "parameters": {
        "type": "object",
        "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
        "required": ["path", "content"],
    },
}
ASKED = {
    "messages": [{"role": "user", "content": f'Write "{TEXT}" to /workspace/harbour.txt'}],
    "tools": [{"type": "function", "function": TOOL}],
    "max_tokens": 120,
}
GREEDY = {**ASKED, "temperature": 0}


class Engine:
    def __init__(self, container: Container) -> None:
        self._container = container
        self._model = json.loads(self._ask("GET", "/v1/models")[1])["data"][0]["id"]

    def _ask(self, method: str, path: str, body: str = "") -> tuple[int, str]:
        command = ["docker", "exec", "--interactive", "--env", "LD_PRELOAD=", self._container.id or "", "python", "-c",
                   ENGINE_CLIENT]  # fmt: skip
        asked = json.dumps([method, path, body, "application/json"])
        done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=180, check=True)
        status, text = json.loads(done.stdout)
        return status, text

    def chat(self, asked: dict[str, Any]) -> tuple[int, Any]:
        status, text = self._ask("POST", "/v1/chat/completions", json.dumps({"model": self._model, **asked}))
        answer = json.loads(text)
        return status, answer["choices"][0] if status == 200 else answer["error"]["message"]

    def accepted(self) -> float:
        """Proposed tokens that became part of an answer."""
        lines = self._ask("GET", "/metrics")[1].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines
                   if line.startswith("vllm:spec_decode_num_accepted_tokens_total"))  # fmt: skip


@pytest.fixture(scope="module")
def engine(images: dict[str, str], engine_client: docker.DockerClient) -> Iterator[Engine]:
    with engine_alone(engine_client, images["engine"], {"HEARTH_SPECULATION": "ngram"}) as container:
        yield Engine(container)


def said(choice: dict[str, Any]) -> tuple[str, list[dict[str, str]]]:
    message = choice["message"]
    return message["content"] or "", [call["function"] for call in message["tool_calls"]]


def test_proposed_tokens_are_accepted_and_change_nothing(engine: Engine, stack: Stack) -> None:
    before = engine.accepted()
    status, choice = engine.chat(GREEDY)
    assert status == 200
    assert engine.accepted() > before
    assert json.loads(said(choice)[1][0]["arguments"])["content"] == TEXT
    _, text = stack.engine_answers("POST", "/v1/chat/completions", json.dumps({"model": "hearth-tiny", **GREEDY}))
    assert said(choice) == said(json.loads(text)["choices"][0])


def test_sampling_keeps_each_requests_parameters(engine: Engine) -> None:
    """With top_k 1 there is nothing to sample; without speculation.py the engine dies of this."""
    greedy = said(engine.chat(GREEDY)[1])
    for parameters in ({"top_k": 1}, {"top_p": 1e-6, "top_k": 50}, {"top_k": 1, "seed": 7, "logprobs": True}):
        status, choice = engine.chat({**ASKED, "temperature": 1, **parameters})
        assert (status, said(choice)) == (200, greedy), parameters


def test_sampled_tokens_are_as_likely_as_they_should_be(images: dict[str, str]) -> None:
    mounted = ["--volume", f"{Path(__file__).with_name('in_engine')}:/scripts:ro", "--tmpfs", "/tmp:exec,mode=1777"]
    command = ["docker", "run", "--rm", "--network", "none", *mounted, "--entrypoint", "python", images["engine"]]
    done = subprocess.run([*command, "/scripts/proposed.py"], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["impossible"], found["not_likeliest"]) == (0, 0)
    assert found["furthest"] < 4.5


def test_a_schema_holds(engine: Engine) -> None:
    schema = {"type": "object", "properties": {"port": {"enum": ["harbour", "haven"]}}, "required": ["port"]}
    form = {"type": "json_schema", "json_schema": {"name": "port", "schema": schema}}
    asked = {"messages": ASKED["messages"], "max_tokens": 60, "temperature": 0, "response_format": form}
    status, choice = engine.chat(asked)
    assert status == 200, choice
    assert json.loads(choice["message"]["content"])["port"] in ("harbour", "haven")


def test_min_p_is_refused_and_nothing_else_suffers(engine: Engine) -> None:
    status, message = engine.chat({**ASKED, "temperature": 1, "min_p": 0.1})
    assert status == 400
    assert "min_p" in message
    assert engine.chat(GREEDY)[0] == 200
