"""The gates against what deserves to fail, in the quantizer's image: damage, and calibration on next to nothing."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from .conftest import ROOT, host, judge_by_little

Judge = Callable[..., tuple[int, str]]
LAYER = "model.layers.0."


@pytest.fixture(scope="module")
def quantizer(images: dict[str, str]) -> str:
    host("HEARTH_WEIGHTS= bake quantizer", {"COMPOSE_PROFILES": "cpu", "HEARTH_PROGRESS": "plain"})
    return "hearth-quantizer:0.1.0-cpu"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipes with a part of the held-out data: what is looked for here is gross."""
    folder = tmp_path_factory.mktemp("recipes") / "models"
    shutil.copytree(ROOT / "models", folder)
    judge_by_little(folder)
    return folder


@pytest.fixture
def quantize(quantizer: str, models: Path, engine_client: docker.DockerClient, tmp_path: Path) -> Judge:
    """Runs hearth-quantize with `models` at /models and `tmp_path` at /out; returns its status and what it said."""

    def run(*arguments: str) -> tuple[int, str]:
        container = engine_client.containers.run(
            quantizer, list(arguments), detach=True, network_mode="none", tmpfs={"/tmp": ""},
            user=f"{os.getuid()}:{os.getgid()}", environment={"HOME": "/tmp"},
            volumes={str(models): {"bind": "/models", "mode": "ro"}, str(tmp_path): {"bind": "/out", "mode": "rw"}},
        )  # fmt: skip
        try:
            return container.wait(timeout=1200)["StatusCode"], container.logs().decode()
        finally:
            container.remove(force=True)

    return run


@pytest.fixture
def model(artifact: Path, tmp_path: Path) -> Path:
    """A copy of the baked artifact to damage."""
    return Path(shutil.copytree(artifact, tmp_path / "model"))


def edit(model: Path, suffix: str, dtype: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """Change the values of the first layer's tensors of a kind, in place in the file."""
    path = model / "model.safetensors"
    raw = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    names = [name for name in header if name.startswith(LAYER) and name.endswith(suffix)]
    assert len(names) == 7
    for name in names:
        begin, end = (start + offset for offset in header[name]["data_offsets"])
        values = np.frombuffer(bytes(raw[begin:end]), dtype).reshape(header[name]["shape"])
        raw[begin:end] = change(values).astype(dtype).tobytes()
    path.write_bytes(raw)


def scale_up(model: Path) -> None:
    edit(model, ".scales", "<f2", lambda scales: scales * 1.05)


def shuffle_codes(model: Path) -> None:
    edit(model, ".qweight", "<i4", lambda codes: np.random.default_rng(0).permutation(codes, axis=1))


def swap_tokens(model: Path) -> None:
    """A tokenizer that is valid, and not the source's: two frequent tokens have changed places."""
    path = model / "tokenizer.json"
    tokenizer = json.loads(path.read_text("utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["e"], vocabulary["a"] = vocabulary["a"], vocabulary["e"]
    path.write_text(json.dumps(tokenizer, ensure_ascii=False), "utf-8")


EVALUATE = ("/models/tiny.yaml", "--evaluate", "/out/model", "--work", "/tmp/work")


def test_the_baked_artifact_passes_and_holds_its_report(model: Path, quantize: Judge) -> None:
    manifest = json.loads((model / "hearth.json").read_text("utf-8"))
    report = json.loads((model / "reports/quality.json").read_text("utf-8"))
    assert manifest["quality"]["passed"]
    assert manifest["quality"]["metrics"] == report["metrics"]
    assert len(manifest["canary"]["prompts"]) == 8
    assert "<svg" in (model / "reports/quality.html").read_text("utf-8")
    status, log = quantize(*EVALUATE)
    assert (status, "all quality gates passed" in log) == (0, True), log


@pytest.mark.parametrize("damage", [scale_up, shuffle_codes])
def test_damaged_weights_kill_the_canary(damage: Callable[[Path], None], model: Path, quantize: Judge) -> None:
    damage(model)
    status, log = quantize(*EVALUATE)
    assert status == 1, log
    assert "these are not the weights that were evaluated" in log


def test_shuffled_codes_miss_the_gates(model: Path, quantize: Judge) -> None:
    shuffle_codes(model)
    (model / "hearth.json").unlink()  # and with it the canary
    status, log = quantize(*EVALUATE)
    assert status == 1, log
    assert "MISSED  KL / KL of rounding" in log
    assert "MISSED  KL divergence, mean" in log
    assert "Traceback" not in log


def test_a_wrong_tokenizer_is_named(model: Path, quantize: Judge) -> None:
    swap_tokens(model)
    status, log = quantize(*EVALUATE)
    assert status == 1, log
    assert "its tokenizer or chat template makes other tokens of" in log


TWO = ("Quantization makes a model smaller and faster.", "The quick brown fox jumps over the lazy dog.")


@pytest.fixture
def two_sentences(models: Path) -> str:
    """A recipe that calibrates on two sentences."""
    rows = ({"messages": [{"role": "user", "content": sentence}]} for sentence in TWO)
    (models / "two.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    recipe = yaml.safe_load((models / "tiny.yaml").read_text("utf-8"))
    recipe |= {"name": "two", "calibration": {"files": ["two.jsonl"], "samples": 2}}
    (models / "two.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    return "/models/two.yaml"


def test_two_sentences_are_no_calibration(two_sentences: str, quantize: Judge, tmp_path: Path) -> None:
    status, log = quantize(two_sentences, "--out", "/out/made")
    assert status == 1, log
    assert "calibration: samples (2) must be at least 128" in log
    status, log = quantize(two_sentences, "--out", "/out/made", "--allow-poor-calibration")
    assert status == 1, log
    assert "MISSED  KL / KL of rounding" in log
    assert not (tmp_path / "made").exists()
