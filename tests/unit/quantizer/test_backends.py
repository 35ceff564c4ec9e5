"""The back ends, apart from their libraries: how AutoGPTQ's own Python is run, and what is made of its weights."""

import json
import os
from pathlib import Path

import pytest

from hearth_quantizer import artifact
from hearth_quantizer.backends import BACKENDS, auto_gptq
from hearth_quantizer.recipe import AutoGptqOptions, AutoGptqQuantization
from hearth_quantizer.refusal import Refusal

from .conftest import CONFIG

SETTINGS = AutoGptqQuantization(backend="auto-gptq", options=AutoGptqOptions(damp_percent=0.02))
NOISE = "INFO - Start quantizing layer 1/2\nINFO - Quantizing mlp.up_proj...\nINFO - Start quantizing layer 2/2"


def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Something in the place of AutoGPTQ's Python: answers for its versions, and does `script` for its work."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nif [ "$1" = -c ]; then echo 0.7.1 4.51.3; exit; fi\n{script}\n')
    python.chmod(0o755)
    monkeypatch.setenv(auto_gptq.PYTHON, str(python))
    return python


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**CONFIG, "rope_parameters": {"rope_theta": 5e6}}))
    return folder


def test_the_worker_gets_the_job_and_reports_finished_layers(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    worker(tmp_path, monkeypatch, f"cat > {tmp_path}/job.json\necho '{NOISE}'\necho from stderr >&2")
    done: list[int] = []
    auto_gptq.quantize(source, [[1, 2], [3]], SETTINGS, tmp_path, done.append)
    job = json.loads((tmp_path / "job.json").read_text())
    assert (job["source"], job["out"], job["sequences"]) == (str(source), str(tmp_path), [[1, 2], [3]])
    assert job["config"]["rope_theta"] == 5e6
    assert job["quantization"] == {
        "bits": 4, "group_size": 128, "desc_act": False, "sym": True, "damp_percent": 0.02, "true_sequential": True,
    }  # fmt: skip
    assert done == [0, 1, 2]
    assert capfd.readouterr().out == f"{NOISE}\nfrom stderr\n"


def test_its_checkpoint_says_what_loaders_ask_for_and_keeps_the_sources_config(
    tmp_path: Path, source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker(tmp_path, monkeypatch, "echo 'Start quantizing layer 1/1'")
    auto_gptq.quantize(source, [[1]], SETTINGS, folder, lambda done: None)
    own, config = (artifact.read_json(folder / name) for name in ("quantize_config.json", "config.json"))
    assert config == {**artifact.read_json(source / "config.json"), "quantization_config": own}
    assert own == {
        "quant_method": "gptq", "checkpoint_format": "gptq", "lm_head": False,
        "bits": 4, "group_size": 128, "desc_act": False, "sym": True,
        "meta": {"quantizer": ["auto_gptq:0.7.1"], "damp_percent": 0.02, "true_sequential": True},
    }  # fmt: skip
    artifact.check(folder)


def test_a_worker_that_fails_is_an_error(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker(tmp_path, monkeypatch, "echo 'Start quantizing layer 1/1'; exit 3")
    with pytest.raises(RuntimeError, match="AutoGPTQ ended with status 3"):
        auto_gptq.quantize(source, [[1]], SETTINGS, tmp_path, lambda done: None)
    assert not (tmp_path / "config.json").exists()


def test_an_interrupted_run_takes_the_worker_along(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid; echo 'Start quantizing layer 1/1'; exec sleep 600")

    def interrupted(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        auto_gptq.quantize(source, [[1]], SETTINGS, tmp_path, interrupted)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize("python", ["", "/nowhere/python"])
def test_without_autogptq_it_says_where_to_find_it(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(auto_gptq.PYTHON, python)
    with pytest.raises(Refusal, match=r"back end auto-gptq: .*built with HEARTH_BACKEND=auto-gptq has one"):
        auto_gptq.versions()


def test_without_gptqmodel_it_says_where_to_find_it() -> None:
    with pytest.raises(
        Refusal, match="back end gptqmodel: GPTQModel is not installed here; the quantizer image has it"
    ):
        BACKENDS["gptqmodel"].versions()


def test_versions_name_the_library_its_transformers_and_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker(tmp_path, monkeypatch, "exit 1")
    found = auto_gptq.versions()
    assert (found["auto_gptq"], found["auto_gptq_transformers"]) == ("0.7.1", "4.51.3")
    assert len(found["auto_gptq_code"]) == 12


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ({"rope_theta": 1e6, "torch_dtype": "bfloat16"}, {"rope_theta": 1e6, "torch_dtype": "bfloat16"}),
        ({"rope_parameters": {"rope_theta": 5e6, "rope_type": "default"}, "dtype": "bfloat16"},
         {"rope_theta": 5e6, "torch_dtype": "bfloat16"}),
        ({"rope_parameters": {"rope_theta": 5e6, "rope_type": "yarn", "factor": 4.0}},
         {"rope_theta": 5e6, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}),
    ],
)  # fmt: skip
def test_the_config_is_told_to_transformers_4_in_its_own_words(newer: dict, older: dict) -> None:
    before = json.dumps(newer)
    assert auto_gptq.transformers_4(newer) == older
    assert json.dumps(newer) == before
