"""The synthetic source: a whole model folder of the shape asked for, the same each time, and marked for what it is."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from hearth_quantizer import source, steps, synthetic, tensors
from hearth_quantizer.artifact import INDEX, SOURCE_FILES, Model, read_json, read_tensors, sha256
from hearth_quantizer.log import Log
from hearth_quantizer.recipe import Architecture, SyntheticSource
from hearth_quantizer.refusal import Refusal

MODELS = Path(__file__).parents[3] / "models"
TOKENIZER = Path("tiny/model")


def wanted(**architecture: int | float | bool) -> SyntheticSource:
    size = Tokenizer.from_file(str(MODELS / TOKENIZER / "tokenizer.json")).get_vocab_size()
    shape = {"layers": 2, "vocab_size": -(-size // 128) * 128 + 128, **architecture}
    return SyntheticSource(kind="synthetic", architecture=Architecture.model_validate(shape), tokenizer=TOKENIZER)


def build(out: Path, made: SyntheticSource) -> Path:
    out.mkdir()
    synthetic.build(made, MODELS, out, lambda done: None)
    return out


def test_it_is_a_model_folder_of_the_shape_asked_for(tmp_path: Path) -> None:
    folder = build(tmp_path / "model", wanted(rope_theta=5e6, rms_norm_eps=1e-5))
    config = read_json(folder / "config.json")
    assert (config["model_type"], config["torch_dtype"]) == ("qwen3", "bfloat16")
    assert (config["rope_theta"], config["rms_norm_eps"], config["tie_word_embeddings"]) == (5e6, 1e-5, True)
    ids = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert config["eos_token_id"] == ids.token_to_id("<|im_end|>")
    assert config["pad_token_id"] == ids.token_to_id("<|endoftext|>")
    model = Model.from_config(config)
    found = read_tensors(folder)
    shapes = model.plain() | {f"{name}.weight": (out, inputs) for name, (inputs, out) in model.linears().items()}
    assert {name: tensor.shape for name, tensor in found.items()} == shapes
    assert {tensor.dtype for tensor in found.values()} == {"BF16"}
    for name in SOURCE_FILES:
        assert (folder / name).exists() == (MODELS / TOKENIZER / name).exists(), name


def test_untied_embeddings_have_a_head(tmp_path: Path) -> None:
    folder = build(tmp_path / "model", wanted(tie_word_embeddings=False))
    assert "lm_head.weight" in read_tensors(folder)


def test_values_are_those_of_a_fresh_model_with_a_few_loud_channels(tmp_path: Path) -> None:
    folder = build(tmp_path / "model", wanted(hidden_size=512))
    file = folder / "model.safetensors"
    assert (tensors.values(file, "model.layers.1.post_attention_layernorm.weight") == 1).all()
    gate = tensors.values(file, "model.layers.0.mlp.gate_proj.weight")
    assert abs(gate.mean()) < 1e-3
    assert gate.std() == pytest.approx(0.02, rel=0.02)
    loud = tensors.values(file, "model.embed_tokens.weight").std(axis=0) > 0.08
    assert loud.sum() == 2  # of 512
    for name in ("mlp.down_proj", "self_attn.o_proj"):  # the same channels of the residual stream
        assert ((tensors.values(file, f"model.layers.0.{name}.weight").std(axis=1) > 0.08) == loud).all()


def test_it_is_the_same_each_time_and_another_with_another_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sha256(build(tmp_path / "one", wanted()) / "model.safetensors")
    assert sha256(build(tmp_path / "two", wanted()) / "model.safetensors") == one
    other = wanted().model_copy(update={"seed": 1})
    assert sha256(build(tmp_path / "three", other) / "model.safetensors") != one


def test_large_models_come_in_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "_SHARD_BYTES", 1 << 20)
    told: list[int] = []
    (tmp_path / "model").mkdir()
    synthetic.build(wanted(), MODELS, tmp_path / "model", told.append)
    found = read_tensors(tmp_path / "model")
    index = json.loads((tmp_path / "model" / INDEX).read_text("utf-8"))
    assert index["weight_map"] == {name: tensor.file for name, tensor in found.items()}
    assert len(set(index["weight_map"].values())) == len(told) > 2
    assert index["metadata"]["total_size"] == sum(tensor.bytes for tensor in found.values())
    assert told[-1] == synthetic.mebibytes(wanted())


def test_bfloat16_rounds_to_nearest_ties_to_even() -> None:
    values = np.array([1.0, 1.0 + 2**-8, 1.0 + 3 * 2**-8, 1.0 + 2**-8 + 2**-20, -0.02], np.float32)
    back = (synthetic.bfloat16(values).astype(np.uint32) << 16).view(np.float32)
    assert back.tolist() == [1.0, 1.0, 1.0 + 2**-6, 1.0 + 2**-7, pytest.approx(-0.02, rel=2**-8)]


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"vocab_size \(384\) must be at least that"):
        build(tmp_path / "one", wanted(vocab_size=384))
    absent = wanted().model_copy(update={"tokenizer": Path("calibration")})
    with pytest.raises(
        Refusal, match=r"source\.tokenizer: .*calibration has no tokenizer\.json and no tokenizer_config"
    ):
        build(tmp_path / "two", absent)


def test_its_record_says_what_it_is_good_for(tmp_path: Path) -> None:
    folder = build(tmp_path / "model", wanted())
    assert source.record(wanted(), folder).warning == synthetic.WARNING
    assert "for speed and memory only" in synthetic.WARNING


def test_another_tokenizer_makes_another_model(tmp_path: Path) -> None:
    shutil.copytree(MODELS / TOKENIZER, tmp_path / TOKENIZER)
    with steps.workshop(tmp_path / "work", Log()) as shop:
        first = source.fetch(wanted(), tmp_path, shop)
        assert source.fetch(wanted(), tmp_path, shop) == first
        (tmp_path / TOKENIZER / "chat_template.jinja").write_text("{{ messages }}", "utf-8")
        assert source.fetch(wanted(), tmp_path, shop) != first
