"""Codes to numbers and back, against packing and rounding done by hand."""

import numpy as np
from numpy.typing import NDArray

from hearth_quantizer import int4


def pack(codes: NDArray[np.int64]) -> NDArray[np.int32]:
    """[inputs, outputs] codes 0 to 15 as [inputs / 8, outputs] int32, the first of eight in the lowest bits."""
    inputs, outputs = codes.shape
    packed = np.zeros((inputs // 8, outputs), np.uint32)
    for row in range(inputs):
        for column in range(outputs):
            packed[row // 8, column] |= np.uint32(codes[row, column]) << np.uint32(4 * (row % 8))
    return packed.view(np.int32)


def test_codes_come_back_as_numbers_in_their_places() -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 16, (64, 16))
    scales = random.uniform(0.001, 0.1, (2, 16)).astype(np.float16)  # groups of 32
    zeros = random.integers(0, 15, (2, 16))  # as stored: one less than meant
    weight = int4.unpack(pack(codes), scales, pack(zeros.T).T)
    assert (weight.dtype, weight.shape) == (np.float32, (16, 64))
    for row in range(64):
        for column in range(16):
            expected = (codes[row, column] - zeros[row // 32, column] - 1) * float(scales[row // 32, column])
            assert np.isclose(weight[column, row], expected, rtol=1e-6)


def test_the_highest_code_does_not_leak_its_sign() -> None:
    """The eighth code of an int32 sits in its sign bit."""
    qzeros = np.full((1, 1), 0x77777777, np.int32)
    weight = int4.unpack(np.full((1, 8), -1, np.int32), np.ones((1, 8), np.float16), qzeros)
    assert weight.tolist() == [[7.0] * 8] * 8


def test_rounding_takes_the_nearest_of_sixteen_values_a_group() -> None:
    weight = np.random.default_rng(1).normal(0, 0.02, (8, 256)).astype(np.float32)
    rounded = int4.round_to_nearest(weight, 128)
    for row in range(8):
        for group in range(2):
            part = weight[row, group * 128 : group * 128 + 128]
            scale = np.float32(np.float16(np.abs(part).max() / np.float32(7.5)))
            grid = np.arange(-8, 8, dtype=np.float32) * scale
            nearest = grid[np.abs(part[:, None] - grid).argmin(axis=1)]
            assert np.allclose(rounded[row, group * 128 : group * 128 + 128], nearest, atol=1e-7)


def test_a_group_of_zeros_stays_zero() -> None:
    assert not int4.round_to_nearest(np.zeros((4, 128), np.float32), 64).any()
