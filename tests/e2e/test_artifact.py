"""The engine serves the artifact that the weights stage made, by its INT4 kernel, and nothing that differs from it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import docker
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

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
    path = model / "model.safetensors"
    name = next(n for n in sorted(safe_open(path, "np").keys()) if n.endswith(".scales"))
    tensors = {n: t for n, t in load_file_any(path).items() if n != name}
    save_file(tensors, path, {"format": "pt"})
    path.chmod(0o644)
    return name


def load_file_any(path: Path) -> dict:
    """NumPy has no bfloat16: such tensors are read as uint16. Their names are what this test is about."""
    try:
        return load_file(path)
    except (TypeError, AttributeError, KeyError, ValueError):
        import numpy as np

        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + size])
        kinds = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32, "I32": np.int32, "I64": np.int64}
        return {
            name: np.frombuffer(raw, kinds[t["dtype"]], offset=8 + size + t["data_offsets"][0],
                                count=int(np.prod(t["shape"]))).reshape(t["shape"])
            for name, t in header.items() if name != "__metadata__"
        }  # fmt: skip


def delete_a_file(model: Path) -> str:
    (model / "tokenizer.json").unlink()
    return "tokenizer.json"


def add_a_file(model: Path) -> str:
    (model / "modeling_evil.py").write_text("print('hello')")
    return "modeling_evil.py"


def delete_the_manifest(model: Path) -> str:
    (model / "hearth.json").unlink()
    return "hearth.json"


@pytest.mark.parametrize("damage", [flip_a_byte, delete_a_tensor, delete_a_file, add_a_file, delete_the_manifest])
def test_a_damaged_artifact_is_refused_by_name(
    damage: Callable[[Path], str], artifact: Path, images: dict[str, str], engine_client: docker.DockerClient, tmp_path: Path
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
