"""The CUDA kernel of GPTQ's inner loop, the update of 128 columns: GPTQModel's own source, compiled ahead.

GPTQModel compiles it at its first use and, where that fails, goes on without a word in PyTorch, four times slower. The
quantizer's CUDA image has the library in nvcc's stead. Run as a script by the image's build, which has both:
`kernel.py LIBRARY`. It needs nothing but GPTQModel, so that a change of the quantizer does not run it again.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

LIBRARY = "HEARTH_GPTQ_KERNEL"  # set in the image that has it


def load() -> None:
    """Register the operator, if this image has it: GPTQModel takes one that is there before it asks for a compiler.

    Raises OSError where there is no such library or this torch cannot load it.
    """
    import torch

    if library := os.environ.get(LIBRARY):
        torch.ops.load_library(library)


def build(library: Path) -> None:
    """Compile for every GPU that this torch has kernels for; none need be here. Raises where that fails."""
    import torch
    from gptqmodel.quantization import gptq_cuda
    from torch.utils import cpp_extension

    os.environ["TORCH_CUDA_ARCH_LIST"] = architectures(torch.cuda.get_arch_list())
    # GPTQModel's default is eight compilers at once, whatever the machine.
    os.environ.setdefault("NVCC_THREADS", str(len(os.sched_getaffinity(0))))
    extension = gptq_cuda._EXTENSION
    with tempfile.TemporaryDirectory() as folder:
        cpp_extension.load(
            name=extension.name,
            sources=extension.sources(),
            extra_cflags=extension.extra_cflags,
            extra_cuda_cflags=extension.extra_cuda_cflags(),
            build_directory=folder,
            is_python_module=False,
            verbose=True,
        )
        if not gptq_cuda.block_update_available():
            raise RuntimeError(f"GPTQModel does not find its operator: {extension.last_error_message()}")
        library.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(folder) / f"{extension.name}.so", library)


def architectures(names: Iterable[str]) -> str:
    """torch's names (sm_86, sm_120) as its compiler wants them; newer GPUs than the last translate that one's PTX."""
    return ";".join(f"{name[3:-1]}.{name[-1]}" for name in names) + "+PTX"


if __name__ == "__main__":
    build(Path(sys.argv[1]))
