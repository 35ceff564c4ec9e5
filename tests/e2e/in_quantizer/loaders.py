"""Runs in the quantizer image: what a GPTQ artifact says when it is dequantized by hand, and when libraries load it.

`python loaders.py FOLDER < prompts.json` takes token ids, a list a prompt. Its last line is JSON: for each way of
loading, ln p of every token but a prompt's first, given those before it. All in float32.
"""

import json
import os
import sys
from pathlib import Path

import torch
from gptqmodel import GPTQModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, Qwen3ForCausalLM

FLOAT = torch.float32


def dequantized(folder: Path, scale: float = 1.0) -> Qwen3ForCausalLM:
    """The plain model with weights (code - 8) x scale; `scale` falsifies those of the first layer."""
    held = load_file(folder / "model.safetensors")
    state = {name: tensor for name, tensor in held.items() if name.endswith((".weight", ".bias"))}
    for name in [name.removesuffix(".qweight") for name in held if name.endswith(".qweight")]:
        packed, scales = held[f"{name}.qweight"], held[f"{name}.scales"].to(FLOAT)
        codes = ((packed[:, None, :] >> torch.arange(0, 32, 4)[None, :, None]) & 15).flatten(0, 1)
        weight = (codes - 8) * scales.repeat_interleave(len(codes) // len(scales), 0)
        state[f"{name}.weight"] = weight.T * (scale if name.startswith("model.layers.0.") else 1.0)
    config = AutoConfig.from_pretrained(folder)
    del config.quantization_config
    model = Qwen3ForCausalLM(config).to(FLOAT)
    missing, unexpected = model.load_state_dict(
        {name: tensor.to(FLOAT) for name, tensor in state.items()}, strict=False
    )
    assert (missing, unexpected) == (["lm_head.weight"], [])  # tied
    return model


def logprobs(model: torch.nn.Module, prompts: list[list[int]]) -> list[list[float]]:
    found = []
    for prompt in prompts:
        with torch.inference_mode():
            every = model(input_ids=torch.tensor([prompt])).logits[0, :-1].to(FLOAT).log_softmax(-1)
        found.append(every.gather(-1, torch.tensor(prompt[1:])[:, None])[:, 0].tolist())
    return found


def main() -> None:
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the libraries talk
    folder, prompts = Path(sys.argv[1]), json.load(sys.stdin)
    models = {
        "by hand": lambda: dequantized(folder),
        "by hand, falsified": lambda: dequantized(folder, 1.05),
        "GPTQModel": lambda: GPTQModel.load(str(folder), device="cpu", dtype=FLOAT).model,
        "transformers": lambda: AutoModelForCausalLM.from_pretrained(folder, device_map="cpu", dtype=FLOAT),
    }
    json.dump({name: logprobs(load().eval(), prompts) for name, load in models.items()}, answer)
    answer.close()
    os._exit(0)  # GPTQModel's threads would keep the process alive


if __name__ == "__main__":
    main()
