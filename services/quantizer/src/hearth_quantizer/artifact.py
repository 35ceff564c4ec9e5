"""The check of a quantized artifact before it is served: what must be in the folder, and that it is.

vLLM loads a checkpoint that lacks a tensor, ignores `qzeros` and `g_idx`, and answers with noise. So the whole tensor
set is derived from config.json here and compared, and what vLLM assumes about the codes is verified.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from hearth_quantizer import tensors
from hearth_quantizer.refusal import Refusal
from hearth_quantizer.tensors import Tensor, TensorFileError

INDEX = "model.safetensors.index.json"
CHAT_TEMPLATE = "chat_template.jinja"
# What turns text into tokens and back must reach the engine byte for byte as the source has it.
SOURCE_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    CHAT_TEMPLATE,
    "generation_config.json",
)
_REQUIRED = ("config.json", "quantize_config.json", "tokenizer.json", "tokenizer_config.json")
_ZERO_POINTS = 0x77777777  # eight symmetric zero points of 8, stored one less as AutoGPTQ's format has it
_WIDE_SCALES = 4096.0


class ArtifactError(Refusal, ValueError):
    """An artifact that must not be served; `problems` holds one line for each file or tensor."""

    def __init__(self, folder: Path, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(f"{folder}: {problem}" for problem in self.problems))


class ConfigError(Refusal, ValueError):
    """A model's JSON file that is missing, unreadable, or describes a model that is not known here."""


class Model(BaseModel):
    """The dimensions of a model, as its config.json states them."""

    model_config = ConfigDict(frozen=True)

    architecture: Literal["Qwen3ForCausalLM"]
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    tied_embeddings: bool

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of one token's keys and values in all layers at 16 bit."""
        return self.layers * self.kv_heads * self.head_dim * 2 * 2

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Model":
        """Raises ConfigError that names the missing key or the unknown architecture."""
        architecture = (config.get("architectures") or [None])[0]
        if architecture != "Qwen3ForCausalLM":
            raise ConfigError(f"config.json: architecture {architecture!r} is not known; known: Qwen3ForCausalLM")
        try:
            return cls(
                architecture=architecture,
                layers=config["num_hidden_layers"],
                hidden_size=config["hidden_size"],
                intermediate_size=config["intermediate_size"],
                heads=config["num_attention_heads"],
                kv_heads=config["num_key_value_heads"],
                head_dim=config["head_dim"],
                vocab_size=config["vocab_size"],
                max_position_embeddings=config["max_position_embeddings"],
                tied_embeddings=config["tie_word_embeddings"],
            )
        except KeyError as error:
            raise ConfigError(f"config.json: {error.args[0]} is missing") from None

    def linears(self) -> dict[str, tuple[int, int]]:
        """Every linear of every layer, by name: (inputs, outputs)."""
        hidden, q, kv = self.hidden_size, self.heads * self.head_dim, self.kv_heads * self.head_dim
        sizes = {
            "self_attn.q_proj": (hidden, q),
            "self_attn.k_proj": (hidden, kv),
            "self_attn.v_proj": (hidden, kv),
            "self_attn.o_proj": (q, hidden),
            "mlp.gate_proj": (hidden, self.intermediate_size),
            "mlp.up_proj": (hidden, self.intermediate_size),
            "mlp.down_proj": (self.intermediate_size, hidden),
        }
        return {f"model.layers.{layer}.{name}": size for layer in range(self.layers) for name, size in sizes.items()}

    def plain(self) -> dict[str, tuple[int, ...]]:
        """Every tensor that stays at 16 bit: embeddings, norms, and the head where it is not tied."""
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocab_size, self.hidden_size),
            "model.norm.weight": (self.hidden_size,),
        }
        if not self.tied_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, self.hidden_size)
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}"
            shapes[f"{prefix}.input_layernorm.weight"] = (self.hidden_size,)
            shapes[f"{prefix}.post_attention_layernorm.weight"] = (self.hidden_size,)
            shapes[f"{prefix}.self_attn.q_norm.weight"] = (self.head_dim,)
            shapes[f"{prefix}.self_attn.k_norm.weight"] = (self.head_dim,)
        return shapes


class Check(BaseModel):
    """What the check found in a good artifact."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quantized_linears: int
    tensors: int
    scale_min: float
    scale_max: float
    warnings: tuple[str, ...] = ()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Raises ConfigError naming the file where it is missing, unreadable or no JSON object."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path.name}: is missing") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path.name}: cannot be read as JSON: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path.name}: must be a JSON object")
    return data


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of every safetensors file in the folder. Raises ArtifactError for unreadable or twice held ones."""
    found: dict[str, Tensor] = {}
    problems: list[str] = []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            entries = tensors.header(path)
        except TensorFileError as error:
            problems.append(str(error))
            continue
        problems += [f"{name}: is in {found[name].file} and in {path.name}" for name in entries.keys() & found.keys()]
        found |= entries
    if problems:
        raise ArtifactError(folder, problems)
    return found


def check(folder: Path, source: Mapping[str, str] | None = None) -> Check:
    """Check a quantized folder as a whole.

    `source` maps the quantized model's file names to their sha256; those of SOURCE_FILES must be unchanged here.
    Raises ArtifactError with every problem found, each naming its file or tensor.
    """
    problems = [f"{name}: is missing" for name in _REQUIRED if not (folder / name).is_file()]
    if problems:
        raise ArtifactError(folder, problems)
    try:
        config = read_json(folder / "config.json")
        model = Model.from_config(config)
        problems += _quantization(config, read_json(folder / "quantize_config.json"))
        problems += _chat_template(folder, read_json(folder / "tokenizer_config.json"))
    except ConfigError as error:
        raise ArtifactError(folder, [str(error)]) from None
    if problems:
        raise ArtifactError(folder, problems)  # shapes below follow from the group size
    found = read_tensors(folder)
    group = config["quantization_config"]["group_size"]
    problems = [*_index(folder, found), *_tensor_set(model, group, found), *_unchanged(folder, source or {})]
    if problems:
        raise ArtifactError(folder, problems)  # values are read only where names and shapes are right
    return _values(folder, model, group, found)


def _quantization(config: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """config.json's quantization is one that vLLM loads, and quantize_config.json says the same."""
    stated = config.get("quantization_config")
    if not isinstance(stated, dict):
        return ["config.json: quantization_config is missing: the model is not quantized"]
    loadable: dict[str, tuple[Any, ...]] = {
        "quant_method": ("gptq",),
        "bits": (4,),
        "group_size": (32, 64, 128),
        "desc_act": (False,),
        "sym": (True,),
        "lm_head": (False, None),
    }
    problems = [
        f"config.json: quantization_config.{key} is {stated.get(key)!r}; vLLM needs {' or '.join(map(repr, allowed))}"
        for key, allowed in loadable.items()
        if stated.get(key) not in allowed
    ]
    problems += [
        f"quantize_config.json: {key} is {own.get(key)!r}, config.json says {stated.get(key)!r}"
        for key in loadable
        if own.get(key) != stated.get(key)
    ]
    if stated.get("checkpoint_format", "gptq") != "gptq":
        problems.append(f"config.json: checkpoint_format is {stated['checkpoint_format']!r}; vLLM needs 'gptq'")
    if stated.get("dynamic"):
        problems.append("config.json: quantization_config.dynamic: layers with settings of their own are not supported")
    return problems


def _chat_template(folder: Path, tokenizer: Mapping[str, Any]) -> list[str]:
    if (folder / CHAT_TEMPLATE).is_file() or tokenizer.get("chat_template"):
        return []
    return [f"{CHAT_TEMPLATE}: is missing, and tokenizer_config.json holds no chat_template: the model cannot chat"]


def _index(folder: Path, found: Mapping[str, Tensor]) -> list[str]:
    """The index names exactly the tensors that the shards hold, each in its shard."""
    if not (folder / INDEX).is_file():
        files = sorted(path.name for path in folder.glob("*.safetensors"))
        return [] if files == ["model.safetensors"] else [f"{INDEX}: is missing, with weights in {files or 'no file'}"]
    weight_map = read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict):
        return [f"{INDEX}: weight_map is missing"]
    problems = [
        f"{INDEX}: names {shard}, which is missing"
        for shard in sorted(set(weight_map.values()))
        if not (folder / shard).is_file()
    ]
    problems += [
        f"{name}: the index places it in {shard}, which lacks it"
        for name, shard in weight_map.items()
        if (folder / shard).is_file() and (name not in found or found[name].file != shard)
    ]
    return problems + [f"{name}: is in {found[name].file} but not in the index" for name in found.keys() - weight_map]


def _tensor_set(model: Model, group: int, found: Mapping[str, Tensor]) -> list[str]:
    """Exactly the tensors that config.json implies, each with its dtype and shape."""
    half, packed = ("F16", "BF16"), ("I32",)
    expected: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
        name: (half, shape) for name, shape in model.plain().items()
    }
    order: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {}
    for name, (inputs, outputs) in model.linears().items():
        groups = inputs // group
        if inputs % group or outputs % 32:
            return [f"{name}: {inputs} inputs x {outputs} outputs do not divide into groups of {group} x 32"]
        expected[f"{name}.qweight"] = packed, (inputs // 8, outputs)
        expected[f"{name}.qzeros"] = packed, (groups, outputs // 8)
        expected[f"{name}.scales"] = half, (groups, outputs)
        order[f"{name}.g_idx"] = packed, (inputs,)  # redundant without desc_act: may be absent
    problems = [f"{name}: is missing" for name in expected.keys() - found.keys()]
    for name, tensor in found.items():
        wanted = expected.get(name) or order.get(name)
        if wanted is None:
            why = ": the embeddings are tied" if name.startswith("lm_head.") and model.tied_embeddings else ""
            problems.append(f"{name} ({tensor.file}): does not belong here{why}")
        elif tensor.dtype not in wanted[0] or tensor.shape != wanted[1]:
            problems.append(
                f"{name} ({tensor.file}): is {tensor.dtype}{list(tensor.shape)}, "
                f"must be {' or '.join(wanted[0])}{list(wanted[1])}"
            )
    return sorted(problems)


def _unchanged(folder: Path, source: Mapping[str, str]) -> list[str]:
    problems = []
    for name in SOURCE_FILES:
        if name in source and not (folder / name).is_file():
            problems.append(f"{name}: is missing; the source has it")
        elif name in source and sha256(folder / name) != source[name]:
            problems.append(f"{name}: differs from the source's")
        elif source and name not in source and (folder / name).is_file():
            problems.append(f"{name}: does not belong here: the source has none")
    return problems


def _values(folder: Path, model: Model, group: int, found: Mapping[str, Tensor]) -> Check:
    """Scales are finite and positive, zero points symmetric, groups in order."""
    problems: list[str] = []
    lows: list[float] = []
    highs: list[float] = []
    linears = model.linears()
    for name, (inputs, _) in linears.items():
        scales = tensors.values(folder / found[f"{name}.scales"].file, f"{name}.scales").astype(np.float32)
        bad = int(np.count_nonzero(~(np.isfinite(scales) & (scales > 0))))
        if bad:
            problems.append(f"{name}.scales: {bad} of {scales.size} values are not finite and above 0")
        else:
            lows.append(float(scales.min()))
            highs.append(float(scales.max()))
        zeros = tensors.values(folder / found[f"{name}.qzeros"].file, f"{name}.qzeros")
        if (zeros != _ZERO_POINTS).any():
            problems.append(f"{name}.qzeros: holds zero points other than 8; vLLM takes 8 for granted")
        if order := found.get(f"{name}.g_idx"):
            groups = tensors.values(folder / order.file, f"{name}.g_idx")
            if (groups != np.arange(inputs) // group).any():
                problems.append(f"{name}.g_idx: inputs are reordered; vLLM takes their natural order")
    if problems:
        raise ArtifactError(folder, problems)
    low, high = min(lows), max(highs)
    wide = [f"scales span {low:.2e} to {high:.2e}: outliers cost precision"] if high / low > _WIDE_SCALES else []
    return Check(
        quantized_linears=len(linears), tensors=len(found), scale_min=low, scale_max=high, warnings=tuple(wide)
    )
