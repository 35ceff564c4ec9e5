"""One token's row times a matrix of INT4: y[1, n] = x[1, k] @ ((codes - 8) * scales), read where Marlin keeps it.

Marlin is made for many rows, and with one it waits more than it reads: on an H100 this takes 0.6 to 0.7 of its time
(docs/benchmarks.md, "Kernels"). Marlin's layout, so that the weights are there once:

Words are int32 [k / 16, 2 n]: a row is 16 of k. A tile of 64 columns is 128 words of a row, and word 4 t + j of it
(t < 32, j < 4) has, with n0 = 16 j + t // 4, n1 = n0 + 8 within the tile and k0 = 2 (t % 4) within the row, the codes
of (k0, n0), (k0 + 8, n0), (k0, n1), (k0 + 8, n1), (k0 + 1, n0), (k0 + 9, n0), (k0 + 1, n1), (k0 + 9, n1), lowest bits
first. So lane t of a warp reads a row with one load of 16 bytes, whose four words share their x. Scales are bfloat16
[k / 128, n]; in a tile, place 8 i + m holds column i + 8 m: the eight of a lane are 16 bytes as well.
"""
# ruff: noqa: N803, RUF005, SIM108 (what Triton knows when it compiles is in capitals; it reads only some of Python)

import functools

import torch
import triton
import triton.language as tl
from triton import knobs
from triton.language.extra.cuda import gdc_wait

TILE = 64  # columns
GROUP = 128  # of k, with a scale of their own
ROWS = tl.constexpr(8)  # of words in a group

# (k, n) -> (groups a program takes at a time, programs that share a tile's k, warps), as measured on an H100. Programs
# times groups divide a matrix's groups. Others are left to Marlin: there it is as fast, or nothing was measured.
CONFIGS = {
    (2560, 6144): (1, 20, 1),
    (2560, 19456): (2, 10, 2),
    (4096, 2560): (1, 32, 1),
    (9728, 2560): (4, 19, 4),
}


@triton.jit
def _low(pair):
    """The first of two bfloat16 in an int32, as float32."""
    return (pair << 16).to(tl.float32, bitcast=True)


@triton.jit
def _high(pair):
    return (pair & -65536).to(tl.float32, bitcast=True)


@triton.jit
def _code(word, even, odd, NTH: tl.constexpr, PRMT: tl.constexpr):
    """128 + a code as float32, without converting: it is put into the bits of 128.0 that are worth 1 to 8."""
    if PRMT:
        # `even` and `odd` hold every second code, one a byte. One instruction puts a byte where it belongs; shifting
        # and masking are two of the pipe that has half the rate.
        source = even if NTH % 2 == 0 else odd
        if NTH // 2 == 0:
            bits = tl.inline_asm_elementwise(
                "prmt.b32 $0, $1, 0x43000000, 0x7044;", "=r,r", [source], tl.int32, True, 1
            )
        elif NTH // 2 == 1:
            bits = tl.inline_asm_elementwise(
                "prmt.b32 $0, $1, 0x43000000, 0x7144;", "=r,r", [source], tl.int32, True, 1
            )
        elif NTH // 2 == 2:
            bits = tl.inline_asm_elementwise(
                "prmt.b32 $0, $1, 0x43000000, 0x7244;", "=r,r", [source], tl.int32, True, 1
            )
        else:
            bits = tl.inline_asm_elementwise(
                "prmt.b32 $0, $1, 0x43000000, 0x7344;", "=r,r", [source], tl.int32, True, 1
            )
    else:
        if NTH < 4:
            moved = word << (16 - 4 * NTH)
        else:
            moved = word >> (4 * NTH - 16)
        bits = (moved & 0x000F0000) | 0x43000000
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def _weights(words, scales, tile, group, t, j, N: tl.constexpr):
    """The words and scales of so many groups: every load is issued before the first is used."""
    at = words + group * (ROWS * 2 * N) + tile * 128 + t * 4 + j
    found = ()
    for row in tl.static_range(ROWS):
        found = found + (tl.load(at + row * 2 * N),)
    return found, tl.load(scales + group * (N // 2) + tile * 32 + (t // 4) * 4 + j)


@triton.jit
def _inputs(x, group, t):
    """x in pairs: (k0, k0 + 1) and (k0 + 8, k0 + 9) of each row of words."""
    found = ()
    for pair in tl.static_range(ROWS * 2):
        found = found + (tl.load(x + group * (ROWS * 8) + t % 4 + pair * 4),)
    return found


@triton.jit
def _add(sum0, sum1, words, scale, inputs, PRMT: tl.constexpr):
    """One step: columns n0 and n1 of each word, 8 rows."""
    p0 = tl.zeros_like(sum0)
    p1 = tl.zeros_like(sum1)
    total = tl.zeros([sum0.shape[0], 32, 1], tl.float32)
    for row in tl.static_range(ROWS):
        a, b = _low(inputs[2 * row]), _high(inputs[2 * row])
        c, d = _low(inputs[2 * row + 1]), _high(inputs[2 * row + 1])
        total += (a + b) + (c + d)
        word = words[row]
        even = word & 0x0F0F0F0F
        odd = (word >> 4) & 0x0F0F0F0F
        p0 += _code(word, even, odd, 0, PRMT) * a
        p1 += _code(word, even, odd, 2, PRMT) * a
        p0 += _code(word, even, odd, 4, PRMT) * b
        p1 += _code(word, even, odd, 6, PRMT) * b
        p0 += _code(word, even, odd, 1, PRMT) * c
        p1 += _code(word, even, odd, 3, PRMT) * c
        p0 += _code(word, even, odd, 5, PRMT) * d
        p1 += _code(word, even, odd, 7, PRMT) * d
    # sum (128 + code) x - 136 sum x = sum (code - 8) x
    total = total * 136.0
    return sum0 + _low(scale) * (p0 - total), sum1 + _high(scale) * (p1 - total)


@triton.jit
def _gemv(
    x, words, scales, y, partial, counters,
    N: tl.constexpr, GROUPS: tl.constexpr, STEPS: tl.constexpr, PROGRAMS: tl.constexpr, PARTS: tl.constexpr,
    PARTS_POWER: tl.constexpr, PRMT: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)  # fastest: neighbours read neighbouring addresses
    program = tl.program_id(1)
    t = tl.arange(0, 32)[None, :, None]
    j = tl.arange(0, 4)[None, None, :]
    group = program * (STEPS * GROUPS) + tl.arange(0, GROUPS)[:, None, None]
    sum0 = tl.zeros([GROUPS, 32, 4], tl.float32)
    sum1 = tl.zeros([GROUPS, 32, 4], tl.float32)
    for _ in tl.range(0, STEPS, num_stages=1):
        found, scale = _weights(words, scales, tile, group, t, j, N)
        inputs = _inputs(x, group, t)
        if PRMT:
            # It waits for nothing here, but the assembler moves no load behind it: otherwise each sinks to its first
            # use, and two instead of eight are on their way at a time.
            gdc_wait()
        sum0, sum1 = _add(sum0, sum1, found, scale, inputs, PRMT)
        group += GROUPS
    # Over the lanes that share columns; what is left is in the order of Marlin's scales.
    both = tl.sum(tl.reshape(tl.join(sum0, sum1), [GROUPS, 8, 4, 8]), axis=2)
    i = tl.arange(0, 8)[:, None]
    m = tl.arange(0, 8)[None, :]
    # The last program of a tile to come adds all parts in their order: the same bits each time, whoever is last. It
    # leaves the counter at 0 for the next call.
    partial += tile * (PARTS * 64) + i[None, :, :] * 8 + m[None, :, :]
    tl.store(partial + (program * GROUPS + tl.arange(0, GROUPS)[:, None, None]) * 64, both)
    tl.debug_barrier()  # every thread has stored before one of them says so
    if tl.atomic_add(counters + tile, 1, sem="acq_rel") == PROGRAMS - 1:
        part = tl.arange(0, PARTS_POWER)[:, None, None]
        parts = tl.load(partial + part * 64, mask=part < PARTS, other=0.0, cache_modifier=".cg")  # past a stale L1
        tl.store(y + tile * 64 + i + 8 * m, tl.sum(parts, axis=0).to(y.dtype.element_ty))
        tl.store(counters + tile, 0)


def workspace(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Partial sums and counters for every matrix of CONFIGS, one call after the other. Nobody clears them."""
    sums = max(groups * programs * n for (_, n), (groups, programs, _) in CONFIGS.items())
    tiles = max(n for _, n in CONFIGS) // TILE
    return torch.empty(sums, dtype=torch.float32, device=device), torch.zeros(tiles, dtype=torch.int32, device=device)


@functools.cache
def measured_on(device: torch.device) -> bool:
    """Whether the device is of the kind that CONFIGS were measured on."""
    return bool(torch.cuda.get_device_capability(device)[0] == 9)


def reads(x: torch.Tensor, words: torch.Tensor, scales: torch.Tensor, k: int, n: int) -> bool:
    """Whether types and layout are those above, on a device that was measured."""
    return (
        x.is_contiguous()
        and x.dtype == scales.dtype == torch.bfloat16
        and words.shape == (k // 16, 2 * n)
        and scales.shape == (k // GROUP, n)
        and measured_on(x.device)
    )


def gemv(
    x: torch.Tensor,
    words: torch.Tensor,
    scales: torch.Tensor,
    n: int,
    partial: torch.Tensor,
    counters: torch.Tensor,
    config: tuple[int, int, int] | None = None,
) -> torch.Tensor:
    """[1, n] of x [1, k], contiguous bfloat16; words and scales as above, `partial` and `counters` of `workspace`."""
    k = words.shape[0] * 16
    groups, programs, warps = config or CONFIGS[k, n]
    steps, rest = divmod(k // GROUP, groups * programs)
    assert rest == 0, f"{k // GROUP} groups are not shared evenly by {programs} programs of {groups}"
    assert x.is_contiguous()
    assert x.numel() == k
    y = torch.empty((1, n), dtype=torch.bfloat16, device=x.device)
    parts = groups * programs
    _gemv[(n // TILE, programs)](
        x.view(torch.int32), words, scales.view(torch.int32), y, partial, counters,
        N=n, GROUPS=groups, STEPS=steps, PROGRAMS=programs, PARTS=parts, PARTS_POWER=triton.next_power_of_2(parts),
        PRMT=not knobs.runtime.interpret, num_warps=warps,
    )  # fmt: skip
    return y
