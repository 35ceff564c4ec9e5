"""The GPTQModel backend: a model folder and token sequences in, a GPTQ checkpoint out, on CUDA or CPU."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hearth_quantizer.artifact import read_json
from hearth_quantizer.log import Advance
from hearth_quantizer.recipe import Quantization
from hearth_quantizer.refusal import Refusal


class QuantizeError(Refusal):
    """The backend ran, and its result is not to be trusted."""


def quantize(
    source: Path, sequences: Sequence[Sequence[int]], settings: Quantization, out: Path, advance: Advance
) -> None:
    """Write config.json, quantize_config.json and safetensors to `out`; `advance` gets the number of finished layers.

    Raises QuantizeError where a layer was not really calibrated.
    """
    _environment()
    import torch
    from gptqmodel import GPTAQConfig, GPTQModel, QuantizeConfig

    options = settings.options
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
    )
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    model = GPTQModel.load(str(source), config, device=device, trust_remote_code=False)
    model.layer_callback = _LayerCallback(advance)
    rows = [{"input_ids": list(sequence), "attention_mask": [1] * len(sequence)} for sequence in sequences]
    log = model.quantize(rows, batch_size=options.batch_size)
    _trust(log["gptaq" if options.gptaq_alpha else "gptq"])
    model.save(str(out))
    _tidy(out)


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


def _tidy(out: Path) -> None:
    """Drop what describes the run and not the model, so that equal inputs give equal files."""
    import json
    import shutil

    shutil.rmtree(out / "offload", ignore_errors=True)
    (out / "quant_log.csv").unlink(missing_ok=True)
    for name in ("config.json", "quantize_config.json"):
        config = read_json(out / name)
        config.get("quantization_config", config).get("meta", {}).pop("offload_to_disk_path", None)
        (out / name).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


Backend = Callable[[Path, Sequence[Sequence[int]], Quantization, Path, Advance], None]
BACKENDS: dict[str, Backend] = {"gptqmodel": quantize}
