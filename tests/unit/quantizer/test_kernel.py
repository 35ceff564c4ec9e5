"""The CUDA kernel's own part of its build; that GPTQModel takes the library, the image's build finds out."""

import pytest

from hearth_quantizer.backends import kernel


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"], "7.5;8.0;8.6;9.0;10.0;12.0+PTX"),
        (["sm_90"], "9.0+PTX"),
    ],
)
def test_torchs_architectures_as_its_compiler_takes_them(names: list[str], expected: str) -> None:
    assert kernel.architectures(names) == expected
