"""The back ends: a 16 bit model and token sequences in, a GPTQ checkpoint out. Their libraries load when they run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hearth_quantizer.backends import auto_gptq, gptqmodel
from hearth_quantizer.log import Advance
from hearth_quantizer.recipe import Quantization


class Backend(Protocol):
    def versions(self) -> dict[str, str]:
        """The libraries and the code that shape a checkpoint of this back end. Raises Refusal where it is missing."""

    def quantize(
        self,
        source: Path,
        sequences: Sequence[Sequence[int]],
        settings: Quantization,
        out: Path,
        advance: Advance,
        device_memory: float | None = None,
    ) -> None:
        """Write config.json, quantize_config.json and safetensors to the folder `out`, in the form `artifact` checks.

        `source` is a model folder, `settings` are this back end's; `advance` gets the number of finished layers.
        `device_memory` is how many GiB of the GPU may be used, None what is free of it. Raises Refusal where that does
        not do.
        """


BACKENDS: dict[str, Backend] = {"gptqmodel": gptqmodel, "auto-gptq": auto_gptq}
