"""The check before serving: a good artifact passes, and each way of being bad is named."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hearth_quantizer import artifact, tensors
from hearth_quantizer.artifact import ArtifactError

Q = "model.layers.0.self_attn.q_proj"
Edit = Callable[[Callable[[dict[str, Any]], Any]], None]


def problems(folder: Path, source: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ArtifactError) as error:
        artifact.check(folder, source)
    assert str(folder) in str(error.value)
    return error.value.problems


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: artifact.sha256(path) for path in folder.iterdir()}


def test_a_good_artifact_passes(folder: Path) -> None:
    found = artifact.check(folder, hashes(folder))
    assert (found.quantized_linears, found.tensors) == (7, 7 * 4 + 6)
    assert 0.0009 < found.scale_min < found.scale_max < 0.0101
    assert found.warnings == ()


def test_group_indices_may_be_absent(folder: Path, edit_tensors: Edit) -> None:
    edit_tensors(lambda held: [held.pop(name) for name in list(held) if name.endswith("g_idx")])
    assert artifact.check(folder).tensors == 7 * 3 + 6


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda held: held.pop(f"{Q}.scales"), f"{Q}.scales: is missing"),
        (lambda held: held.pop(f"{Q}.qzeros"), f"{Q}.qzeros: is missing"),
        (lambda held: held.pop("model.norm.weight"), "model.norm.weight: is missing"),
        (
            lambda held: held.update({"lm_head.weight": np.ones((384, 128), np.float16)}),
            "lm_head.weight (model.safetensors): does not belong here: the embeddings are tied",
        ),
        (
            lambda held: held.update({f"{Q}.bias": np.ones(256, np.float16)}),
            f"{Q}.bias (model.safetensors): does not belong here",
        ),
        (
            lambda held: held.update({f"{Q}.qweight": held[f"{Q}.qweight"][:8]}),
            f"{Q}.qweight (model.safetensors): is I32[8, 256], must be I32[16, 256]",
        ),
        (
            lambda held: held.update({f"{Q}.scales": held[f"{Q}.scales"].astype(np.float32)}),
            f"{Q}.scales (model.safetensors): is F32[1, 256], must be F16 or BF16[1, 256]",
        ),
        (
            lambda held: held[f"{Q}.scales"].__setitem__((0, 3), np.nan),
            f"{Q}.scales: 1 of 256 values are not finite and above 0",
        ),
        (
            lambda held: held[f"{Q}.scales"].__setitem__((0, slice(2)), [0, -1]),
            f"{Q}.scales: 2 of 256 values are not finite and above 0",
        ),
        (
            lambda held: held[f"{Q}.scales"].__setitem__((0, 0), np.inf),
            f"{Q}.scales: 1 of 256 values are not finite and above 0",
        ),
        (
            lambda held: held[f"{Q}.qzeros"].__setitem__((0, 0), 0x77777778),
            f"{Q}.qzeros: holds zero points other than 8; vLLM takes 8 for granted",
        ),
        (
            lambda held: held[f"{Q}.g_idx"].__setitem__(5, 1),
            f"{Q}.g_idx: inputs are reordered; vLLM takes their natural order",
        ),
    ],
)
def test_a_bad_tensor_is_named(folder: Path, edit_tensors: Edit, change: Any, problem: str) -> None:
    edit_tensors(change)
    assert problems(folder) == [problem]


def test_an_untied_model_needs_its_head(folder: Path, edit_json: Callable[..., None]) -> None:
    edit_json("config.json", tie_word_embeddings=False)
    assert problems(folder) == ["lm_head.weight: is missing"]


@pytest.mark.parametrize("name", ["config.json", "quantize_config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert problems(folder) == [f"{name}: is missing"]


def test_a_model_that_cannot_chat_is_refused(folder: Path, edit_json: Callable[..., None]) -> None:
    (folder / "chat_template.jinja").unlink()
    assert problems(folder)[0].startswith("chat_template.jinja: is missing, and tokenizer_config.json holds no chat")
    edit_json("tokenizer_config.json", chat_template="{{ messages }}")
    artifact.check(folder)


@pytest.mark.parametrize(
    ("key", "value", "needed"),
    [
        ("bits", 8, "4"),
        ("sym", False, "True"),
        ("desc_act", True, "False"),
        ("group_size", -1, "32 or 64 or 128"),
        ("quant_method", "awq", "'gptq'"),
        ("lm_head", True, "False or None"),
    ],
)
def test_a_quantization_that_vllm_does_not_load_is_refused(
    folder: Path, edit_json: Callable[..., None], key: str, value: Any, needed: str
) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))["quantization_config"]
    edit_json("config.json", quantization_config={**config, key: value})
    edit_json("quantize_config.json", **{key: value})
    assert problems(folder) == [f"config.json: quantization_config.{key} is {value!r}; vLLM needs {needed}"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"checkpoint_format": "gptq_v2"}, "config.json: checkpoint_format is 'gptq_v2'; vLLM needs 'gptq'"),
        (
            {"dynamic": {"-:x": {}}},
            "config.json: quantization_config.dynamic: layers with settings of their own are not",
        ),
    ],
)
def test_a_layout_that_vllm_would_misread_is_refused(
    folder: Path, edit_json: Callable[..., None], changes: dict[str, Any], problem: str
) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))["quantization_config"]
    edit_json("config.json", quantization_config={**config, **changes})
    assert problems(folder)[0].startswith(problem)


def test_quantize_config_must_agree_with_config(folder: Path, edit_json: Callable[..., None]) -> None:
    edit_json("quantize_config.json", group_size=64)
    assert problems(folder) == ["quantize_config.json: group_size is 64, config.json says 128"]


def test_an_unquantized_model_is_refused(folder: Path, edit_json: Callable[..., None]) -> None:
    edit_json("config.json", quantization_config=None)
    assert problems(folder) == ["config.json: quantization_config is missing: the model is not quantized"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"architectures": ["GPT2LMHeadModel"]},
            "config.json: architecture 'GPT2LMHeadModel' is not known; known: Qwen3",
        ),
        (
            {"hidden_size": 192},
            "model.layers.0.self_attn.q_proj: 192 inputs x 256 outputs do not divide into groups of",
        ),
    ],
)
def test_a_model_out_of_reach_is_refused(
    folder: Path, edit_json: Callable[..., None], changes: dict[str, Any], problem: str
) -> None:
    edit_json("config.json", **changes)
    assert problems(folder)[0].startswith(problem)


def test_a_file_that_is_no_json_is_named(folder: Path) -> None:
    (folder / "config.json").write_text("{", "utf-8")
    assert problems(folder)[0].startswith("config.json: cannot be read as JSON")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_what_makes_tokens_must_be_the_sources(folder: Path, name: str) -> None:
    source = hashes(folder)
    assert problems(folder, source | {name: "0" * 64}) == [f"{name}: differs from the source's"]
    source.pop(name)
    assert problems(folder, source) == [f"{name}: does not belong here: the source has none"]
    assert problems(folder, hashes(folder) | {"merges.txt": "0" * 64}) == ["merges.txt: is missing; the source has it"]


# --- shards -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def sharded(folder: Path) -> Path:
    """The same artifact in two shards with an index."""
    held = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(held)
    shards = {"model-00001-of-00002.safetensors": names[:10], "model-00002-of-00002.safetensors": names[10:]}
    for file, part in shards.items():
        save_file({name: held[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in shards.items() for name in part}
    (folder / artifact.INDEX).write_text(json.dumps({"weight_map": weight_map}), "utf-8")
    return folder


def reindex(folder: Path, change: Callable[[dict[str, str]], Any]) -> None:
    index = json.loads((folder / artifact.INDEX).read_text("utf-8"))
    change(index["weight_map"])
    (folder / artifact.INDEX).write_text(json.dumps(index), "utf-8")


def test_shards_with_their_index_pass(sharded: Path) -> None:
    assert artifact.check(sharded).tensors == 34


def test_shards_need_their_index(sharded: Path) -> None:
    (sharded / artifact.INDEX).unlink()
    assert problems(sharded)[0].startswith(f"{artifact.INDEX}: is missing, with weights in ['model-00001-of-00002")


def test_a_shard_of_the_index_must_exist(sharded: Path) -> None:
    (sharded / "model-00002-of-00002.safetensors").unlink()
    assert f"{artifact.INDEX}: names model-00002-of-00002.safetensors, which is missing" in problems(sharded)


def test_the_index_must_name_what_the_shards_hold(sharded: Path) -> None:
    reindex(sharded, lambda names: names.update({f"{Q}.scales": "model-00001-of-00002.safetensors"}))
    assert problems(sharded) == [f"{Q}.scales: the index places it in model-00001-of-00002.safetensors, which lacks it"]
    reindex(sharded, lambda names: names.pop(f"{Q}.scales"))
    assert problems(sharded) == [f"{Q}.scales: is in model-00002-of-00002.safetensors but not in the index"]


def test_a_tensor_held_twice_is_refused(sharded: Path) -> None:
    (sharded / "copy.safetensors").write_bytes((sharded / "model-00001-of-00002.safetensors").read_bytes())
    assert all("is in copy.safetensors and in model-00001-of-00002" in problem for problem in problems(sharded))


# --- safetensors by header --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda raw: raw[:-1], "model.safetensors: holds"),
        (lambda raw: raw + b"x", "model.safetensors: holds"),
        (lambda raw: raw[:5], "model.safetensors: is not a safetensors file, or is cut short in its header"),
        (lambda raw: struct.pack("<Q", 1 << 60) + raw[8:], "model.safetensors: is not a safetensors file"),
        (lambda raw: raw[:8] + b"x" + raw[9:], "model.safetensors: its safetensors header cannot be read"),
        (lambda raw: raw.replace(b"[16,256]", b"[16,128]", 1), "model.safetensors: model.layers.0"),
    ],
)
def test_a_damaged_safetensors_file_is_named(folder: Path, damage: Callable[[bytes], bytes], problem: str) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    assert problems(folder)[0].startswith(problem)


def test_bfloat16_is_read_without_torch(tmp_path: Path) -> None:
    """bfloat16 is the upper half of a float32: 1.0 is 3f80, -2.5 is c020."""
    header = json.dumps({"x": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes.fromhex("803f20c0"))
    assert tensors.header(tmp_path / "x.safetensors")["x"].shape == (1, 2)
    assert tensors.values(tmp_path / "x.safetensors", "x").tolist() == [[1.0, -2.5]]


def test_outliers_are_a_warning(folder: Path, edit_tensors: Edit) -> None:
    edit_tensors(lambda held: held[f"{Q}.scales"].__setitem__((0, 0), 60000.0))
    assert "outliers cost precision" in artifact.check(folder).warnings[0]
