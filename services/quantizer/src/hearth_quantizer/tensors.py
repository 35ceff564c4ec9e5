"""Safetensors files read by header: names, dtypes and shapes without loading, values one tensor at a time.

The safetensors package refuses bfloat16 without torch, and the engine's check has to run before torch is imported.
"""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

ITEM_BYTES = {"I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_NUMPY = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I32": "<i4", "I64": "<i8"}
_HEADER_LIMIT = 100_000_000


class TensorFileError(ValueError):
    """A safetensors file whose header and length disagree, or that has no readable header."""


class Tensor(BaseModel):
    """Dtype in safetensors' spelling (`I32`, `F16`, `BF16`), shape as stored, and the file that holds it."""

    model_config = ConfigDict(frozen=True)

    dtype: str
    shape: tuple[int, ...]
    file: str

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


def header(path: Path) -> dict[str, Tensor]:
    """Every tensor of one file. Raises TensorFileError where the file is cut short or is not safetensors."""
    return {
        name: Tensor(dtype=entry["dtype"], shape=tuple(entry["shape"]), file=path.name)
        for name, entry in _entries(path)[0].items()
    }


def values(path: Path, name: str) -> NDArray[Any]:
    """One tensor's values; bfloat16 comes back as float32. Raises KeyError for a name the file lacks."""
    entries, start = _entries(path)
    entry = entries[name]
    begin, end = entry["data_offsets"]
    with path.open("rb") as file:
        file.seek(start + begin)
        raw = np.frombuffer(file.read(end - begin), dtype=_NUMPY[entry["dtype"]])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.reshape(entry["shape"])


def write_bfloat16(path: Path, named: Mapping[str, NDArray[np.float32]]) -> None:
    """A file of these tensors, each value rounded to the nearest bfloat16, ties to even."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, array in named.items():
        begin, end = end, end + array.size * 2
        entries[name] = {"dtype": "BF16", "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in named.values():
            bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
            file.write(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes())


def _entries(path: Path) -> tuple[dict[str, Any], int]:
    """The header's entries and the offset of the data behind it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else _HEADER_LIMIT
        if length > min(size - 8, _HEADER_LIMIT):
            raise TensorFileError(f"{path.name}: is not a safetensors file, or is cut short in its header")
        try:
            entries: dict[str, Any] = json.loads(file.read(length))
            entries.pop("__metadata__", None)
            end = 0
            for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
                begin, stop = entry["data_offsets"]
                if begin != end or stop - begin != math.prod(entry["shape"]) * ITEM_BYTES[entry["dtype"]]:
                    raise TensorFileError(f"{path.name}: {name}: dtype, shape and offsets disagree")
                end = stop
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, TensorFileError):
                raise
            raise TensorFileError(f"{path.name}: its safetensors header cannot be read") from None
    if 8 + length + end != size:
        raise TensorFileError(f"{path.name}: holds {size} bytes, its header describes {8 + length + end}")
    return entries, 8 + length
