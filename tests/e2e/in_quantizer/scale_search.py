"""Compares our search for scales with the one of GPTQModel that it replaces; runs in the quantizer's image."""

from types import SimpleNamespace

import torch
from gptqmodel.quantization.quantizer import Quantizer

from hearth_quantizer.backends import scales

torch.manual_seed(0)
weights = torch.randn(1280, 128) * torch.rand(1280, 1)
weights[3], weights[4], weights[5], weights[6, 0] = 0, weights[4].abs(), -weights[5].abs(), 9
found = []
for install in (lambda: None, scales.install):
    install()
    quantizer = Quantizer(SimpleNamespace(bits=4, sym=True, mse=2.4, group_size=128, format="gptq", method="gptq"))
    quantizer.configure(perchannel=True)
    quantizer.find_params(weights, weight=True)
    found.append((Quantizer.find_params, quantizer.scale, quantizer.zero))
(own, scale, zero), (ours, other_scale, other_zero) = found
assert own is not ours
assert scale.shape == other_scale.shape
print(
    f"{len(scale)} rows, {int((scale != other_scale).sum())} scales and {int((zero != other_zero).sum())} zeros differ"
)
