"""What runs in AutoGPTQ's own Python: a job on stdin, the weights of a GPTQ checkpoint in the job's folder `out`.

AutoGPTQ went unmaintained before Qwen3 came. What it lacks is added from outside: the model's class, the CPU, and
weights that other loaders take: it writes the tied head a second time, a bias for each linear, and one file of its own
name whatever the size.
"""

import json
import sys
from pathlib import Path

import torch
from auto_gptq.modeling import _base
from huggingface_hub import save_torch_state_dict
from transformers import Qwen3Config, Qwen3ForCausalLM


class Qwen3GPTQ(_base.BaseGPTQForCausalLM):  # type: ignore[misc]
    layer_type = "Qwen3DecoderLayer"
    layers_block_name = "model.layers"
    outside_layer_modules = ["model.embed_tokens", "model.norm"]  # noqa: RUF012
    inside_layer_modules = [  # noqa: RUF012
        ["self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj"],
        ["self_attn.o_proj"],
        ["mlp.up_proj", "mlp.gate_proj"],
        ["mlp.down_proj"],
    ]


def main() -> None:
    job = json.load(sys.stdin)
    config = Qwen3Config(**job["config"])
    model = Qwen3ForCausalLM.from_pretrained(job["source"], config=config, torch_dtype="auto")
    stored = model.dtype
    if not torch.cuda.is_available():
        model.float()  # many CPUs are slow at 16 bit
        _base.CUDA_0 = torch.device("cpu")
        torch.cuda.synchronize = lambda: None
    wrapper = Qwen3GPTQ(model, False, _base.BaseQuantizeConfig(**job["quantization"]))
    # One row at a time: AutoGPTQ would count padding as calibration. Rows wait in host memory.
    rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in job["sequences"]]
    wrapper.quantize(rows, batch_size=1, cache_examples_on_gpu=False)
    save_torch_state_dict(_state(model, stored), job["out"])
    for path in Path(job["out"]).glob("*.safetensors"):
        path.chmod(0o644)  # they come for their owner's eyes only, and the engine is another user


def _state(model: Qwen3ForCausalLM, stored: torch.dtype) -> dict[str, torch.Tensor]:
    """The checkpoint's tensors: what was not quantized as the source has it, scales in half precision."""
    state: dict[str, torch.Tensor] = model.cpu().state_dict()
    if model.config.tie_word_embeddings:
        del state["lm_head.weight"]
    return {
        name: tensor.to(torch.float16 if name.endswith(".scales") else stored) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
        if not name.endswith(".bias") or tensor.any()
    }


if __name__ == "__main__":
    main()
