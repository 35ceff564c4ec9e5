"""GPTQModel's search for a group's scales (`mse`), all candidates at once.

GPTQModel tries 80 scales one after another, a dozen operations on a few hundred rows each. Threads of a busy CPU spend
their time waiting for one another, a GPU its time waiting for launches. Here the same candidates are compared in a few
large operations; the scales that come out are the same.
"""

from typing import Any

CHUNK = 1 << 19  # candidate values at once on a CPU: what its caches hold
CHUNK_ON_DEVICE = 1 << 26


def search(x: Any, low: Any, high: Any, zero: float, maxq: int, power: float, steps: int, grid: int) -> Any:
    """The scale of each row of `x` (rows × group size) among `steps` shrunken ranges with the least sum of
    |rounded - x| ** power.

    `low` and `high` are the rows' ranges. The first of equals wins, as in gptqmodel.quantization.quantizer, whose
    float32 arithmetic this repeats.
    """
    import torch

    shrink = 1 - torch.arange(steps, dtype=torch.float64)[:, None] / grid
    shrink = shrink.to(x)
    scales = (shrink * high - shrink * low) / maxq
    rows = max(1, (CHUNK_ON_DEVICE if x.is_cuda else CHUNK) // (steps * x.shape[1]))
    best = []
    for scale, part in zip(scales.split(rows, 1), x.split(rows), strict=True):
        each = scale[:, :, None]
        error = (part / each).round_().add_(zero).clamp_(0, maxq).sub_(zero).mul_(each).sub_(part)
        best.append(error.abs_().pow_(power).sum(2).argmin(0))
    return scales.gather(0, torch.cat(best)[None])[0]


def install() -> None:
    """Makes GPTQModel's quantizer search this way; weights and settings it would not fit are left to GPTQModel."""
    import torch
    from gptqmodel.quantization.quantizer import Quantizer

    whole = Quantizer.find_params
    if getattr(whole, "hearth", False):
        return

    def find_params(self: Any, x: Any, weight: bool = False) -> None:
        mse = float(self.qcfg.mse or 0)
        usual = weight and self.perchannel and self.qcfg.sym and self.qcfg.group_size > 0 and x.ndim == 2
        if not mse or not usual:
            whole(self, x, weight)
            return
        low, high = torch.aminmax(x, dim=1)
        top = torch.maximum(low.abs(), high)
        low, high = torch.where(low < 0, -top, 0), torch.where(top == 0, 1, top)
        low = torch.where(top == 0, -1, low)  # a row of zeros has scales, too
        zero = (self._maxq_value + 1) / 2
        steps = int(self.maxshrink * self.grid)
        self.maxq = self.maxq.to(x.device)
        self.scale = search(x, low, high, zero, self._maxq_value, mse, steps, self.grid)[:, None]
        self.zero = torch.full_like(self.scale, zero)

    find_params.hearth = True  # type: ignore[attr-defined]
    Quantizer.find_params = find_params
