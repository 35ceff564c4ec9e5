"""The recipe: one YAML file that says which model is quantized, how, on what text, and how it is served by default."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hearth_quantizer.refusal import Refusal

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
ServedName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]


ENOUGH_SAMPLES = 128


class RecipeError(Refusal, ValueError):
    """The recipe cannot be used. One problem a line, each as `file:line: key: what is wrong; what is allowed`."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HubSource(_Part):
    """A model on the Hugging Face hub, at one commit."""

    kind: Literal["hub"]
    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="owner/name")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$", description="a full commit: a branch or tag can move")


class FolderSource(_Part):
    """A model folder on this machine (config.json, *.safetensors, tokenizer files)."""

    kind: Literal["folder"]
    path: Path


class Architecture(_Part):
    """Dimensions of a Qwen3 model.

    Multiples of 128 wherever GPTQ's groups or an INT4 kernel's tiles run along them, so that a model of a few million
    parameters takes the same path through both as one of billions.
    """

    hidden_size: int = Field(default=256, gt=0, multiple_of=128)
    intermediate_size: int = Field(default=768, gt=0, multiple_of=128)
    layers: int = Field(default=4, gt=0)
    heads: int = Field(default=2, gt=0)
    kv_heads: int = Field(default=1, gt=0)
    head_dim: int = Field(default=128, gt=0, multiple_of=128)
    vocab_size: int = Field(default=2048, ge=384, multiple_of=128)
    max_position_embeddings: int = Field(default=4096, ge=512)
    tie_word_embeddings: bool = True
    rope_theta: float = Field(default=1e6, gt=0)
    rms_norm_eps: float = Field(default=1e-6, gt=0)

    @model_validator(mode="after")
    def _heads_share(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        return self


class SyntheticSource(_Part):
    """A Qwen3 model of a given shape with seeded random weights: for speed and memory only. Needs no hub."""

    kind: Literal["synthetic"]
    seed: int = Field(default=0, ge=0)
    architecture: Architecture = Architecture()
    tokenizer: Path = Field(description="a folder whose tokenizer files are copied; its vocabulary may be smaller")


Source = Annotated[HubSource | FolderSource | SyntheticSource, Field(discriminator="kind")]


class GptqmodelOptions(_Part):
    """What GPTQModel alone knows of; its own defaults unless said otherwise."""

    damp_percent: float = Field(default=0.05, gt=0, lt=1)
    mse: float = Field(default=0.0, ge=0, le=8, description="exponent of the scale search's error norm; 0 turns it off")
    act_group_aware: bool = True
    gptaq_alpha: float = Field(
        default=0.0, ge=0, le=1, description="GPTAQ's correction for the error of earlier layers; 0 turns it off"
    )
    batch_size: int = Field(default=1, ge=1)


class AutoGptqOptions(_Part):
    """What AutoGPTQ alone knows of; its own defaults unless said otherwise."""

    damp_percent: float = Field(default=0.01, gt=0, lt=1)
    true_sequential: bool = Field(default=True, description="each linear sees the quantized ones before it")


class _Gptq(_Part):
    """Restricted to what vLLM's INT4 kernels load: symmetric 4 bit codes in groups, in their natural order."""

    bits: Literal[4] = 4
    group_size: Literal[32, 64, 128] = 128
    desc_act: Literal[False] = False
    sym: Literal[True] = True


class GptqmodelQuantization(_Gptq):
    backend: Literal["gptqmodel"] = "gptqmodel"
    options: GptqmodelOptions = GptqmodelOptions()


class AutoGptqQuantization(_Gptq):
    backend: Literal["auto-gptq"]
    options: AutoGptqOptions = AutoGptqOptions()


Quantization = Annotated[GptqmodelQuantization | AutoGptqQuantization, Field(discriminator="backend")]


class Calibration(_Part):
    """Text that GPTQ measures activations on: JSONL or Parquet rows of `messages` (and `tools`), or of plain `text`."""

    files: tuple[Path, ...] = Field(min_length=1, description="relative to the recipe's folder")
    samples: int = Field(default=512, ge=1, description="rows used")
    tokens: int = Field(default=512, ge=128, description="a row is cut to this length")
    min_tokens: int = Field(default=0, ge=0, description="a shorter row is an error; 0 means half of tokens")
    allow_poor: bool = Field(default=False, description="for experiments: few and short rows are no error")

    @model_validator(mode="after")
    def _samples_suffice(self) -> Self:
        if self.samples < ENOUGH_SAMPLES and not self.allow_poor:
            raise ValueError(
                f"samples ({self.samples}) must be at least {ENOUGH_SAMPLES}: with fewer, GPTQ is hardly better than "
                "rounding; --allow-poor-calibration overrides this"
            )
        return self

    @model_validator(mode="after")
    def _min_is_below_max(self) -> Self:
        if self.min_tokens > self.tokens:
            raise ValueError(f"min_tokens ({self.min_tokens}) must be at most tokens ({self.tokens})")
        return self

    @property
    def shortest(self) -> int:
        return self.min_tokens or self.tokens // 2


class Limits(_Part):
    """What the INT4 artifact may lose against its 16 bit source. Shares are fractions of 1, KL divergences nats."""

    kl_ratio: float = Field(default=0.6, gt=0, description="mean KL divergence over that of rounding to nearest")
    kl_mean: float = Field(default=0.05, gt=0, description="mean KL divergence from the source, a token")
    perplexity_increase: float = Field(default=0.03, gt=0, description="relative to the source's perplexity")
    top1: float = Field(default=0.90, ge=0, le=1, description="share of tokens where both prefer the same next one")
    tool_match_drop: float = Field(default=0.03, ge=0, le=1, description="tool prompts answered right: source - INT4")
    tool_match: float = Field(default=0.0, ge=0, le=1, description="tool prompts that INT4 must answer right")


class Evaluation(_Part):
    """Held-out data that calibration never saw, and the limits that the artifact is held to on it."""

    text: tuple[Path, ...] = Field(default=(), description="rows like calibration's; relative to the recipe's folder")
    tools: tuple[Path, ...] = Field(default=(), description="tool prompts with the calls expected of them (JSONL)")
    tokens: int = Field(default=512, ge=16, description="a text row is cut to this length")
    answer_tokens: int = Field(default=256, ge=16, description="an answer to a tool prompt is cut to this length")
    limits: Limits = Limits()


class Serving(_Part):
    """Defaults of the engine that serves the artifact."""

    context_length: int = Field(ge=512, description="tokens, prompt and answer together")
    tool_parser: str | None = Field(default=None, pattern=r"^[a-z0-9_]+$", description="vLLM's --tool-call-parser")
    served_name: ServedName
    aliases: tuple[ServedName, ...] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [self.served_name, *self.aliases]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"served_name and aliases must differ: {', '.join(twice)} is given twice")
        return self


class Recipe(_Part):
    """The whole recipe; unknown keys are refused."""

    name: Name
    source: Source
    quantization: Quantization = GptqmodelQuantization()
    calibration: Calibration
    evaluation: Evaluation = Evaluation()
    serving: Serving

    @field_validator("quantization", mode="before")
    @classmethod
    def _default_backend(cls, quantization: Any) -> Any:
        return {"backend": "gptqmodel", **quantization} if isinstance(quantization, dict) else quantization

    @model_validator(mode="after")
    def _is_evaluated(self) -> Self:
        given = bool(self.evaluation.text), bool(self.evaluation.tools)
        if not all(given) and (any(given) or not isinstance(self.source, SyntheticSource)):
            raise ValueError("evaluation.text and evaluation.tools are required: the artifact is measured on them")
        return self

    @model_validator(mode="after")
    def _context_fits(self) -> Self:
        if isinstance(self.source, SyntheticSource):
            longest = self.source.architecture.max_position_embeddings
            if self.serving.context_length > longest:
                raise ValueError(
                    f"serving.context_length ({self.serving.context_length}) must be at most "
                    f"source.architecture.max_position_embeddings ({longest})"
                )
        return self

    def made_by(self, backend: str | None) -> Self:
        """This recipe with another back end and that one's default options; None keeps the recipe's own."""
        if backend in (None, self.quantization.backend):
            return self
        common = self.quantization.model_dump(exclude={"options"})
        return self.model_validate({**self.model_dump(), "quantization": common | {"backend": backend}})


_UNIONS = {"source": (Source, "kind"), "quantization": (Quantization, "backend")}


def load(path: Path, *, allow_poor_calibration: bool = False) -> Recipe:
    """Read a recipe; the flag sets its calibration.allow_poor.

    Raises RecipeError that names every problem by file, line and key.
    """
    try:
        loader = yaml.SafeLoader(path.read_text("utf-8"))
        root = loader.get_single_node()
        data = loader.construct_document(root) if root else None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RecipeError(f"{path}:{line}: is not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: is not YAML: {error}") from None
    if not isinstance(root, yaml.MappingNode):
        raise RecipeError(f"{path}:1: must be a mapping; allowed: {_keys(Recipe)}")
    problems = [f"{path}:{line}: {key}: given twice" for line, key in _duplicates(root)]
    if allow_poor_calibration and data and isinstance(data.get("calibration"), dict):
        data["calibration"]["allow_poor"] = True
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        problems += [f"{path}:{_describe(root, problem)}" for problem in error.errors(include_url=False)]
    else:
        if recipe.name != path.stem:
            problems.append(f"{path}:{_locate(root, ('name',))[0]}: name: must be the file's name: {path.stem}")
    if problems:
        raise RecipeError("\n".join(problems))
    return recipe


def _describe(root: yaml.Node, problem: Mapping[str, Any]) -> str:
    """One pydantic error as `line: key: what is wrong; what is allowed`."""
    kind, ctx = problem["type"], problem.get("ctx", {})
    line, key = _locate(root, problem["loc"])
    match kind:
        case "extra_forbidden":
            text = f"unknown key; allowed: {_keys(_model_at(problem['loc'][:-1]))}"
        case "missing":
            text = "is required"
        case "union_tag_not_found":
            text = f"kind is required; allowed: {', '.join(_tags())}"
        case "union_tag_invalid":
            text = f"unknown {ctx['discriminator'].strip(chr(39))} {ctx['tag']!r}; allowed: {ctx['expected_tags']}"
        case "literal_error":
            text = f"{problem['input']!r} is not supported; allowed: {ctx['expected']}"
        case "value_error":
            text = str(ctx["error"])
        case _:
            got = "" if isinstance(problem["input"], dict) else f", not {problem['input']!r}"
            text = problem["msg"].removeprefix("Input ").removeprefix("String ") + got
    return f"{line}: {key}: {text}" if key else f"{line}: {text}"


def _locate(root: yaml.Node, loc: tuple[int | str, ...]) -> tuple[int, str]:
    """Line and dotted key of a pydantic location; the line of the nearest mapping where the key itself is absent."""
    node, line, keys = root, 1, list[str]()
    for position, step in enumerate(loc):
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line + 1
        elif isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(step)), None)
            if found:
                line, node = found[0].start_mark.line + 1, found[1]
            elif position < len(loc) - 1 or (loc[0] in _UNIONS and position == 1 and step in _tags()):
                continue  # a union's tag: pydantic puts it in the path, the file does not
        keys.append(str(step))
    return line, ".".join(keys)


def _model_at(loc: tuple[int | str, ...]) -> type[BaseModel]:
    """The model class that a pydantic location lies in."""
    model: type[BaseModel] = Recipe
    for step in loc:
        if model is Recipe and step in _UNIONS:
            continue
        if step in _tags():
            model = _tags()[str(step)]
        else:
            annotation = model.model_fields[str(step)].annotation
            assert isinstance(annotation, type)
            assert issubclass(annotation, BaseModel)
            model = annotation
    return model


def _tags() -> dict[str, type[BaseModel]]:
    """The members of the unions by what tells them apart."""
    return {
        get_args(member.model_fields[key].annotation)[0]: member
        for union, key in _UNIONS.values()
        for member in get_args(get_args(union)[0])
    }


def _keys(model: type[BaseModel]) -> str:
    return ", ".join(model.model_fields)


def _duplicates(node: yaml.Node, path: str = "") -> Iterator[tuple[int, str]]:
    """YAML lets the last of two equal keys win silently."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = f"{path}{key.value}"
            if key.value in seen:
                yield key.start_mark.line + 1, name
            seen.add(key.value)
            yield from _duplicates(value, f"{name}.")
