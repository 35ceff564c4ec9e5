"""How much memory the engine takes, and the longest context that fits.

In whole bytes: what the engine takes besides the KV cache is a list of lines with their reasons, and the KV cache gets
the rest of the budget. How far the lines are from what a card says: docs/benchmarks.md, "Memory".
"""

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from hearth_quantizer.manifest import Manifest

MIB = 2**20
GIB = 2**30

# From runs of a 4B INT4 model on an H100 (docs/benchmarks.md, "Memory"): 8 to 64 sequences, 256 to 2048 tokens a step,
# after a prompt of 32,000 tokens, within 0.5 %. Other cards' contexts were not measured.
CUDA_CONTEXT = 782 * MIB  # a bare context is 529; kernels, their libraries' workspaces, what PyTorch keeps of the start
GRAPH = 6 * MIB  # one captured batch size of decoding
PROMPT_GRAPH = 12 * MIB  # one captured size of a step with prompts
LOGITS_COPIES = 2  # float32, of what is sampled
# Hopper multiplies steps of so many tokens by weights unpacked to 16 bit, so many bytes of them at a time (dense.py).
UNPACKED_ROWS, UNPACKED_BYTES = 384, 48 * MIB
# Resident memory of the API server and the engine process on the CPU, less weights and KV cache.
CPU_PROCESSES = 1792 * MIB
CPU_SPECULATION = 128 * MIB  # numba, which vLLM compiles its search with


class FitError(ValueError):
    """The context does not fit by `missing` bytes; `longest`, which the message names, would (0: none)."""

    def __init__(self, message: str, missing: int, longest: int) -> None:
        super().__init__(message)
        self.missing = missing
        self.longest = longest


class Line(BaseModel):
    """One part of the memory budget, in bytes, and where the number comes from."""

    model_config = ConfigDict(frozen=True)

    name: str
    bytes: int
    why: str


class KvType(BaseModel):
    """A way to store keys and values: vLLM's name for it and the attention backend that reads it."""

    model_config = ConfigDict(frozen=True)

    name: str
    backend: str

    def bytes_per_token(self, manifest: Manifest) -> int:
        """Bytes of one token's keys and values in all layers."""
        bytes16 = manifest.kv_bytes_per_token
        scales = manifest.model.layers * manifest.model.kv_heads * 2 * 4  # a float32 for each head's K and V
        match self.name:
            case "float32":
                return bytes16 * 2
            case "bfloat16":
                return bytes16
            case "fp8":
                return bytes16 // 2
            case "int8_per_token_head":
                return bytes16 // 2 + scales
            case "int4_per_token_head":
                return bytes16 // 4 + scales
            case other:
                raise AssertionError(other)


class Fit(BaseModel):
    """A KV cache that fits: its type, and its size in tokens and bytes (whole blocks)."""

    model_config = ConfigDict(frozen=True)

    kv: KvType
    tokens: int
    bytes: int


class OverBudgetError(RuntimeError):
    """The engine took more of the device than its budget."""


def weights(manifest: Manifest) -> Line:
    return Line(name="weights", bytes=manifest.weights_bytes, why="every tensor of the artifact")


def unpacked(manifest: Manifest) -> list[Line]:
    """Every tensor at 32 bit, and the file at 16 that they are loaded from, which is in memory until then."""
    values = sum(map(math.prod, (*manifest.model.linears().values(), *manifest.model.plain().values())))
    return [
        Line(name="weights", bytes=values * 4, why="unpacked to 32 bit"),
        Line(name="their file", bytes=values * 2, why="until they are loaded"),
    ]


def rotary(manifest: Manifest, positions: int) -> Line:
    """The table of rotary embeddings: a cosine and a sine for each two of a head's dimensions, at 16 bit."""
    size = positions * manifest.model.head_dim * 2
    return Line(name="rotary table", bytes=size, why=f"{positions} positions at 16 bit")


def history(sequences: int, positions: int) -> Line:
    """The tokens of each request, which speculation searches on the GPU: an int32 each."""
    return Line(name="tokens", bytes=sequences * positions * 4, why=f"{sequences} requests of {positions}, to search")


def on_gpu(
    manifest: Manifest, *, batched_tokens: int, sequences: int, decoding: int, prompts: int, hopper: bool
) -> list[Line]:
    """What a GPU holds besides weights and KV cache.

    `sequences`: how many tokens a step samples. `decoding` and `prompts`: how many sizes of decode steps, and of steps
    with prompts, have CUDA graphs. `hopper`: compute capability 9.
    """
    model = manifest.model
    # The widest moment of a layer: gate and up projections, their product, and the residual beside it, at 16 bit.
    step = batched_tokens * (3 * model.intermediate_size + 4 * model.hidden_size) * 2
    sampling = sequences * model.vocab_size * 4 * LOGITS_COPIES
    unpacked = Line(name="unpacked weights", bytes=UNPACKED_BYTES, why=f"steps of {UNPACKED_ROWS} tokens or more")
    return [
        Line(name="CUDA context", bytes=CUDA_CONTEXT, why="measured on an H100"),
        Line(name="activations", bytes=step + sampling, why=f"{batched_tokens} tokens a step, {sequences} sampled"),
        Line(
            name="CUDA graphs",
            bytes=decoding * GRAPH + prompts * PROMPT_GRAPH,
            why=f"{decoding} sizes of decode steps, {prompts} of steps with prompts",
        ),
        *([unpacked] if hopper and batched_tokens >= UNPACKED_ROWS else []),
    ]


def judge(used: int, planned: int, budget: int, *, chosen: bool) -> str | None:
    """What to say of `used` bytes of the device once the engine serves; None where the plan holds within 5 %.

    Raises OverBudgetError beyond a budget that somebody has `chosen`. The default is a wish, and a card whose context
    is larger than an H100's need not stay down for it.
    """
    text = f"{gib(used)} of device memory are in use, the plan says {gib(planned)}"
    if used > budget and chosen:
        raise OverBudgetError(
            f"{text}, the budget is {gib(budget)}: raise HEARTH_VRAM_BUDGET_GIB, or lower "
            "HEARTH_MAX_NUM_BATCHED_TOKENS or HEARTH_CONTEXT_LENGTH"
        )
    return text if used > budget or abs(used - planned) > planned * 0.05 else None


def fit(
    manifest: Manifest,
    *,
    context: int,
    sequences: int,
    left: int,
    kv_types: Sequence[KvType],
    block: int,
    position_bytes: int = 0,
) -> Fit:
    """The first type whose KV cache for one whole context fits in `left` bytes, given as much as `sequences` can use.

    `kv_types` come in order of preference, `block` is vLLM's page in tokens. `position_bytes` is what each position of
    the context takes besides. Raises FitError.
    """
    best_context = 0
    for kv in kv_types:
        page = block * kv.bytes_per_token(manifest)
        pages = max(left - context * position_bytes, 0) // page - 1  # vLLM keeps one page for itself
        needed = -(-context // block)
        if needed <= pages:
            pages = min(pages, needed * sequences)
            return Fit(kv=kv, tokens=pages * block, bytes=(pages + 1) * page)
        best_context = max(best_context, (max(left, 0) - page) // (page + block * position_bytes) * block)
    smallest = min(kv_types, key=lambda kv: kv.bytes_per_token(manifest))
    needed = (-(-context // block) + 1) * block * smallest.bytes_per_token(manifest)
    missing = needed + context * position_bytes - left
    longest = f"the longest that fits is {best_context}" if best_context > 0 else "none does"
    text = f"a context of {context} tokens does not fit, {longest} ({smallest.name} KV cache in {gib(max(left, 0))})"
    raise FitError(text, missing, max(best_context, 0))


def gib(size: int) -> str:
    """Bytes for people: GiB, or MiB where two digits of GiB would say nothing."""
    return f"{size / MIB:.1f} MiB" if size < GIB / 10 else f"{size / GIB:.2f} GiB"
