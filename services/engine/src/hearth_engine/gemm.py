"""A few tokens' rows times a matrix of INT4: y[m, n] = x[m, k] @ ((codes - 8) * scales), read where Marlin keeps it.

For 2 to 64 rows; one row is gemv.py's, a long prompt's are dense.py's, and what lies between is Marlin's. Words and
scales are as gemv.py describes. A word is what a lane holds of a 16 x 16 operand A of the tensor cores, W^T: columns n0
and n0 + 8, of k k0, k0 + 1, k0 + 8, k0 + 9. So W^T x^T is computed, W^T from registers: what a lane reads, it
multiplies, and no weight changes lanes. Eight codes take 11 instructions: 3 shifts, 4 ands, and 4 fmas of two
bfloat16s. (As Marlin does, weights are rounded to bfloat16, once; sums are float32.)

A program takes T tiles of 64 columns with 4 T / JL warps; a warp's lanes take JL of the four words that are neighbours.
In its rows of W^T the order is word within a lane, tile, word beyond, n0 or n0 + 8, lane: what Hopper's wgmma wants,
each warp 16 rows in turn, so that Triton has nothing to convert. k is in its natural order.
"""
# ruff: noqa: N803, N806, RUF005 (what Triton knows when it compiles is in capitals; it reads only some of Python)

import torch
import triton
import triton.language as tl
from triton import knobs

from hearth_engine.gemv import GROUP, TILE

MOST_ROWS = 64
# Codes are put into the bits of bfloat16 that make them code * 2^-129, most of them subnormal. What makes weights of
# them, 2^129 times the scale, must be a number: so scales are below this.
MOST_SCALE = 0.5

# (k, n, bucket) -> (words a lane loads at a time, warps, rows of 16 k a step, programs that share k, stages, whether
# all of these add up the partial sums, or the last to come).
CONFIGS: dict[tuple[int, int, int], tuple[int, int, int, int, int, bool]] = {
    (2560, 6144, 16): (4, 4, 8, 5, 3, True),
    (2560, 6144, 32): (1, 4, 8, 1, 6, False),
    (2560, 6144, 64): (1, 4, 8, 1, 6, False),
    (2560, 19456, 16): (4, 4, 4, 3, 4, True),
    (2560, 19456, 32): (4, 4, 4, 3, 4, True),
    (2560, 19456, 64): (2, 4, 4, 1, 6, False),
    (4096, 2560, 16): (2, 4, 4, 6, 6, True),
    (4096, 2560, 32): (2, 4, 8, 4, 6, True),
    (4096, 2560, 64): (2, 4, 4, 5, 6, True),
    (9728, 2560, 16): (2, 4, 8, 13, 3, True),
    (9728, 2560, 32): (2, 4, 8, 11, 4, True),
    (9728, 2560, 64): (2, 4, 8, 10, 4, True),
}


@triton.jit
def _scales(pair, ASM: tl.constexpr):
    """Of two columns' scales: twice the factor of n0, twice its offset, and those of n1. See _pairs."""
    if ASM:
        factor0, offset0, factor1, offset1 = tl.inline_asm_elementwise(
            """{
            .reg .b32 c, f, o;
            mov.b32 c, 0x7F007F00;
            mul.bf16x2 f, $4, c;
            mov.b32 c, 0x40804080;
            mul.bf16x2 f, f, c;
            mov.b32 c, 0xC100C100;
            mul.bf16x2 o, $4, c;
            prmt.b32 $0, f, f, 0x1010;
            prmt.b32 $1, o, o, 0x1010;
            prmt.b32 $2, f, f, 0x3232;
            prmt.b32 $3, o, o, 0x3232;
            }""",
            "=r,=r,=r,=r,r", [pair], (tl.int32, tl.int32, tl.int32, tl.int32), True, 1,
        )  # fmt: skip
    else:
        factor0, factor1 = pair << 16, pair
        offset0, offset1 = factor0, factor1
    return factor0, offset0, factor1, offset1


@triton.jit
def _pairs(word, factor0, offset0, factor1, offset1, ASM: tl.constexpr):
    """Four times two weights, k and k + 1, as bfloat16s in int32: of (k0, n0), (k0 + 8, n0), (k0, n1), (k0 + 8, n1)."""
    if ASM:
        a, b, c, d = tl.inline_asm_elementwise(
            """{
            .reg .b32 w0, w1, w2, w3;
            shl.b32 w0, $4, 4;
            shr.u32 w2, $4, 4;
            shr.u32 w3, $4, 8;
            and.b32 w0, w0, 0x00F000F0;
            and.b32 w1, $4, 0x00F000F0;
            and.b32 w2, w2, 0x00F000F0;
            and.b32 w3, w3, 0x00F000F0;
            fma.rn.bf16x2 $0, w0, $5, $6;
            fma.rn.bf16x2 $1, w1, $5, $6;
            fma.rn.bf16x2 $2, w2, $7, $8;
            fma.rn.bf16x2 $3, w3, $7, $8;
            }""",
            "=&r,=&r,=&r,=&r,r,r,r,r,r", [word, factor0, offset0, factor1, offset1],
            (tl.int32, tl.int32, tl.int32, tl.int32), True, 1,
        )  # fmt: skip
    else:
        a = _pair(word, factor0)
        b = _pair(word >> 4, factor0)
        c = _pair(word >> 8, factor1)
        d = _pair(word >> 12, factor1)
    return a, b, c, d


@triton.jit
def _pair(word, scale):
    """What the instructions above do, for where they cannot run."""
    scaled = (scale & -65536).to(tl.float32, bitcast=True)
    low = ((word & 15) - 8).to(tl.float32) * scaled
    high = (((word >> 16) & 15) - 8).to(tl.float32) * scaled
    low = low.to(tl.bfloat16).to(tl.int16, bitcast=True).to(tl.int32) & 0xFFFF
    return low | (high.to(tl.bfloat16).to(tl.int16, bitcast=True).to(tl.int32) << 16)


@triton.jit
def _both(pair):
    low = pair.to(tl.int16).to(tl.bfloat16, bitcast=True)
    high = (pair >> 16).to(tl.int16).to(tl.bfloat16, bitcast=True)
    return tl.join(low, high)


@triton.jit
def _some_rows(words, N: tl.constexpr, T: tl.constexpr, JL: tl.constexpr, R: tl.constexpr):
    """[T, 4 / JL, 8, 4, JL, R]: tile, word beyond a lane's, t // 4, t % 4, word, row. A load a row: of one load, each
    lane would get its rows side by side in shared memory, where its neighbours' accesses then collide."""
    if R == 1:
        found = tl.permute(tl.reshape(tl.load(words), [T, 8, 4, 4 // JL, JL]), (0, 3, 1, 2, 4))
        found = tl.expand_dims(found, 5)
    else:
        even = _some_rows(words, 2 * N, T, JL, R // 2)
        odd = _some_rows(words + 2 * N, 2 * N, T, JL, R // 2)
        found = tl.join(even, odd)
        found = tl.reshape(found, found.shape[:5] + [R])
    return found


@triton.jit(do_not_specialize=["m"])
def _gemm(
    x, words, scales, y, partial, counters, m,
    K: tl.constexpr, N: tl.constexpr, ROWS: tl.constexpr, T: tl.constexpr, JL: tl.constexpr, R: tl.constexpr,
    PARTS: tl.constexpr, SHARE: tl.constexpr, STAGES: tl.constexpr, TOGETHER: tl.constexpr,
    ASM: tl.constexpr,
):  # fmt: skip
    JH: tl.constexpr = 4 // JL
    COLUMNS: tl.constexpr = 64 * T
    STEPS: tl.constexpr = K // (16 * R)
    part = tl.program_id(0)  # fastest: those that wait for each other start together
    tile = tl.program_id(1)

    words += tile * (T * 128) + tl.arange(0, T * 128)
    scales += tile * (T * 32) + tl.arange(0, T * 32)
    rows = tl.arange(0, ROWS)
    x += rows[:, None] * K + tl.arange(0, 16 * R)[None, :]
    there = (rows < m)[:, None]

    sums = tl.zeros([COLUMNS, ROWS], tl.float32)
    for step in tl.range(part * STEPS // PARTS, (part + 1) * STEPS // PARTS, num_stages=STAGES):
        word = _some_rows(words + step * (R * 2 * N), N, T, JL, R)
        scale = tl.load(scales + (step * R // 8) * (N // 2))
        scale = tl.permute(tl.reshape(scale, [T, 8, JH, JL]), (0, 2, 1, 3))
        some = tl.load(x + step * (16 * R), mask=there, other=0.0)
        factor0, offset0, factor1, offset1 = _scales(scale[:, :, :, None, :, None], ASM)
        a, b, c, d = _pairs(word, factor0, offset0, factor1, offset1, ASM)
        # [T, JH, 8, 4, JL, R, 2 (k), 2 (k + 8), 2 (n + 8)]
        weights = tl.join(tl.join(_both(a), _both(b)), tl.join(_both(c), _both(d)))
        weights = tl.reshape(tl.permute(weights, (4, 0, 1, 8, 2, 5, 7, 3, 6)), [COLUMNS, 16 * R])
        if ASM:
            sums = tl.dot(weights, tl.trans(some), sums)
            # No instruction, but a use: Triton waits for the tensor cores before the next step writes the registers
            # that they read. Without, the assembler has to find out, and often waits for each of their instructions.
            sums = tl.inline_asm_elementwise("", "=f,0", [sums], tl.float32, True, 1)
        else:  # the interpreter multiplies the bits of bfloat16s
            sums = tl.dot(weights.to(tl.float32), tl.trans(some.to(tl.float32)), sums)

    row = tl.arange(0, ROWS)[None, :]
    if PARTS == 1:
        column = tl.arange(0, COLUMNS)
        sixteen = column // 16
        place = sixteen // JH % T * 64 + (sixteen % JH * JL + sixteen // (JH * T)) * 16 + column % 16
        tl.store(y + row * N + tile * COLUMNS + place[:, None], sums.to(y.dtype.element_ty), mask=row < m)
    else:
        partial += tile * (PARTS * COLUMNS * ROWS)
        column = tl.arange(0, COLUMNS)[:, None]
        four = row // 4 < (m + 3) // 4  # a mask of fours lets it store 16 bytes at a time
        tl.store(partial + part * (COLUMNS * ROWS) + column * ROWS + row, sums, mask=four)
        tl.debug_barrier()  # every thread has stored before one of them says so
        counter = counters + tile
        come = tl.atomic_add(counter, 1, sem="acq_rel")
        # Parts are added in their order: the same bits each time. Either each program adds some columns, and waits for
        # the others (they have started, or will: none that starts later is waited for by all that run), or the last
        # to come adds all. The counter is left at 0 for the next call.
        if TOGETHER:
            while come < PARTS - 1:
                come = tl.atomic_add(counter, 0, sem="acquire") - 1
            _add_up(partial, y, m, tile, part, PARTS, N, ROWS, T, JL, PARTS, SHARE)
            tl.debug_barrier()
            if tl.atomic_add(counter, 1, sem="acq_rel") == 2 * PARTS - 1:
                tl.store(counter, 0)
        else:
            if come == PARTS - 1:
                _add_up(partial, y, m, tile, 0, 1, N, ROWS, T, JL, PARTS, SHARE)
                tl.store(counter, 0)


@triton.jit
def _add_up(
    partial, y, m, tile, first, stride,
    N: tl.constexpr, ROWS: tl.constexpr, T: tl.constexpr, JL: tl.constexpr, PARTS: tl.constexpr, SHARE: tl.constexpr,
):  # fmt: skip
    """SHARE sixteens of columns at a time, each neighbours in y."""
    JH: tl.constexpr = 4 // JL
    column = tl.arange(0, 16 * SHARE)[:, None]
    row = tl.arange(0, ROWS)[None, :]
    four = row // 4 < (m + 3) // 4
    for begin in tl.range(first * SHARE, 4 * T, stride * SHARE, num_stages=1):
        at = partial + begin * (16 * ROWS) + column * ROWS + row
        total = tl.zeros([16 * SHARE, ROWS], tl.float32)
        for part in tl.static_range(PARTS):
            total += tl.load(at + part * (64 * T * ROWS), mask=four, other=0.0, cache_modifier=".cg")  # past L1
        sixteen = begin + column // 16
        place = sixteen // JH % T * 64 + (sixteen % JH * JL + sixteen // (JH * T)) * 16 + column % 16
        tl.store(y + row * N + tile * (64 * T) + place, total.to(y.dtype.element_ty), mask=row < m)


def workspace(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Partial sums and counters for every matrix of CONFIGS, one call after the other. Nobody clears them."""
    sums = max(parts * rows * n for (_, n, rows), (_, _, _, parts, _, _) in CONFIGS.items())
    tiles = max(n // (16 * lane * warps) for (_, n, _), (lane, warps, *_) in CONFIGS.items())
    return torch.empty(sums, dtype=torch.float32, device=device), torch.zeros(tiles, dtype=torch.int32, device=device)


def bucket(m: int) -> int:
    """The rows that the kernel is compiled for: 16, 32 or 64."""
    return max(16, int(triton.next_power_of_2(m)))


def suits(scales: torch.Tensor) -> bool:
    """Whether the kernel can compute with these scales. It waits for the GPU: ask once, when weights are loaded."""
    return bool((scales.abs() < MOST_SCALE).all())


def gemm(
    x: torch.Tensor,
    words: torch.Tensor,
    scales: torch.Tensor,
    n: int,
    partial: torch.Tensor,
    counters: torch.Tensor,
    config: tuple[int, int, int, int, int, bool] | None = None,
) -> torch.Tensor:
    """[m, n] of x [m, k], contiguous bfloat16; words and scales as above, `partial` and `counters` of `workspace`."""
    m, k = x.shape
    rows = bucket(m)
    lane, warps, step, parts, stages, together = config or CONFIGS[k, n, rows]
    tiles = warps * lane // 4
    assert rows <= MOST_ROWS
    assert n % (TILE * tiles) == 0
    assert k % GROUP == 0
    assert parts * rows * n <= partial.numel()
    assert x.is_contiguous()
    y = torch.empty((m, n), dtype=torch.bfloat16, device=x.device)
    together = together and parts > 1
    share = triton.next_power_of_2(-(-4 * tiles // parts)) if together else 1
    on_gpu = not knobs.runtime.interpret
    _gemm[(parts, n // (TILE * tiles))](
        x, words, scales.view(torch.int32), y, partial, counters, m,
        K=k, N=n, ROWS=rows, T=tiles, JL=lane, R=step, PARTS=parts, SHARE=share, STAGES=stages,
        TOGETHER=together and on_gpu, ASM=on_gpu, num_warps=warps,
    )  # fmt: skip
    return y
