"""Are the kernels of hearth_engine.kernels what they stand in for? Prints a line a case, status 1 where one is not.

    python check_kernels.py                       # on a GPU, in the engine's environment
    TRITON_INTERPRET=1 python check_kernels.py    # without one, slowly: torch and triton are enough

The reference is plain PyTorch in float32, rounded to bfloat16 where vLLM's own kernels round. What may differ is the
last bit of a sum: a value of bfloat16 by one part in 128, of float8 by one in 8, and of those only a few.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial

import torch

from hearth_engine import dense, gemm, gemv
from hearth_engine.kernels import attention_inputs, silu_and_mul

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
HEADS, KV_HEADS, DIM, PAGE, EPS, THETA = 32, 8, 128, 16, 1e-6, 5e6
# The share of values that another order of a sum may round the other way, and by how many steps. Triton's interpreter
# cuts off where a GPU rounds: nearly every value, by as many steps as there are roundings.
MAY_DIFFER, STEPS = (1.0, 4) if DEVICE == "cpu" else (0.01, 1)


def norm_and_rotate(x: torch.Tensor, weight: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """[tokens, heads, dim] in float32 to bfloat16."""
    scaled = (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS)).bfloat16().float()
    left, right = (scaled * weight.float()).bfloat16().float().chunk(2, -1)
    cosine, sine = cosine.float()[:, None], sine.float()[:, None]
    return torch.cat([left * cosine - right * sine, right * cosine + left * sine], -1).bfloat16()


def close(found: torch.Tensor, wanted: torch.Tensor, step: float) -> tuple[bool, str]:
    found, wanted = found.float(), wanted.float()
    differing = found != wanted
    near = (found - wanted).abs() <= wanted.abs() * step * STEPS + 1e-2 * STEPS
    share = differing.float().mean().item()
    return bool(near.all()) and share <= MAY_DIFFER, f"{share:.4%} of {found.numel()} values differ"


def inputs_case(tokens: int, slots_given: int, fp8: bool) -> tuple[bool, str]:
    make = torch.Generator().manual_seed(tokens)
    qkv = (torch.randn(tokens, (HEADS + 2 * KV_HEADS) * DIM, generator=make) * 3).bfloat16()
    angles = torch.arange(4096).float()[:, None] / THETA ** (torch.arange(0, DIM, 2).float() / DIM)
    table = torch.cat([angles.cos(), angles.sin()], -1).bfloat16()
    weights = [(torch.randn(DIM, generator=make) + 1).bfloat16() for _ in range(2)]
    positions = torch.randint(0, 4096, (tokens,), generator=make)
    slots = torch.randperm(tokens * 2, generator=make)[:slots_given]
    slots[slots_given // 2] = -1  # goes nowhere
    pages = tokens * 2 // PAGE + 1
    cache = torch.zeros(pages, KV_HEADS, PAGE, 2 * DIM, dtype=torch.uint8 if fp8 else torch.bfloat16)
    one = torch.ones(1)
    at = [x.to(DEVICE) for x in (qkv, positions, table, *weights)]
    filled = cache.to(DEVICE)
    query = attention_inputs(
        *at, EPS, HEADS, KV_HEADS, filled, slots.to(DEVICE), (one.to(DEVICE),) * 3, fp8_query=fp8
    ).cpu()  # fmt: skip
    q, k, v = qkv.float().view(tokens, -1, DIM).split([HEADS, KV_HEADS, KV_HEADS], 1)
    cosine, sine = table[positions].chunk(2, -1)
    wanted_query = norm_and_rotate(q, weights[0], cosine, sine)
    wanted_key = norm_and_rotate(k, weights[1], cosine, sine)
    cast = torch.float8_e4m3fn if fp8 else torch.bfloat16
    reference = torch.zeros(cache.shape, dtype=cast)
    for token, slot in enumerate(slots.tolist()):
        if slot >= 0:
            both = torch.cat([wanted_key[token], v[token].bfloat16()], -1)
            reference[slot // PAGE, :, slot % PAGE] = both.float().clamp(-448, 448).to(cast)
    step = 1 / 8 if fp8 else 1 / 128
    held = filled.cpu().view(torch.float8_e4m3fn) if fp8 else filled.cpu()
    first, told = close(query, wanted_query.float().to(cast), step)
    second, also = close(held, reference, step)
    return first and second, f"queries: {told}; cache: {also}"


def silu_case(tokens: int, width: int) -> tuple[bool, str]:
    halves = (torch.randn(tokens, 2 * width, generator=torch.Generator().manual_seed(width)) * 3).bfloat16()
    gate, up = halves.float().chunk(2, -1)
    wanted = (torch.nn.functional.silu(gate).bfloat16().float() * up).bfloat16()
    return close(silu_and_mul(halves.to(DEVICE)).cpu(), wanted, 1 / 128)


def marlin(codes: torch.Tensor) -> torch.Tensor:
    """[k, n] codes as Marlin's words, written down from its layout (hearth_engine.gemv), not from its code."""
    k, n = codes.shape
    t, j = torch.arange(32)[:, None], torch.arange(4)[None, :]
    column, row = 16 * j + t // 4, 2 * (t % 4)
    tiles = codes.to(torch.int64).view(k // 16, 16, n // 64, 64)
    words = torch.zeros(k // 16, n // 64, 32, 4, dtype=torch.int64)
    order = [(0, 0), (8, 0), (0, 8), (8, 8), (1, 0), (9, 0), (1, 8), (9, 8)]
    for place, (down, right) in enumerate(order):
        found = tiles[:, (row + down).expand(32, 4), :, (column + right).expand(32, 4)]  # [32, 4, k / 16, n / 64]
        words |= found.permute(2, 3, 0, 1) << (4 * place)
    return (words - ((words >> 31) << 32)).to(torch.int32).reshape(k // 16, 2 * n)


def problem(rows: int, k: int, n: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """x, words and scales on the device, and the product with weights that nobody has rounded, in float64."""
    make = torch.Generator().manual_seed(k)
    codes = torch.randint(0, 16, (k, n), generator=make)
    scales = (torch.rand(k // gemv.GROUP, n, generator=make) * 0.02 + 0.005).bfloat16()
    x = torch.randn(rows, k, generator=make).bfloat16()
    wanted = x.double() @ ((codes.double() - 8) * scales.double().repeat_interleave(gemv.GROUP, 0))
    places = (torch.arange(8)[:, None] + 8 * torch.arange(8)[None, :]).flatten()  # place 8 i + m holds column i + 8 m
    permuted = scales.view(-1, n // 64, 64)[:, :, places].reshape(k // gemv.GROUP, n).contiguous()
    return [part.to(DEVICE) for part in (x, marlin(codes), permuted)], wanted.float()


def gemv_case(k: int, n: int, config: tuple[int, int, int] | None) -> tuple[bool, str]:
    at, wanted = problem(1, k, n)
    sums, counters = gemv.workspace(torch.device(DEVICE))
    sums.fill_(torch.nan)
    first, second = (gemv.gemv(*at, n, sums, counters, config).cpu() for _ in range(2))
    error = ((first.float() - wanted).abs() / (wanted.abs() + wanted.abs().max() * 0.01)).max().item()
    right = error < 2**-8 * STEPS and torch.equal(first, second) and not counters.any().item()
    return right, f"relative error at most {error:.1e}, twice the same bits, counters at {counters.sum().item()}"


def gemm_case(rows: int, k: int, n: int, config: tuple[int, int, int, int, int, bool] | None) -> tuple[bool, str]:
    at, wanted = problem(rows, k, n)
    sums, counters = gemm.workspace(torch.device(DEVICE))
    sums.fill_(torch.nan)
    first, second = (gemm.gemm(*at, n, sums, counters, config).cpu() for _ in range(2))
    error = ((first.float() - wanted).norm() / wanted.norm()).item()
    right = error < 2**-8 * STEPS and torch.equal(first, second) and not counters.any().item()
    return right, f"relative error {error:.1e}, twice the same bits, counters at {counters.sum().item()}"


def dense_case(rows: int, k: int, n: int, columns: int | None) -> tuple[bool, str]:
    at, wanted = problem(rows, k, n)
    found = dense.matmul(*at, n, columns).cpu().float()
    # The weights are rounded to 16 bit, as Marlin's are, and so is the sum.
    error = ((found - wanted).norm() / wanted.norm()).item()
    return error < 2**-8 * STEPS, f"relative error {error:.1e}"


CASES: dict[str, Callable[[], tuple[bool, str]]] = {
    **{
        f"inputs, {tokens} tokens, {given} slots, {'fp8' if fp8 else 'bf16'}": partial(inputs_case, tokens, given, fp8)
        for tokens, given in ((1, 1), (8, 5), (40, 40))
        for fp8 in (False, True)
    },
    **{f"silu, {tokens} x {width}": partial(silu_case, tokens, width) for tokens, width in ((1, 9728), (7, 96))},
    **{
        f"dense, {rows} rows, {k} x {n}, {columns or 'all'} at a time": partial(dense_case, rows, k, n, columns)
        for rows, k, n, columns in [
            (3, 256, 192, 128),
            (5, 128, 128, None),
            *((333, *shape, None) for shape in ((2560, 19456), (9728, 2560)) if DEVICE == "cuda"),
        ]
    },
    **{
        f"gemm, {rows} rows, {k} x {n}, {config or 'as configured'}": partial(gemm_case, rows, k, n, config)
        for rows, k, n, config in [
            (5, 256, 256, (4, 4, 4, 1, 4, False)),
            (17, 512, 128, (2, 4, 8, 3, 4, True)),
            (61, 384, 128, (1, 8, 8, 2, 3, False)),
            *((rows - spare, k, n, None) for k, n, rows in gemm.CONFIGS for spare in (0, 3) if DEVICE == "cuda"),
        ]
    },
    **{
        f"gemv, {k} x {n}, {config or 'as configured'}": partial(gemv_case, k, n, config)
        for k, n, config in [
            (512, 128, (2, 2, 2)),
            (1024, 64, (1, 2, 1)),
            (1152, 128, (1, 3, 1)),
            *((*shape, None) for shape in gemv.CONFIGS if DEVICE == "cuda"),
        ]
    },
}


def main() -> None:
    failed = 0
    for name, case in CASES.items():
        began = time.monotonic()
        right, told = case()
        failed += not right
        print(f"{'ok  ' if right else 'FAIL'} {name}: {told} ({time.monotonic() - began:.1f} s)", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
