"""Symmetric 4 bit weights in groups: GPTQ's codes back to numbers, and rounding to nearest on the same grid."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_SHIFTS = np.arange(0, 32, 4, dtype=np.int32)  # eight codes in an int32, the first in its lowest bits


def unpack(qweight: NDArray[np.int32], scales: NDArray[np.floating], qzeros: NDArray[np.int32]) -> Floats:
    """The dense weight [outputs, inputs] of a GPTQ linear in AutoGPTQ's first format, inputs in their natural order.

    qweight [inputs / 8, outputs], scales [groups, outputs], qzeros [groups, outputs / 8] with zero points one less
    than meant.
    """
    groups, outputs = scales.shape
    codes = ((qweight[:, None, :] >> _SHIFTS[:, None]) & 15).astype(np.int8).reshape(groups, -1, outputs)
    zeros = (((qzeros[:, :, None] >> _SHIFTS) & 15) + 1).astype(np.int8).reshape(groups, 1, outputs)
    weight = (codes - zeros).astype(np.float32) * scales.astype(np.float32)[:, None, :]
    return np.ascontiguousarray(weight.reshape(-1, outputs).T)


def round_to_nearest(weight: Floats, group_size: int) -> Floats:
    """The weight [outputs, inputs] with each value at its nearest code, no calibration: what GPTQ has to beat.

    The scale of a group spreads 16 codes from -8 to 7 over its largest magnitude, and is kept in float16 as in a file.
    """
    outputs, inputs = weight.shape
    groups = weight.reshape(outputs, inputs // group_size, group_size)
    scales = (np.abs(groups).max(axis=2, keepdims=True) / np.float32(7.5)).astype(np.float16).astype(np.float32)
    codes = np.clip(np.rint(groups / np.where(scales > 0, scales, np.float32(1))), -8, 7)
    rounded: Floats = (codes * scales).reshape(outputs, inputs)
    return rounded
