"""Many tokens' rows times a matrix of INT4: y[m, n] = x[m, k] @ ((codes - 8) * scales), unpacked and given to cuBLAS.

Marlin unpacks what it multiplies for every 64 rows again and uses no warpgroup instructions: with the rows of a prompt
it takes twice as long as Machete on Hopper. Here the matrix is unpacked to 16 bit once a step, some columns at a time,
so that the copy is small, and the multiplication is cuBLAS' (docs/benchmarks.md, "Kernels"). The layout: gemv.py.
"""
# ruff: noqa: N803 (what Triton knows when it compiles is in capitals; it reads only some of Python)

import torch
import triton
import triton.language as tl

from hearth_engine.gemv import GROUP, TILE
from hearth_engine.memory import UNPACKED_BYTES


@triton.jit
def _value(word, scale, NTH: tl.constexpr):
    """The weight of a word's nth code, rounded as Marlin rounds it."""
    code = ((word >> (4 * NTH)) & 15) - 8
    return (code.to(tl.float32) * scale).to(tl.bfloat16)


@triton.jit(do_not_specialize=["first"])
def _unpack(words, scales, out, first, K, N):
    """One group of 128 of k of one tile of 64 columns, to out[column, k]."""
    tile = tl.program_id(1).to(tl.int64)
    group = tl.program_id(0).to(tl.int64)
    r = tl.arange(0, 8)[:, None, None, None]  # rows of words
    a = tl.arange(0, 8)[None, :, None, None]  # t // 4
    b = tl.arange(0, 4)[None, None, :, None]  # t % 4
    j = tl.arange(0, 4)[None, None, None, :]
    word = tl.load(words + (group * 8 + r) * (2 * N) + (first + tile) * 128 + 16 * a + 4 * b + j)
    at = scales + group * N + (first + tile) * 64 + 8 * a + 2 * j
    left, right = tl.load(at).to(tl.float32), tl.load(at + 1).to(tl.float32)  # of columns n0 and n1
    upper0 = tl.join(_value(word, left, 0), _value(word, left, 4))
    lower0 = tl.join(_value(word, left, 1), _value(word, left, 5))
    upper1 = tl.join(_value(word, right, 2), _value(word, right, 6))
    lower1 = tl.join(_value(word, right, 3), _value(word, right, 7))
    # [r, a, b, j, k + 1, k + 8, n + 8]: columns are 16 j + 8 (n + 8) + a, rows 16 r + 8 (k + 8) + 2 b + (k + 1).
    both = tl.join(tl.join(upper0, lower0), tl.join(upper1, lower1))
    block = tl.reshape(tl.permute(both, (3, 6, 1, 0, 5, 2, 4)), (64, 128))
    column, row = tl.arange(0, 64)[:, None], tl.arange(0, 128)[None, :]
    tl.store(out + (tile * 64 + column) * K + group * 128 + row, block)


def columns_at_a_time(k: int, n: int) -> int:
    """How many columns the copy holds: even shares of whole tiles, of at most UNPACKED_BYTES."""
    tiles = n // TILE
    shares = next(shares for shares in range(1, tiles + 1) if -(-tiles // shares) * TILE * k * 2 <= UNPACKED_BYTES)
    return -(-tiles // shares) * TILE


def matmul(
    x: torch.Tensor, words: torch.Tensor, scales: torch.Tensor, n: int, columns: int | None = None
) -> torch.Tensor:
    """[m, n] of x [m, k] in bfloat16; words and scales as Marlin has them, groups of 128. `columns`: at a time."""
    k = words.shape[0] * 16
    columns = columns or columns_at_a_time(k, n)
    y = torch.empty((x.shape[0], n), dtype=x.dtype, device=x.device)
    copy = torch.empty((columns, k), dtype=x.dtype, device=x.device)
    for first in range(0, n, columns):
        part = copy[: min(columns, n - first)]
        _unpack[(k // GROUP, part.shape[0] // TILE)](words, scales, part, first // TILE, k, n, num_warps=4)
        torch.mm(x, part.t(), out=y[:, first : first + columns])
    return y
