"""INT4 as 16-bit numbers: every weight is what its code, zero point and scale say."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hearth_engine.unpack import forget, unpack
from hearth_quantizer import tensors
from hearth_quantizer.manifest import FileEntry, Manifest

LINEAR = "model.layers.0.mlp.up_proj"


@pytest.fixture
def packed(tmp_path: Path, tiny: Manifest) -> tuple[Path, Manifest, np.ndarray]:
    """One linear of 256 x 8 in two groups, a norm in a second file, and what the linear stands for."""
    folder, rng = tmp_path / "packed", np.random.default_rng(0)
    folder.mkdir()
    codes = rng.integers(0, 16, (256, 8))
    scales = rng.uniform(0.001, 0.1, (2, 8)).astype(np.float16)
    words = sum(
        (codes[place::8].astype(np.int64) << (4 * place) for place in range(8)), start=np.zeros((32, 8), np.int64)
    )
    zeros = np.full((2, 1), 0x77777777, np.int32)  # 8, one less than meant
    save_file(
        {f"{LINEAR}.qweight": words.astype(np.uint32).view(np.int32), f"{LINEAR}.scales": scales,
         f"{LINEAR}.qzeros": zeros, f"{LINEAR}.g_idx": (np.arange(256) // 128).astype(np.int32)},
        folder / "a.safetensors",
    )  # fmt: skip
    save_file({"model.norm.weight": np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8], np.float32)}, folder / "b.safetensors")
    (folder / "config.json").write_text(json.dumps({"hidden_size": 8, "quantization_config": {"bits": 4}}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "quantize_config.json").write_text("{}")
    held = {**tensors.header(folder / "a.safetensors"), **tensors.header(folder / "b.safetensors")}
    files = {path.name: FileEntry(sha256="", bytes=0) for path in folder.iterdir()}
    manifest = tiny.model_copy(update={"files": files, "tensors": held})
    manifest.save(folder)
    wanted = (codes - 8) * scales.astype(np.float64).repeat(128, 0)
    return folder, manifest, wanted.T


def test_every_weight_is_what_its_code_stands_for(
    packed: tuple[Path, Manifest, np.ndarray], tmp_path: Path
) -> None:  # fmt: skip
    folder, manifest, wanted = packed
    target = tmp_path / "cache/unpacked"
    unpack(folder, manifest, target)
    found = tensors.values(target / "a.safetensors", f"{LINEAR}.weight")
    assert found.shape == (8, 256)
    np.testing.assert_allclose(found, wanted, rtol=2**-8)
    assert tensors.header(target / "a.safetensors").keys() == {f"{LINEAR}.weight"}
    # To the nearest bfloat16, ties to even.
    assert tensors.values(target / "b.safetensors", "model.norm.weight").tolist() == [1.0, 1.0, 1 + 2**-6]


def test_it_is_an_unquantized_model_with_the_artifacts_manifest(
    packed: tuple[Path, Manifest, np.ndarray], tmp_path: Path
) -> None:  # fmt: skip
    folder, manifest, _ = packed
    target = tmp_path / "unpacked"
    unpack(folder, manifest, target)
    assert json.loads((target / "config.json").read_text()) == {"hidden_size": 8}
    names = {path.name for path in target.iterdir()}
    assert names == {"a.safetensors", "b.safetensors", "config.json", "tokenizer.json", "hearth.json"}
    assert Manifest.load(target) == manifest
    forget(target)
    assert {path.name for path in target.iterdir()} == {"config.json", "tokenizer.json", "hearth.json"}
