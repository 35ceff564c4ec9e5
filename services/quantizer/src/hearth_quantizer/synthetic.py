"""The synthetic source: random weights of any Qwen3 shape, to measure speed and memory where the model is not at hand.

Shards are written one after the other and values drawn in blocks, so that a model of billions needs few GiB of memory.
"""

import json
import math
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors import TensorSpec

from hearth_quantizer.artifact import INDEX, SOURCE_FILES, Model, read_json
from hearth_quantizer.log import Advance
from hearth_quantizer.recipe import SyntheticSource
from hearth_quantizer.refusal import Refusal

WARNING = "synthetic weights: for speed and memory only, what the model says means nothing"
_STD = 0.02
# Trained models have a few channels of the residual stream far above the rest: they are what makes rounding lossy.
_OUTLIERS_PER_CHANNEL = 1 / 256
_OUTLIER = 8
_WRITES_RESIDUAL = ("self_attn.o_proj.weight", "mlp.down_proj.weight")
_SHARD_BYTES = 1 << 29
_BLOCK_VALUES = 1 << 22


def build(source: SyntheticSource, root: Path, out: Path, advance: Advance) -> None:
    """Write a bf16 model folder to `out`; `advance` gets the MiB written. Paths in `source` are relative to `root`.

    Raises Refusal where the tokenizer cannot be used.
    """
    special = _tokenizer(source, root / source.tokenizer, out)
    config = _config(source, special)
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    shapes = _shapes(Model.from_config(config))
    outliers = _outliers(source)
    shards = _shards(shapes)
    weight_map: dict[str, str] = {}
    written = 0
    for number, names in enumerate(shards, 1):
        file = "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        held = {name: _values(source, name, shapes[name], outliers) for name in names}
        specs = {  # by address: the library knows no bfloat16 arrays
            name: TensorSpec(dtype="bfloat16", shape=values.shape, data_ptr=values.ctypes.data, data_len=values.nbytes)
            for name, values in held.items()
        }
        safetensors.serialize_file(specs, out / file, {"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
        written += sum(_bytes(shapes[name]) for name in names)
        advance(written >> 20)
    if len(shards) > 1:
        index = {"metadata": {"total_size": written}, "weight_map": weight_map}
        (out / INDEX).write_text(json.dumps(index, indent=2) + "\n", "utf-8")


def mebibytes(source: SyntheticSource) -> int:
    """What `build` writes."""
    return sum(_bytes(shape) for shape in _shapes(Model.from_config(_config(source, {}))).values()) >> 20


def _tokenizer(source: SyntheticSource, folder: Path, out: Path) -> dict[str, int | None]:
    """Copy the tokenizer's files; the ids that config.json names."""
    from tokenizers import Tokenizer

    missing = [name for name in ("tokenizer.json", "tokenizer_config.json") if not (folder / name).is_file()]
    if missing:
        raise Refusal(f"source.tokenizer: {folder} has no {' and no '.join(missing)}")
    ids: dict[str, int] = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    if (needed := max(ids.values()) + 1) > source.architecture.vocab_size:
        raise Refusal(
            f"source.tokenizer: {folder} has {needed} tokens; "
            f"source.architecture.vocab_size ({source.architecture.vocab_size}) must be at least that"
        )
    for name in SOURCE_FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    settings = read_json(folder / "tokenizer_config.json")
    tokens = {key: settings.get(f"{key}_token") for key in ("bos", "eos", "pad")}  # a string, or an added token
    names = {key: token["content"] if isinstance(token, dict) else token for key, token in tokens.items()}
    return {f"{key}_token_id": ids.get(name) if name else None for key, name in names.items()}


def _config(source: SyntheticSource, special: Mapping[str, int | None]) -> dict[str, Any]:
    """config.json with the keys that Qwen3's own has."""
    dims = source.architecture
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        **special,
        "head_dim": dims.head_dim,
        "hidden_act": "silu",
        "hidden_size": dims.hidden_size,
        "initializer_range": _STD,
        "intermediate_size": dims.intermediate_size,
        "max_position_embeddings": dims.max_position_embeddings,
        "max_window_layers": dims.layers,
        "model_type": "qwen3",
        "num_attention_heads": dims.heads,
        "num_hidden_layers": dims.layers,
        "num_key_value_heads": dims.kv_heads,
        "rms_norm_eps": dims.rms_norm_eps,
        "rope_scaling": None,
        "rope_theta": dims.rope_theta,
        "sliding_window": None,
        "tie_word_embeddings": dims.tie_word_embeddings,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": dims.vocab_size,
    }


def _shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """Every tensor of the unquantized checkpoint."""
    linears = {f"{name}.weight": (outputs, inputs) for name, (inputs, outputs) in model.linears().items()}
    return model.plain() | linears


def _bytes(shape: tuple[int, ...]) -> int:
    return math.prod(shape) * 2


def _shards(shapes: Mapping[str, tuple[int, ...]]) -> list[list[str]]:
    """Names in the order given, in shards of at most `_SHARD_BYTES` unless one tensor alone is larger."""
    shards: list[list[str]] = []
    held = 0
    for name, shape in shapes.items():
        if not shards or held + _bytes(shape) > _SHARD_BYTES:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += _bytes(shape)
    return shards


def _outliers(source: SyntheticSource) -> NDArray[np.int64]:
    """Channels of the residual stream that are larger than the others."""
    hidden = source.architecture.hidden_size
    count = max(1, round(hidden * _OUTLIERS_PER_CHANNEL))
    return np.random.default_rng(source.seed).choice(hidden, count, replace=False)


def _values(
    source: SyntheticSource, name: str, shape: tuple[int, ...], outliers: NDArray[np.int64]
) -> NDArray[np.uint16]:
    """The bits of one tensor's values: the same for the same seed and name, however many threads draw them."""
    if len(shape) == 1:
        return bfloat16(np.ones(shape, np.float32))
    rows, columns = shape
    found = np.empty(shape, np.uint16)
    step = max(1, _BLOCK_VALUES // columns)
    scale = np.full((rows, 1), _STD, np.float32)
    if name.endswith(_WRITES_RESIDUAL):
        scale[outliers] *= _OUTLIER

    def draw(start: int) -> None:
        random = np.random.Generator(np.random.SFC64([source.seed, start, *name.encode()]))
        block = random.standard_normal((min(step, rows - start), columns), np.float32)
        block *= scale[start : start + step]
        if name == "model.embed_tokens.weight":
            block[:, outliers] *= _OUTLIER
        found[start : start + step] = bfloat16(block)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy lets go of the interpreter lock
        list(pool.map(draw, range(0, rows, step)))
    return found


def bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bits of finite values, rounded to nearest, ties to even: numpy has no such type."""
    bits = values.view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
