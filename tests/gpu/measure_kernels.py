"""Times the kernels that read INT4 weights on this GPU: Machete, Marlin and ours; a Markdown table.

    python measure_kernels.py [ROWS …]

Run it in the engine's environment. Microseconds a matrix of Qwen3-4B, in a CUDA graph over so many copies of the
weights that no cache holds them; the least of three replays. Not a test: it judges nothing.
"""

import sys
from collections.abc import Callable

import torch
from vllm import _custom_ops as ops
from vllm.model_executor.layers.quantization.utils import marlin_utils
from vllm.scalar_type import scalar_types

from hearth_engine import dense, gemm, gemv
from hearth_engine.memory import UNPACKED_ROWS

SHAPES = {"qkv": (2560, 6144), "o": (4096, 2560), "gate_up": (2560, 19456), "down": (9728, 2560)}
COLD = 200_000_000  # bytes of weights, beyond any L2
TYPE = scalar_types.uint4b8


def microseconds(calls: list[Callable[[], object]]) -> float:
    for call in calls:
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    seen = []
    for _ in range(4):  # the first warms up
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        seen.append(begin.elapsed_time(end) * 1e3 / len(calls))
    return min(seen[1:])


def measure(name: str, rows: list[int]) -> None:
    k, n = SHAPES[name]
    copies = max(3, COLD // (k * n // 2))
    codes = [
        torch.randint(-(2**31), 2**31 - 1, (k // 8, n), device="cuda", dtype=torch.int64).to(torch.int32)
        for _ in range(copies)
    ]
    scales = (torch.rand(k // 128, n, device="cuda") * 0.01).to(torch.bfloat16)
    machete = [
        ops.machete_prepack_B(words.t().contiguous().t(), torch.bfloat16, TYPE, torch.bfloat16) for words in codes
    ]
    marlin = [ops.gptq_marlin_repack(words, size_k=k, size_n=n, num_bits=4, is_a_8bit=False) for words in codes]
    permuted = marlin_utils.marlin_permute_scales(scales, k, n, 128)
    empty, locks = (
        marlin_utils.marlin_make_empty(torch.device("cuda")),
        marlin_utils.marlin_make_workspace_new(torch.device("cuda", 0), 4),
    )
    for_gemv, for_gemm = gemv.workspace(torch.device("cuda")), gemm.workspace(torch.device("cuda"))
    for count in rows:
        x = torch.randn(count, k, device="cuda").to(torch.bfloat16)

        def by_machete(words: torch.Tensor, x: torch.Tensor = x) -> object:
            return ops.machete_mm(a=x, b_q=words, b_type=TYPE, b_group_scales=scales, b_group_size=128)

        def by_marlin(words: torch.Tensor, x: torch.Tensor = x) -> object:
            return marlin_utils.apply_gptq_marlin_linear(x, words, permuted, empty, locks, TYPE, n, k)

        def by_ours(words: torch.Tensor, x: torch.Tensor = x) -> object:
            if x.shape[0] == 1:
                return gemv.gemv(x, words, permuted, n, *for_gemv)
            if x.shape[0] <= gemm.MOST_ROWS:
                return gemm.gemm(x, words, permuted, n, *for_gemm)
            return dense.matmul(x, words, permuted, n)

        times = [
            microseconds([lambda words=words: by_machete(words) for words in machete]),
            microseconds([lambda words=words: by_marlin(words) for words in marlin]),
        ]
        own = ""
        if count <= gemm.MOST_ROWS or count >= UNPACKED_ROWS:
            own = f"{microseconds([lambda words=words: by_ours(words) for words in marlin]):.1f}"
        print(f"| {name} | {k} x {n} | {count} | {times[0]:.1f} | {times[1]:.1f} | {own} |", flush=True)


def main() -> None:
    rows = [int(word) for word in sys.argv[1:]] or [1, 16, 64, 128, 1024, 2048]
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    print("| matrix | k x n | rows | Machete | Marlin | hearth |\n| --- | --- | --- | --- | --- | --- |")
    for name in SHAPES:
        measure(name, rows)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
