"""Start-up caches: made in the image at build time, copied at start to where vLLM may write.

The root file system is read-only, and vLLM both reads and extends its caches.
"""

import os
import shutil
from pathlib import Path


class CacheError(RuntimeError):
    """The cache folder cannot be written."""


def seed(baked: Path, cache: Path) -> None:
    """Copy what `baked` holds and `cache` lacks. Raises CacheError."""
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
