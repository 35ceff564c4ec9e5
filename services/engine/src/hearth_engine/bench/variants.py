"""What is compared: the model at 16 bit and as INT4 by vLLM's own defaults, and INT4 as the plan has it. Pure."""

import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from hearth_engine.hardware import Cpu, Hardware
from hearth_engine.memory import KvType
from hearth_engine.settings import Settings
from hearth_quantizer.manifest import Manifest

Name = Literal["bf16", "int4", "hearth", "hearth-roomy"]
PORT = 8100
STOCK = "vllm.entrypoints.launchers.api_server.entry"
_BLOCK = 128  # tokens; a multiple of every block size that vLLM chooses by itself


class Variant(BaseModel):
    """One way to serve the model: a command whose server listens on PORT, and variables on top of the process's own."""

    model_config = ConfigDict(frozen=True)

    name: Name
    title: str
    model_dir: str
    served_name: str
    command: tuple[str, ...]
    environment: dict[str, str]


def stock(name: Literal["bf16", "int4"], folder: Path, context: int, manifest: Manifest, hardware: Hardware) -> Variant:
    """vLLM with its defaults, but for the context and a KV cache of just that many tokens at 16 bit.

    Without the second, vLLM takes 92 % of the device whatever the model needs, and memory could not be compared. The
    KV cache gets one block more, which vLLM keeps for itself.
    """
    kv_bytes = KvType(name="bfloat16", backend="").bytes_per_token(manifest) * (-(-context // _BLOCK) + 1) * _BLOCK
    flags = ["--model", str(folder), "--max-model-len", str(context), "--kv-cache-memory-bytes", str(kv_bytes)]
    environment = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if isinstance(hardware, Cpu):
        # Compiled for the CPU a model wants a C++ compiler, which the image has not.
        flags.append("--enforce-eager")
        environment |= {"TORCHDYNAMO_DISABLE": "1"}
    else:
        # FlashInfer compiles its sampler with nvcc, which the image has not; without, it ends the engine.
        environment |= {"VLLM_USE_FLASHINFER_SAMPLER": "0"}
    return Variant(
        name=name,
        title={"bf16": "16 bit, stock vLLM", "int4": "INT4, stock vLLM"}[name],
        model_dir=str(folder),
        served_name=str(folder),
        command=(sys.executable, "-m", STOCK, "--host", "127.0.0.1", "--port", str(PORT), *flags),
        environment=environment,
    )


def hearth(manifest: Manifest, settings: Settings, *, budget_gib: float | None = None) -> Variant:
    """The engine as it is served: verified, planned, watched. `budget_gib` replaces the setting."""
    roomy = {} if budget_gib is None else {"HEARTH_VRAM_BUDGET_GIB": f"{budget_gib:.2f}"}
    return Variant(
        name="hearth-roomy" if roomy else "hearth",
        title="INT4, hearth, in the memory of 16 bit" if roomy else "INT4, hearth",
        model_dir=str(settings.model_dir),
        served_name=manifest.recipe.serving.served_name,
        command=(sys.executable, "-m", "hearth_engine", "serve"),
        environment={"HEARTH_ENGINE_HOST": "127.0.0.1", "HEARTH_ENGINE_PORT": str(PORT), **roomy},
    )
