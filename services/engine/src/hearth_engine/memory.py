"""How much memory the engine takes, and the longest context that fits.

A first model, in whole bytes: what the engine takes besides the KV cache is a list of lines with their reasons, and the
KV cache gets the rest of the budget.
"""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from hearth_quantizer.manifest import Manifest

MIB = 2**20
GIB = 2**30

# One H100 run of a 4B INT4 model (64 sequences, 1024 batched tokens, fp8 KV for 32,768 tokens, warm caches) held
# 6131 MiB of device memory. Less weights, rotary table and KV cache, 1217 MiB remain, of which graphs are at most 205.
CUDA_CONTEXT = 1012 * MIB
CUDA_GRAPHS = 205 * MIB
# Resident memory of the API server and the engine process on the CPU, less weights and KV cache.
CPU_PROCESSES = 1792 * MIB


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
        match self.name:
            case "bfloat16":
                return bytes16
            case "fp8":
                return bytes16 // 2
            case "int8_per_token_head":
                scales = manifest.model.layers * manifest.model.kv_heads * 2 * 4  # a float32 for each head's K and V
                return bytes16 // 2 + scales
            case other:
                raise AssertionError(other)


class Fit(BaseModel):
    """A KV cache that fits: its type, and its size in tokens and bytes (whole blocks)."""

    model_config = ConfigDict(frozen=True)

    kv: KvType
    tokens: int
    bytes: int


def weights(manifest: Manifest) -> list[Line]:
    rotary = manifest.model.max_position_embeddings * manifest.model.head_dim * 2
    return [
        Line(name="weights", bytes=manifest.weights_bytes, why="every tensor of the artifact"),
        Line(name="rotary table", bytes=rotary, why=f"{manifest.model.max_position_embeddings} positions at 16 bit"),
    ]


def fit(
    manifest: Manifest,
    *,
    context: int,
    sequences: int,
    left: int,
    kv_types: Sequence[KvType],
    block: int,
) -> Fit:
    """The first type whose KV cache for one whole context fits in `left` bytes, given as much as `sequences` can use.

    `kv_types` come in order of preference, `block` is vLLM's page in tokens. Raises FitError.
    """
    best_context = 0
    for kv in kv_types:
        page = block * kv.bytes_per_token(manifest)
        pages = max(left, 0) // page - 1  # vLLM keeps one page for itself
        needed = -(-context // block)
        if needed <= pages:
            pages = min(pages, needed * sequences)
            return Fit(kv=kv, tokens=pages * block, bytes=(pages + 1) * page)
        best_context = max(best_context, pages * block)
    smallest = min(kv_types, key=lambda kv: kv.bytes_per_token(manifest))
    missing = (-(-context // block) + 1) * block * smallest.bytes_per_token(manifest) - left
    longest = f"the longest that fits is {best_context}" if best_context > 0 else "none does"
    text = f"a context of {context} tokens does not fit, {longest} ({smallest.name} KV cache in {gib(max(left, 0))})"
    raise FitError(text, missing, max(best_context, 0))


def gib(size: int) -> str:
    """Bytes for people: GiB, or MiB where two digits of GiB would say nothing."""
    return f"{size / MIB:.1f} MiB" if size < GIB / 10 else f"{size / GIB:.2f} GiB"
