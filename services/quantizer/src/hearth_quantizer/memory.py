"""How a run fits into the device's memory: a pure function of the model's shape and what the device has."""

from pydantic import BaseModel, ConfigDict

from hearth_quantizer.artifact import Model
from hearth_quantizer.refusal import Refusal

GIB = 1 << 30
# Beside what the allocator hands out: CUDA's context, cuBLAS and cuSOLVER with their kernels.
CONTEXT = 3 * GIB // 4
_HESSIANS = 5  # of the widest linear at once: sums, this batch's product, and three while it is inverted
_MATRICES = 6  # float32 copies of the largest weight: permuted, rounded, losses, and the scale search's trial


class TooSmallError(Refusal):
    """The device's memory cannot hold one layer's work."""


class Placement(BaseModel):
    """Rows a batch, and whether the calibration activations stay on the device between layers or in host memory."""

    model_config = ConfigDict(frozen=True)

    batch_size: int
    activations_on_device: bool


def place(model: Model, rows: int, tokens: int, batch_size: int, available: int) -> Placement:
    """Place `rows` of at most `tokens` tokens, in batches of at most `batch_size`, in `available` bytes of the device.

    Layers are quantized one at a time, so weights of the others need no room. Activations of all rows are kept twice
    (a layer's inputs and outputs); moving them costs time only, and so do smaller batches: the result is the same.
    Raises TooSmallError where a batch of one does not fit.
    """
    activations = 2 * rows * tokens * model.hidden_size * 2
    for on_device in (True, False):
        size = batch_size
        while size:
            needed = working_bytes(model, size * tokens) + (activations if on_device else 0)
            if needed <= available:
                return Placement(batch_size=size, activations_on_device=on_device)
            size = 0 if on_device else size // 2
    needed = working_bytes(model, tokens) + CONTEXT
    raise TooSmallError(
        f"device memory: one layer at a time needs {needed / GIB:.1f} GiB, {(available + CONTEXT) / GIB:.1f} GiB "
        "may be used; raise --device-memory, or hide the GPU with CUDA_VISIBLE_DEVICES= to quantize on the CPU"
    )


def working_bytes(model: Model, tokens: int) -> int:
    """Bytes of the device for one layer and a batch of `tokens` tokens."""
    linears = [size for name, size in model.linears().items() if name.startswith("model.layers.0.")]
    weights = 2 * sum(inputs * outputs for inputs, outputs in linears) * 2  # the layer before is let go late
    widest = max(inputs for inputs, _ in linears)
    largest = max(inputs * outputs for inputs, outputs in linears)
    # Of the MLP, gate, up and their product at 16 bit and one at 32 bit, which is what Hessians are summed from.
    batch = tokens * model.intermediate_size * (3 * 2 + 4)
    return weights + _HESSIANS * widest**2 * 4 + _MATRICES * largest * 4 + batch
