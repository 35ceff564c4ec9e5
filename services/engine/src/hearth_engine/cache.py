"""Start-up caches: what vLLM finds out about a model class, and Triton's kernels as compiled for one kind of GPU.

Made when the image was built (`make warm`), copied at start to where vLLM may write: the root file system is read-only,
and vLLM both reads and extends its caches. Triton looks a kernel up by its source and the GPU's kind, so what was made
for another kind does no harm.
"""

import os
import shutil
from pathlib import Path


class CacheError(RuntimeError):
    """The cache folder cannot be written."""


def seed(baked: Path, cache: Path) -> str:
    """Copy what `baked` holds and `cache` lacks; says what the start will find. Raises CacheError."""
    kept = _kernels(cache)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for source in baked.rglob("*"):
            target = cache / source.relative_to(baked)
            if source.is_dir():
                target.mkdir(exist_ok=True)
            elif not target.exists():
                shutil.copyfile(source, target)
    except OSError as error:
        raise CacheError(f"HEARTH_CACHE_DIR: {cache} cannot be filled: {error.filename}: {error.strerror}") from None
    if not os.access(cache, os.W_OK):
        raise CacheError(f"HEARTH_CACHE_DIR: {cache} is not writable")
    if made := _kernels(baked):
        return f"{made} compiled kernels come with the image, {_kernels(cache) - made} more from {cache}"
    return f"{kept} compiled kernels are in {cache}"


def _kernels(folder: Path) -> int:
    return sum(1 for _ in folder.glob("triton/*/*.cubin"))
