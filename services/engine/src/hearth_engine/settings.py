"""What a user can set on the engine, by environment variable. The docstrings are the manual."""

import re
import shlex
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "HEARTH_"

# vLLM's flags that would break what the stack promises, and what to do instead.
REFUSED_FLAGS = {
    "--api-server-count": "set HEARTH_API_SERVERS",
    "-asc": "set HEARTH_API_SERVERS",
    "--api-key": "the engine is reachable by the gateway only; keys are the gateway's (HEARTH_API_KEYS_FILE)",
    "--config": "a file of flags would bypass this check; give the flags themselves",
    "--enable-log-outputs": "answers are not logged",
    "--enable-log-requests": "prompts are not logged",
    "--gpu-memory-utilization": "set HEARTH_VRAM_BUDGET_GIB",
    "--device-memory-utilization": "set HEARTH_VRAM_BUDGET_GIB",
    "--host": "set HEARTH_ENGINE_HOST",
    "--kv-cache-dtype": "set HEARTH_KV_CACHE_DTYPE",
    "--kv-cache-memory-bytes": "set HEARTH_VRAM_BUDGET_GIB",
    "--max-model-len": "set HEARTH_CONTEXT_LENGTH",
    "--max-num-batched-tokens": "set HEARTH_MAX_NUM_BATCHED_TOKENS",
    "--max-num-seqs": "set HEARTH_MAX_NUM_SEQS",
    "--model": "set HEARTH_MODEL_DIR: only a verified artifact is served",
    "--model-loader-extra-config": "tracking of loaded weights stays on",
    "--port": "set HEARTH_ENGINE_PORT",
    "--quantization": "vLLM reads the method from the artifact; naming it can disable the fast INT4 kernels",
    "-q": "vLLM reads the method from the artifact; naming it can disable the fast INT4 kernels",
    "--served-model-name": "the recipe's served_name and aliases are served",
    "--spec-method": "set HEARTH_SPECULATION",
    "--spec-model": "set HEARTH_SPECULATION",
    "--spec-tokens": "set HEARTH_SPECULATION",
    "--speculative-config": "set HEARTH_SPECULATION",
    "-sc": "set HEARTH_SPECULATION",
    "--tokenizer": "the tokenizer is the verified artifact's",
    "--trust-remote-code": "code from a model repository is never run",
    "--trust-request-chat-template": "a chat template from a request is never run",
    "--uds": "the gateway and the health check reach the engine by port",
}


class SettingsError(ValueError):
    """One line a problem: the setting's name, what was given, and what is allowed."""


def _checked(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"is not a list of shell words ({error})") from None
    if words and not words[0].startswith("-"):
        raise ValueError(f"must begin with a flag, not {words[0]!r}")
    for word in words:
        # vLLM takes --flag.key for one key of a flag that wants JSON.
        flag = re.split("[=.]", word)[0].replace("_", "-")
        # argparse takes any unambiguous beginning of a flag for the whole of it.
        hits = [name for name in REFUSED_FLAGS if flag.strip("-") and name.startswith(flag)]
        if hits and flag.startswith("-"):
            raise ValueError(f"{hits[0]} is refused: {REFUSED_FLAGS[hits[0]]}")
    return text


class Settings(BaseSettings):
    """The engine's settings, read once at start."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, use_attribute_docstrings=True, extra="ignore", frozen=True
    )

    model_dir: Path = Path("/opt/hearth/model")
    """Folder of the artifact: weights, tokenizer and hearth.json. It is verified before each start."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What to run on. `auto` takes the first NVIDIA GPU that is visible, else the CPU. The images set it, because each
    holds a vLLM for one of the two."""

    engine_host: str = "0.0.0.0"  # noqa: S104 (a container's own network; nothing is published)
    """Address the engine listens on, inside its container."""

    engine_port: int = Field(default=8000, ge=1, le=65535)
    """Port the engine listens on, inside its container."""

    context_length: int | None = Field(default=None, ge=256)
    """Longest prompt plus answer, in tokens. A length that does not fit the memory is an error that names the longest
    that does. Default: the recipe's; on a GPU where that does not fit, the longest that does, at least 8192."""

    vram_budget_gib: float | None = Field(default=None, gt=0)
    """GPU memory for the engine in GiB: weights, KV cache and everything else; what weights and overhead leave of it
    becomes KV cache. Default: 6, or what the card has less 1 GiB where that is smaller; a little more than 6 where the
    recipe's context fits in no KV type of the card."""

    kv_cache_dtype: Literal["auto", "bfloat16", "int8_per_token_head", "fp8", "int4_per_token_head"] = "auto"
    """How keys and values are stored on a GPU. `auto` keeps 16 bit where the context fits that way, and otherwise takes
    the best 8-bit type of the GPU. `int4_per_token_head` holds twice the context of 8 bit and reads long prompts much
    more slowly. On the CPU they are as the model is computed."""

    max_num_seqs: int | None = Field(default=None, ge=1, le=1024)
    """Requests computed at the same time; more wait. Default: 64 on a GPU, 16 on the CPU."""

    max_num_batched_tokens: int | None = Field(default=None, ge=256, le=65536)
    """Prompt tokens computed in one step. More shortens long prompts, lengthens the pauses of other answers meanwhile,
    and takes memory. Default: 2048 on a GPU of compute capability 9, 1024 elsewhere."""

    api_servers: int | None = Field(default=None, ge=1, le=16)
    """Processes that take requests and write answers. One is busy with some 7500 tokens/s, which 64 requests at a time
    can pass on a fast GPU (docs/benchmarks.md). Default: 2 on a GPU, 1 on the CPU."""

    speculation: Literal["off", "ngram"] = "off"
    """`ngram`: where the last tokens of an answer stand in its conversation already, the tokens that follow there are
    checked in one step in place of one step each. The answers stay as likely as they were. For few requests at a time
    whose answers copy much of their prompts, as edits of a file do (docs/benchmarks.md, "Speculation"); requests with
    min_p or logit_bias are refused."""

    cpu_threads: int | None = Field(default=None, ge=1)
    """Threads that compute on the CPU. Default: one for each core that the container may use."""

    hang_seconds: float = Field(default=20, ge=0)
    """After how long without a token or a step vLLM counts as hung and is started anew; 0: never. On the CPU a process
    that computes is not hung, however long its step takes."""

    cache_dir: Path = Path("/tmp/hearth-cache")  # noqa: S108 (a container's own tmpfs)
    """Writable folder for what vLLM compiles at start. Kept on a volume, the next start is faster."""

    baked_cache_dir: Path = Path("/opt/hearth/cache")
    """Folder in the image with such a cache made at build time; it seeds HEARTH_CACHE_DIR. It may be absent."""

    engine_args: Annotated[str, AfterValidator(_checked)] = ""
    """More flags for vLLM, as in a shell; a later flag wins over the plan's. Flags that other settings own, or that
    would break a promise of the stack (--quantization, --trust-remote-code, …), are refused by name."""

    @property
    def extra_flags(self) -> list[str]:
        return shlex.split(self.engine_args)


def manual() -> list[tuple[str, str, str]]:
    """(variable, default, what it does) of every setting, in order."""
    return [
        (
            f"{PREFIX}{name}".upper(),
            "" if field.default is None else str(field.default),
            " ".join((field.description or "").split()),
        )
        for name, field in Settings.model_fields.items()
    ]


def load() -> Settings:
    """Read the environment. Raises SettingsError naming every bad setting and what is allowed."""
    try:
        return Settings()
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_url=False):
            name = f"{PREFIX}{problem['loc'][0]}".upper()
            text = problem["msg"].removeprefix("Value error, ")
            problems.append(f"{name}: {text} (it is {problem['input']!r})")
        raise SettingsError("\n".join(problems)) from None
