"""The other back end: the same recipe by AutoGPTQ passes the same checks, and every loader reads its artifact alike."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container
from tokenizers import Tokenizer

from .conftest import HAS_INT4_KERNEL, baked_model, host

SCRIPTS = Path(__file__).with_name("in_quantizer")
TURN = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>"
TEXTS = [
    TURN.format("List three common operating systems.", "Linux, Windows and macOS."),
    TURN.format("请列出三个常见的操作系统。", "Linux、Windows、macOS"),
    TURN.format(
        "Search for 'blue whale'.",
        '<tool_call>\n{"name": "search", "arguments": {"query": "blue whale"}}\n</tool_call>',
    ),
]


@pytest.fixture(scope="session")
def auto_gptq_engine(engine_client: docker.DockerClient) -> str:
    """The tag of the engine image whose weights AutoGPTQ made."""
    host("bake engine-cpu", {"COMPOSE_PROFILES": "cpu", "HEARTH_PROGRESS": "plain", "HEARTH_BACKEND": "auto-gptq"})
    return "hearth-engine:0.1.0-tiny-auto-gptq-cpu"


@pytest.fixture(scope="session")
def auto_gptq(
    auto_gptq_engine: str, engine_client: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Its artifact, copied out of the image."""
    return baked_model(engine_client, auto_gptq_engine, tmp_path_factory.mktemp("auto-gptq"))


@pytest.fixture(scope="session")
def prompts(auto_gptq: Path) -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(auto_gptq / "tokenizer.json"))
    return [tokenizer.encode(text).ids for text in TEXTS]


@pytest.fixture(scope="session")
def quantizer() -> str:
    host("bake quantizer", {"HEARTH_BACKEND": "", "HEARTH_PROGRESS": "plain"})
    return "hearth-quantizer:0.1.0-cpu"


def python(quantizer: str, *arguments: str, stdin: str = "") -> str:
    """What a Python program says last, run by the quantizer's interpreter; `arguments` begin with docker's own."""
    command = [
        "docker", "run", "--rm", "--interactive", "--network", "none", "--volume", f"{SCRIPTS}:/scripts:ro",
        "--env", "GPTQMODEL_CPU_WORKERS=2", "--env", "GPTQMODEL_DISABLE_PACK_EXT=1", "--entrypoint", "python",
    ]  # fmt: skip
    at = arguments.index("--")
    command += [*arguments[:at], quantizer, *arguments[at + 1 :]]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="session")
def said(quantizer: str, auto_gptq: Path, prompts: list[list[int]]) -> dict[str, list[list[float]]]:
    """The prompts' logprobs by loader."""
    mount = f"{auto_gptq}:/model:ro"
    line = python(quantizer, "--volume", mount, "--", "/scripts/loaders.py", "/model", stdin=json.dumps(prompts))
    found: dict[str, list[list[float]]] = json.loads(line)
    return found


@pytest.fixture
def engine(auto_gptq_engine: str, engine_client: docker.DockerClient) -> Iterator[Container]:
    """An engine that serves the artifact, healthy."""
    container = engine_client.containers.run(
        auto_gptq_engine, detach=True, network_mode="none", read_only=True, cap_drop=["ALL"], shm_size="1g",
        tmpfs={"/tmp": "exec,mode=1777", "/home/hearth": "exec,uid=1000,gid=1000"},
    )  # fmt: skip
    try:
        until = time.monotonic() + 600
        while container.exec_run(["hearth-engine", "health"]).exit_code:
            container.reload()
            assert container.status == "running", container.logs(tail=60).decode()
            assert time.monotonic() < until, container.logs(tail=60).decode()
            time.sleep(1)
        yield container
    finally:
        container.remove(force=True)


def difference(one: list[list[float]], other: list[list[float]]) -> float:
    """Mean of |ln p - ln q| over all tokens."""
    pairs = [pair for rows in zip(one, other, strict=True) for pair in zip(*rows, strict=True)]
    return sum(abs(p - q) for p, q in pairs) / len(pairs)


def test_the_scale_search_finds_what_gptqmodels_own_finds(quantizer: str) -> None:
    assert python(quantizer, "--", "/scripts/scale_search.py") == "1280 rows, 0 scales and 0 zeros differ"


def test_the_manifest_says_which_back_end_made_the_weights(auto_gptq: Path) -> None:
    manifest = json.loads((auto_gptq / "hearth.json").read_text())
    assert manifest["recipe"]["quantization"]["backend"] == "auto-gptq"
    assert manifest["versions"]["auto_gptq"] == "0.7.1"
    assert manifest["check"]["quantized_linears"] == 7 * manifest["model"]["layers"]


def share(one: list[list[float]], said: dict[str, list[list[float]]]) -> float:
    """How far `one` is from the weights dequantized by hand, by what one layer's scales 5 % too large do to them."""
    return difference(one, said["by hand"]) / difference(said["by hand, falsified"], said["by hand"])


def test_a_falsified_layer_shows(said: dict[str, list[list[float]]]) -> None:
    assert difference(said["by hand, falsified"], said["by hand"]) > 0.01


@pytest.mark.parametrize(("loader", "at_most"), [("transformers", 0.05), ("GPTQModel", 0.25)])
def test_a_library_reads_what_is_there(said: dict[str, list[list[float]]], loader: str, at_most: float) -> None:
    assert share(said[loader], said) < at_most


def test_vllm_reads_what_is_there(
    engine: Container, prompts: list[list[int]], said: dict[str, list[list[float]]], auto_gptq: Path
) -> None:
    name = json.loads((auto_gptq / "hearth.json").read_text())["recipe"]["serving"]["served_name"]
    body = json.dumps({"model": name, "prompt": prompts, "max_tokens": 1, "prompt_logprobs": 0})
    script = f"""
import urllib.request as u
head = {{"Content-Type": "application/json"}}
print(u.urlopen(u.Request("http://127.0.0.1:8000/v1/completions", {body!r}.encode(), head)).read().decode())
"""
    code, out = engine.exec_run(["python", "-c", script], environment={"LD_PRELOAD": ""})
    assert code == 0, out.decode()
    served = [
        [entry[str(token)]["logprob"] for token, entry in zip(prompt[1:], choice["prompt_logprobs"][1:], strict=True)]
        for prompt, choice in zip(prompts, json.loads(out)["choices"], strict=True)
    ]
    assert ("CPUWNA16LinearKernel" in engine.logs().decode()) == HAS_INT4_KERNEL
    assert share(served, said) < 0.5  # it computes in bfloat16
