"""A small artifact, as GPTQModel writes one: one layer, groups of 128, tied embeddings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from hearth_quantizer import quality
from hearth_quantizer.artifact import Model
from hearth_quantizer.quality import Measured, Metrics, Scores, ToolDifference, WorstText, WorstTool

Tensors = dict[str, NDArray[Any]]

CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "num_hidden_layers": 1,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 128,
    "vocab_size": 384,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
QUANTIZATION = {
    "quant_method": "gptq",
    "bits": 4,
    "group_size": 128,
    "desc_act": False,
    "sym": True,
    "lm_head": False,
    "checkpoint_format": "gptq",
}


def tensors() -> Tensors:
    random = np.random.default_rng(0)
    model = Model.from_config(CONFIG)
    found: Tensors = {name: np.ones(shape, np.float16) for name, shape in model.plain().items()}
    for name, (inputs, outputs) in model.linears().items():
        found[f"{name}.qweight"] = random.integers(0, 2**31, (inputs // 8, outputs), np.int32)
        found[f"{name}.qzeros"] = np.full((inputs // 128, outputs // 8), 0x77777777, np.int32)
        found[f"{name}.scales"] = random.uniform(0.001, 0.01, (inputs // 128, outputs)).astype(np.float16)
        found[f"{name}.g_idx"] = (np.arange(inputs) // 128).astype(np.int32)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good artifact without its manifest."""
    path = tmp_path / "artifact"
    path.mkdir()
    save_file(tensors(), path / "model.safetensors")
    write_json(path / "config.json", {**CONFIG, "quantization_config": QUANTIZATION})
    write_json(path / "quantize_config.json", QUANTIZATION)
    write_json(path / "tokenizer.json", {"version": "1.0"})
    write_json(path / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    (path / "chat_template.jinja").write_text("{{ messages }}", "utf-8")
    return path


@pytest.fixture
def edit_json(folder: Path) -> Callable[..., None]:
    def edit(name: str, **changes: Any) -> None:
        write_json(folder / name, {**json.loads((folder / name).read_text("utf-8")), **changes})

    return edit


@pytest.fixture
def edit_tensors(folder: Path) -> Callable[[Callable[[Tensors], Any]], None]:
    def edit(change: Callable[[Tensors], Any]) -> None:
        held = load_file(folder / "model.safetensors")
        change(held)
        save_file(held, folder / "model.safetensors")

    return edit


@pytest.fixture
def measured() -> Measured:
    """What an evaluation might find: no gate of the default limits is missed."""

    def scores(kl: float) -> Scores:
        return Scores(perplexity=10 + kl, kl_mean=kl, kl_p999=9 * kl, top1=1 - kl, tool_match=0.97)

    kl = np.random.default_rng(0).exponential(0.01, 1000)
    same = quality.paired_difference(np.array([True, False]), np.array([True, True]))
    return Measured(
        device="cpu",
        precision="float32",
        text_rows=10,
        text_tokens=1000,
        tool_prompts={"en": 1, "zh": 1},
        metrics=Metrics(fp=scores(0), int4=scores(0.004), rtn=scores(0.01)),
        tools={"en": {"fp": 1, "int4": 1, "rtn": 1}, "zh": {"fp": 1, "int4": 0, "rtn": 0}},
        tools_by_kind={"search": {"fp": 1, "int4": 0.5, "rtn": 0.5}},
        tool_difference=ToolDifference(all=same, by_language={"en": same, "zh": same}),
        layers=(0.001, 0.002),
        positions=(quality.Position(start=0, end=8, int4=0.95, rtn=0.9),),
        histogram=quality.histogram(kl, 2 * kl),
        worst_text=(
            WorstText(row=3, kl_row=0.1, kl_token=2.0, context="从前有一座山", actual="山", fp="里", int4="上"),
        ),
        worst_tools=(
            WorstTool(
                id="zh-1", lang="zh", kind="search", prompt="搜索“量子”", expected='{"name":"search"}',
                fp="<tool_call>…", int4="<script>alert(1)</script>", fp_right=True, int4_right=False,
            ),
        ),
    )  # fmt: skip


def write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data), "utf-8")
