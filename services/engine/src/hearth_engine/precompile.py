"""`python -m hearth_engine.precompile FOLDER` compiles the kernels that are for Hopper alone, where no GPU need be.

Compiled one by one at a first start they would take half a minute, so the image brings them in Triton's own cache.
The rest of what a start compiles depends on the model and on vLLM, and takes a GPU (`make warm`).
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from hearth_engine import dense, gemm, gemv

HOPPER = GPUTarget("cuda", 90, 32)


class NoGpu:
    """What Triton asks of a driver in order to compile."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return HOPPER


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m hearth_engine.precompile FOLDER")
    os.environ["TRITON_CACHE_DIR"] = sys.argv[1]
    driver.set_active(NoGpu())
    # Called as they are at work, on tensors without memory; compiled, but not started.
    for kernel in (gemv._gemv, gemm._gemm, dense._unpack):
        kernel.run = partial(_compile, kernel)
    with triton.AsyncCompileMode(ThreadPoolExecutor(os.cpu_count())):
        for k, n in gemv.CONFIGS:
            gemv.gemv(_empty(1, k), *_matrix(k, n), n, *_workspace())
        for k, n, rows in gemm.CONFIGS:
            gemm.gemm(_empty(rows, k), *_matrix(k, n), n, *_workspace())
        dense.matmul(_empty(1024, 512), *_matrix(512, 1024), 1024)


def _compile(kernel: JITFunction[Any], *args: Any, **options: Any) -> Any:
    return JITFunction.run(kernel, *args, **options | {"warmup": True})


def _empty(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _matrix(k: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return _empty(k // 16, 2 * n, dtype=torch.int32), _empty(k // gemv.GROUP, n)


def _workspace() -> tuple[torch.Tensor, torch.Tensor]:
    return _empty(2**31, dtype=torch.float32), _empty(2**10, dtype=torch.int32)


if __name__ == "__main__":
    main()
