"""INT4 weights as the numbers that they stand for, where a CPU has no kernel that reads them packed.

What is served is the verified artifact all the same: each weight is (code - zero point) x scale, rounded to bfloat16 as
the kernels round it, and the canary is asked as ever. It costs memory and speed, not quality: vLLM computes at 32 bit.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hearth_quantizer import int4, tensors
from hearth_quantizer.manifest import MANIFEST, Manifest

_PARTS = ("qweight", "scales", "qzeros", "g_idx")
_OF_PACKED = (
    "quantize_config.json",
    "model.safetensors.index.json",
)  # what says how, and in which file, they are packed


def unpack(source: Path, manifest: Manifest, target: Path) -> None:
    """Write an unquantized model of the artifact in `source` into `target`, a file at a time."""
    target.mkdir(parents=True, exist_ok=True)
    for name in (*manifest.files, MANIFEST):
        if not name.endswith(".safetensors") and name not in _OF_PACKED:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)
    config = json.loads((source / "config.json").read_text("utf-8"))
    config.pop("quantization_config", None)
    (target / "config.json").write_text(json.dumps(config, indent=2), "utf-8")
    for file in sorted({tensor.file for tensor in manifest.tensors.values()}):
        tensors.write_bfloat16(target / file, dict(_of_file(source, manifest, file)))


def forget(target: Path) -> None:
    """Remove the weights once they are loaded; where the folder is in memory, that gives it back."""
    for path in target.glob("*.safetensors"):
        path.unlink()


def _of_file(source: Path, manifest: Manifest, file: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Every 16-bit tensor that belongs into one file: a linear goes where its codes are."""
    held = manifest.tensors
    for name, tensor in held.items():
        linear, _, part = name.rpartition(".")
        if tensor.file != file or (part in _PARTS and part != "qweight"):
            continue
        if part == "qweight":
            of = (tensors.values(source / held[key].file, key) for key in (f"{linear}.{part}" for part in _PARTS[:3]))
            yield f"{linear}.weight", int4.unpack(*of)
        else:
            yield name, tensors.values(source / file, name).astype(np.float32)
