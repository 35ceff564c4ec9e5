"""The engine serves the artifact that the weights stage made, by its INT4 kernel, and nothing that differs from it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import docker
import pytest
from safetensors import safe_open

from .conftest import Stack


def test_the_int4_kernel_runs(stack: Stack) -> None:
    log = stack.container("engine-cpu").logs().decode()
    assert "CPUWNA16LinearKernel" in log
    assert "/opt/hearth/model" in log


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
