"""The engine serves the artifact that the weights stage made and nothing that differs from it, by its INT4 kernel where
the CPU has the instructions.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import docker
import numpy as np
import pytest
from safetensors import safe_open

from .conftest import HAS_INT4_KERNEL, Stack


def test_the_int4_kernel_runs_or_the_weights_are_unpacked(stack: Stack) -> None:
    log = stack.container("engine-cpu").logs().decode()
    if HAS_INT4_KERNEL:
        assert "CPUWNA16LinearKernel" in log
        assert "/opt/hearth/model" in log
    else:
        assert re.search(r"note: vLLM's INT4 kernel needs AVX-512 \(.* missing\): the weights are unpacked", log)
        assert "quantization=None" in log
        assert "No such file" in stack.container("engine-cpu").exec_run(
            ["sh", "-c", "ls /tmp/hearth-cache/unpacked/*.safetensors"]
        ).output.decode()  # fmt: skip
    assert "canary passed" in log


def test_the_artifact_is_what_the_recipe_asked_for(artifact: Path) -> None:
    manifest = json.loads((artifact / "hearth.json").read_text())
    assert manifest["recipe"]["name"] == "tiny"
    assert manifest["check"]["quantized_linears"] == 7 * manifest["model"]["layers"]
    assert {"gptqmodel", "torch", "transformers"} <= set(manifest["versions"])


def flip_a_byte(model: Path) -> str:
    path = model / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return "model.safetensors"


def delete_a_tensor(model: Path) -> str:
    """A valid safetensors file with one tensor fewer (written by hand: NumPy has no bfloat16)."""
    path = model / "model.safetensors"
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8 : 8 + size]), raw[8 + size :]
    name = min(tensor for tensor in header if tensor.endswith(".scales"))
    begin, end = header.pop(name)["data_offsets"]
    for tensor in header.values():
        if "data_offsets" in tensor and tensor["data_offsets"][0] >= end:
            tensor["data_offsets"] = [offset - (end - begin) for offset in tensor["data_offsets"]]
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[:begin] + data[end:])
    with safe_open(path, "np") as file:  # still a file that a loader takes
        assert name not in set(file.keys())
    return name


def delete_a_file(model: Path) -> str:
    (model / "tokenizer.json").unlink()
    return "tokenizer.json"


def add_a_file(model: Path) -> str:
    (model / "modeling_evil.py").write_text("print('hello')")
    return "modeling_evil.py"


def delete_the_manifest(model: Path) -> str:
    (model / "hearth.json").unlink()
    return "hearth.json"


def lock_a_file(model: Path) -> str:
    (model / "config.json").chmod(0o600)  # root's, and the engine is not root
    return "config.json"


def scale_a_layer(model: Path, factor: float) -> None:
    """Every scale of the first layer times `factor`, and the manifest made to agree: only the numbers give it away."""
    path, manifest = model / "model.safetensors", json.loads((model / "hearth.json").read_text())
    raw = bytearray(path.read_bytes())
    size = int.from_bytes(raw[:8], "little")
    for name, tensor in json.loads(raw[8 : 8 + size]).items():
        if name.startswith("model.layers.0.") and name.endswith(".scales"):
            assert tensor["dtype"] == "F16", name
            begin, end = (8 + size + offset for offset in tensor["data_offsets"])
            raw[begin:end] = (np.frombuffer(raw[begin:end], "<f2") * np.float16(factor)).tobytes()
    path.write_bytes(raw)
    manifest["files"][path.name]["sha256"] = hashlib.sha256(raw).hexdigest()
    (model / "hearth.json").write_text(json.dumps(manifest))


def test_the_canary_passes_before_the_engine_answers(stack: Stack) -> None:
    log = stack.container("engine-cpu").logs().decode()
    assert log.index("canary passed in ") < log.index("Application startup complete")


def test_weights_that_compute_something_else_are_refused_by_the_canary(
    artifact: Path, images: dict[str, str], engine_client: docker.DockerClient, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(artifact, model)
    scale_a_layer(model, 1.05)
    container = engine_client.containers.run(
        images["engine"], detach=True, volumes={str(model): {"bind": "/opt/hearth/model", "mode": "ro"}},
        network_mode="none", read_only=True, tmpfs={"/tmp": "exec,mode=1777", "/home/hearth": "exec,uid=1000,gid=1000"},
        shm_size="1g", mem_limit="6g",
    )  # fmt: skip
    try:
        code, log = container.wait(timeout=300)["StatusCode"], container.logs().decode()
    finally:
        container.remove(force=True)
    assert code == 3, log
    assert "hearth-engine: verified" in log
    assert re.search(r"hearth-engine: canary prompt \d+: log-probabilities differ by", log), log
    assert "Application startup complete" not in log
    assert "Traceback" not in log


def test_the_build_scored_the_weights_through_vllm(images: dict[str, str], engine_client: docker.DockerClient) -> None:
    if not HAS_INT4_KERNEL:  # the start asks, as above
        listed = engine_client.containers.run(images["engine"], ["/opt/hearth/reports"], entrypoint="ls", remove=True)
        assert "quality.json" in listed.decode()
        assert "engine.json" not in listed.decode()
        return
    report = json.loads(
        engine_client.containers.run(
            images["engine"], ["/opt/hearth/reports/engine.json"], entrypoint="cat", remove=True
        )
    )
    assert report["kernels"] == ["CPUWNA16LinearKernel"]
    assert report["mean"] > 0
    assert 0 < report["share_of_limit"] < 1
    table = engine_client.containers.run(images["engine"], ["quality"], remove=True).decode()
    assert "CPUWNA16LinearKernel" in table
    assert "gates" in table


@pytest.mark.parametrize(
    "damage", [flip_a_byte, delete_a_tensor, delete_a_file, add_a_file, lock_a_file, delete_the_manifest]
)
def test_a_damaged_artifact_is_refused_by_name(
    damage: Callable[[Path], str],
    artifact: Path,
    images: dict[str, str],
    engine_client: docker.DockerClient,
    tmp_path: Path,
) -> None:
    model = tmp_path / "model"
    shutil.copytree(artifact, model)
    culprit = damage(model)
    container = engine_client.containers.run(
        images["engine"], detach=True, volumes={str(model): {"bind": "/opt/hearth/model", "mode": "ro"}},
        network_mode="none", read_only=True, tmpfs={"/tmp": "", "/home/hearth": ""},
    )  # fmt: skip
    try:
        code, log = container.wait(timeout=120)["StatusCode"], container.logs().decode()
    finally:
        container.remove(force=True)
    assert code == 1, log
    assert culprit in log
    assert "Traceback" not in log
