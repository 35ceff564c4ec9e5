"""The manifest: it describes the artifact, and every difference from it is refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from hearth_quantizer import artifact, manifest, recipe
from hearth_quantizer.manifest import MANIFEST, ArtifactError, Manifest, ManifestError, SourceRecord

SCALES = "model.layers.0.mlp.up_proj.scales"


@pytest.fixture
def made(folder: Path) -> Manifest:
    described = manifest.build(
        folder,
        key="k",
        recipe=recipe.load(Path(__file__).parents[3] / "models" / "tiny.yaml"),
        source=SourceRecord(kind="synthetic", revision=None, files={"config.json": "0" * 64}),
        versions={"torch": "2.13.0"},
        found=artifact.check(folder),
    )
    described.save(folder)
    return described


def problems(folder: Path) -> list[str]:
    with pytest.raises(ArtifactError) as error:
        manifest.verify(folder)
    return error.value.problems


def test_it_describes_files_tensors_and_model(folder: Path, made: Manifest) -> None:
    assert made.files.keys() == {path.name for path in folder.iterdir()} - {MANIFEST}
    assert made.files["config.json"].bytes == (folder / "config.json").stat().st_size
    assert (made.tensors[SCALES].dtype, made.tensors[SCALES].shape) == ("F16", (1, 256))
    assert made.tensors.keys() == load_file(folder / "model.safetensors").keys()
    assert made.weights_bytes == sum(value.nbytes for value in load_file(folder / "model.safetensors").values())
    assert made.kv_bytes_per_token == 1 * 1 * 128 * 2 * 2  # layers x KV heads x head size x (K and V) x 2 bytes
    assert (made.model.layers, made.model.kv_heads, made.model.tied_embeddings) == (1, 1, True)
    assert made.check.quantized_linears == 7
    assert made.recipe.serving.served_name == "hearth-tiny"


def test_an_unchanged_artifact_verifies_to_its_manifest(folder: Path, made: Manifest) -> None:
    assert manifest.verify(folder) == Manifest.load(folder) == made


def test_one_changed_byte_is_named_by_file(folder: Path, made: Manifest) -> None:
    path = folder / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert problems(folder) == ["model.safetensors: has changed"]


@pytest.mark.parametrize("name", ["config.json", "chat_template.jinja"])
def test_a_missing_file_is_named(folder: Path, made: Manifest, name: str) -> None:
    (folder / name).unlink()
    assert problems(folder) == [f"{name}: is missing"]


def test_an_extra_file_is_named_wherever_it_is(folder: Path, made: Manifest) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "code.py").write_text("import this")
    assert problems(folder) == ["sub/code.py: is not in the manifest"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda held: held.pop(SCALES), f"{SCALES}: tensor is missing from model.safetensors"),
        (
            lambda held: held.update(extra=held[SCALES]),
            "extra: tensor in model.safetensors is not in the manifest",
        ),
        (
            lambda held: held.update({SCALES: held[SCALES][:, :128]}),
            f"{SCALES}: tensor in model.safetensors is F16[1, 128], the manifest says F16[1, 256]",
        ),
    ],
)
def test_a_changed_tensor_is_named(
    folder: Path, made: Manifest, edit_tensors: Callable[[Any], None], change: Any, problem: str
) -> None:
    edit_tensors(change)
    assert problems(folder) == ["model.safetensors: has changed", problem]


def test_a_missing_shard_names_its_tensors(folder: Path, made: Manifest) -> None:
    (folder / "model.safetensors").unlink()
    found = problems(folder)
    assert found[0] == "model.safetensors: is missing"
    assert len(found) == 1 + len(made.tensors)


def test_a_truncated_shard_says_so(folder: Path, made: Manifest) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    assert problems(folder)[0] == "model.safetensors: has changed"
    assert problems(folder)[1].startswith("model.safetensors: holds")


def test_a_moved_tensor_is_noticed(folder: Path, made: Manifest) -> None:
    held = load_file(folder / "model.safetensors")
    save_file({SCALES: held.pop(SCALES)}, folder / "more.safetensors")
    save_file(held, folder / "model.safetensors")
    assert problems(folder) == [
        "more.safetensors: is not in the manifest",
        "model.safetensors: has changed",
        f"{SCALES}: tensor is missing from model.safetensors",
    ]


def test_a_missing_manifest_is_refused(folder: Path) -> None:
    with pytest.raises(ManifestError, match=r"hearth\.json: cannot be read: No such file"):
        manifest.verify(folder)


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [('"format": 1', '"format": 2', "format"), ('"key"', '"kex"', "key"), ("{", "[", "the file")],
)
def test_a_manifest_that_is_none_is_refused(folder: Path, made: Manifest, old: str, new: str, where: str) -> None:
    path = folder / MANIFEST
    path.write_text(path.read_text("utf-8").replace(old, new, 1), "utf-8")
    with pytest.raises(ManifestError, match=f"is not a manifest of this version: {where}: "):
        Manifest.load(folder)
