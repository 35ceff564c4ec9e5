"""The back end gptqmodel: GPTQModel, in this process, on CUDA or CPU."""

import math
import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hearth_quantizer import memory, tensors
from hearth_quantizer.artifact import Model, read_json, sha256
from hearth_quantizer.backends import kernel, scales
from hearth_quantizer.log import Advance
from hearth_quantizer.memory import Placement
from hearth_quantizer.recipe import GptqmodelQuantization, Quantization
from hearth_quantizer.refusal import Refusal


class QuantizeError(Refusal):
    """GPTQModel ran, and its result is not to be trusted."""


def versions() -> dict[str, str]:
    """GPTQModel's version, and digests of the modules that drive it."""
    code = "-".join(sha256(Path(str(file)))[:12] for file in (__file__, scales.__file__))
    try:
        return {"gptqmodel": version("gptqmodel"), "gptqmodel_code": code}
    except PackageNotFoundError:
        raise Refusal("back end gptqmodel: GPTQModel is not installed here; the quantizer image has it") from None


def quantize(
    source: Path,
    sequences: Sequence[Sequence[int]],
    settings: Quantization,
    out: Path,
    advance: Advance,
    device_memory: float | None = None,
) -> None:
    """See `Backend`. Raises QuantizeError where a layer was not really calibrated."""
    assert isinstance(settings, GptqmodelQuantization)
    _environment()
    import torch
    from gptqmodel import GPTAQConfig, GPTQModel, QuantizeConfig

    kernel.load()
    scales.install()
    options = settings.options
    placement = _place(source, sequences, options.batch_size, device_memory)
    config = QuantizeConfig(
        bits=settings.bits,
        group_size=settings.group_size,
        desc_act=settings.desc_act,
        sym=settings.sym,
        damp_percent=options.damp_percent,
        mse=options.mse,
        act_group_aware=options.act_group_aware,
        gptaq=GPTAQConfig(alpha=options.gptaq_alpha) if options.gptaq_alpha else None,
        offload_to_disk_path=str(out / "offload"),
        # Unset, GPTQModel keeps a layer's inputs and outputs where the layer is.
        calibration_data_device=None if placement.activations_on_device else "cpu",
        # A layer that is still being packed while the next one is at work takes memory that was not counted.
        wait_for_submodule_finalizers=device_memory is not None,
    )
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    model = GPTQModel.load(str(source), config, device=device, dtype=_dtype(source), trust_remote_code=False)
    model.layer_callback = _LayerCallback(advance)
    rows = [{"input_ids": list(sequence), "attention_mask": [1] * len(sequence)} for sequence in sequences]
    log = model.quantize(rows, batch_size=placement.batch_size)
    _trust(log["gptaq" if options.gptaq_alpha else "gptq"])
    model.save(str(out))
    _tidy(out)
    _to_bfloat16(out)


def _place(source: Path, sequences: Sequence[Sequence[int]], batch_size: int, device_memory: float | None) -> Placement:
    """On the CPU nothing is placed: host memory holds everything, and activations are where they are needed."""
    import torch

    if not torch.cuda.is_available():
        return Placement(batch_size=batch_size, activations_on_device=True)
    free, total = torch.cuda.mem_get_info()
    available = free if device_memory is None else min(free, round(device_memory * memory.GIB)) - memory.CONTEXT
    if device_memory is not None:
        torch.cuda.set_per_process_memory_fraction(max(0, available) / total)
    model = Model.from_config(read_json(source / "config.json"))
    return memory.place(model, len(sequences), max(map(len, sequences)), batch_size, available)


class _LayerCallback:
    def __init__(self, advance: Advance) -> None:
        self.advance = advance

    def layer_complete(self, *, layer_idx: int, submodule_finalized: bool) -> None:
        if submodule_finalized:
            self.advance(layer_idx + 1)


def _environment() -> None:
    """GPTQModel reads these when it is imported."""
    if len(os.sched_getaffinity(0)) <= 2:
        os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # its loader asks for two workers and gets one
    os.environ.setdefault("GPTQMODEL_DISABLE_PACK_EXT", "1")  # else it compiles C++ for longer than packing takes
    os.environ.setdefault("LOGBAR_ANIMATION", "0")
    os.environ.setdefault("LOGBAR_PROGRESS_OUTPUT_INTERVAL", "1000")  # redrawing bars costs a tenth of the time


def _trust(log: Sequence[dict[str, Any]]) -> None:
    """GPTQModel rounds to nearest where calibration fails a layer, and says so only in its log's loss column."""
    for entry in log:
        try:
            loss = float(entry["loss"])
        except ValueError:
            loss = math.nan
        if not math.isfinite(loss):
            raise QuantizeError(f"layer {entry['layer']} {entry['module']}: was not calibrated (loss {entry['loss']})")


def _dtype(source: Path) -> Any:
    """What layers compute in; "auto" is as the weights are stored.

    On a CPU float32: the bfloat16 kernels of CPUs differ, and the weights that one machine makes would pass a gate that
    another's miss. A model that does not fit twice over stays as it is, unless the CPU has no such kernel: then that
    would be five times slower.
    """
    import torch

    if torch.cuda.is_available():
        return "auto"
    stored = sum(path.stat().st_size for path in source.glob("*.safetensors"))
    fits = 4 * stored < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.float32 if fits or not native else "auto"


def _to_bfloat16(out: Path) -> None:
    """Give the tensors that are not quantized 16 bits again, where layers were computed in float32."""
    import torch
    from safetensors.torch import load_file, save_file

    for path in out.glob("*.safetensors"):
        if any(tensor.dtype == "F32" for tensor in tensors.header(path).values()):
            held = load_file(path)
            halved = {k: v.to(torch.bfloat16) if v.dtype == torch.float32 else v for k, v in held.items()}
            save_file(halved, path, {"format": "pt"})


def _tidy(out: Path) -> None:
    """Drop what describes the run and not the model, so that equal inputs give equal files."""
    import json
    import shutil

    shutil.rmtree(out / "offload", ignore_errors=True)
    (out / "quant_log.csv").unlink(missing_ok=True)
    for name in ("config.json", "quantize_config.json"):
        config = read_json(out / name)
        config.get("quantization_config", config).get("meta", {}).pop("offload_to_disk_path", None)
        if config.get("dtype") == "float32":
            config["dtype"] = "bfloat16"  # see _to_bfloat16
        (out / name).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
