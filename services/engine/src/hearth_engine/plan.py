"""The plan: every flag and variable that vLLM is started with, and why, decided from manifest, settings and hardware.

`plan` is pure: the same three inputs give the same plan, on any machine. Tests compare whole plans with golden files.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from hearth_engine import graphs, memory
from hearth_engine.hardware import INT4_CPU_FLAGS, Cpu, Gpu, Hardware
from hearth_engine.memory import GIB, Fit, KvType, Line, gib
from hearth_engine.settings import Settings
from hearth_quantizer.manifest import Manifest

# Qwen3-4B with 32,768 tokens fits in 6 GiB with 8-bit KV; a bigger share of the card is the user's to give.
DEFAULT_BUDGET = 6 * GIB
CARD_RESERVE = GIB  # for the display and other programs
# The shortest context that a plan chooses by itself: with less, an agent's tools and one result of theirs do not fit.
LEAST_CONTEXT = 8192
MIN_CAPABILITY = (8, 0)
# What speculation looks for, the last 2 to 4 tokens, and how many it then proposes (docs/benchmarks.md, "Speculation").
NGRAM = {"num_speculative_tokens": 4, "prompt_lookup_min": 2, "prompt_lookup_max": 4}
# vLLM imports it by name; this module does not, because a plan needs no web server.
CANARY = "hearth_engine.canary.CanaryMiddleware"


class PlanError(ValueError):
    """No plan is possible; the message says what to change."""


class Plan(BaseModel):
    """What will run.

    Memory is in bytes, context and KV cache in tokens. `model_dir` is the folder that vLLM reads; `unpack` says that
    the launcher puts the artifact's weights there, unpacked. `flags` holds one tuple for each flag, name first;
    `notes` says what was given up and why.
    """

    model_config = ConfigDict(frozen=True)

    hardware: str
    device: Literal["cpu", "cuda"]
    model_dir: str
    unpack: bool
    served_names: tuple[str, ...]
    context_length: int
    kv_cache_type: str
    kv_cache_tokens: int
    memory_budget: int
    memory: tuple[Line, ...]
    flags: tuple[tuple[str, ...], ...]
    environment: dict[str, str]
    notes: tuple[str, ...]

    @property
    def command(self) -> list[str]:
        """The whole command line; the CPU wheel's `vllm` command fails, the module that it runs does not."""
        return [sys.executable, "-m", "hearth_engine.lean", *(word for flag in self.flags for word in flag)]

    @property
    def memory_planned(self) -> int:
        """Bytes of all lines together."""
        return _sum(self.memory)


def plan(manifest: Manifest, settings: Settings, hardware: Hardware) -> Plan:
    """Decide everything. Raises PlanError where the model, the settings and the hardware do not go together."""
    context = settings.context_length or manifest.recipe.serving.context_length
    longest = manifest.model.max_position_embeddings
    if context > longest:
        raise PlanError(f"a context of {context} tokens is longer than the model's {longest} positions")
    try:
        match hardware:
            case Gpu():
                return _on_gpu(manifest, settings, hardware, context)
            case Cpu():
                return _on_cpu(manifest, settings, hardware, context)
    except memory.FitError as error:
        more = _or_more_memory(settings, hardware, error.missing)
        raise PlanError(f"{error}; set HEARTH_CONTEXT_LENGTH{more}") from None


def kv_types(capability: tuple[int, int], wanted: str) -> list[KvType]:
    """Types in order of preference, each with the backend that reads it on a GPU of this compute capability.

    `wanted` is one type's name, or `auto` for every type that the image can serve as it is.
    """
    if wanted == "int4_per_token_head":  # half of the memory for some of the quality: nobody gets it unasked
        return [KvType(name=wanted, backend="TRITON_ATTN")]
    bfloat16 = KvType(name="bfloat16", backend="FLASH_ATTN")
    int8 = KvType(name="int8_per_token_head", backend="TRITON_ATTN")
    if capability[0] == 9:
        known = [bfloat16, KvType(name="fp8", backend="FLASH_ATTN"), int8]
    elif capability >= (8, 9):
        known = [bfloat16, KvType(name="fp8", backend="TRITON_ATTN"), int8]
    else:  # no instruction converts fp8, and only FlashInfer reads it, with kernels that it compiles by nvcc
        known = [bfloat16, int8, KvType(name="fp8", backend="FLASHINFER")]
    return [kv for kv in known if wanted == kv.name or (wanted == "auto" and kv.backend != "FLASHINFER")]


def _on_gpu(manifest: Manifest, settings: Settings, gpu: Gpu, context: int) -> Plan:
    if gpu.capability < MIN_CAPABILITY:
        raise PlanError(
            f"{gpu.name} has compute capability {_dotted(gpu.capability)}; "
            f"bfloat16 and the INT4 kernels need {_dotted(MIN_CAPABILITY)} or newer"
        )
    hopper = gpu.capability[0] == 9
    # Hopper computes a step of 1024 tokens in less time than Python takes to ask for it.
    tokens = settings.max_num_batched_tokens or (2048 if hopper else 1024)
    sequences, block = settings.max_num_seqs or 64, 16
    budget = _gpu_budget(settings, gpu)
    # Each request brings its next token and what is proposed to follow it, and each of those is sampled.
    speculates = settings.speculation == "ngram"
    step = 1 + NGRAM["num_speculative_tokens"] if speculates else 1
    wanted, notes = settings.kv_cache_dtype, []
    types = kv_types(gpu.capability, wanted)
    decoding = [size * step for size in graphs.decode_sizes(sequences)]
    # With Triton's attention they took 200 MiB, and a long prompt as long as without; elsewhere they were not measured.
    suits = hopper and types[0].backend == "FLASH_ATTN" and not speculates
    prompts = graphs.prompt_sizes(sequences, tokens) if suits else []
    engine = memory.on_gpu(
        manifest, batched_tokens=tokens, sequences=sequences * step, decoding=len(decoding), prompts=len(prompts),
        hopper=hopper,
    )  # fmt: skip

    def by_context(positions: int) -> list[Line]:
        searched = [memory.history(sequences, positions)] if speculates else []
        return [memory.rotary(manifest, positions), *searched]

    def fit_in(budget: int, context: int) -> Fit:
        return memory.fit(
            manifest, context=context, sequences=sequences, left=budget - _sum([memory.weights(manifest), *engine]),
            kv_types=types, block=block, position_bytes=_sum(by_context(1)),
        )  # fmt: skip

    try:
        fit = fit_in(budget, context)
    except memory.FitError as error:
        if settings.context_length is not None:
            raise
        stretched = budget + error.missing
        if settings.vram_budget_gib is None and stretched <= gpu.memory_bytes - CARD_RESERVE:
            # Where nobody chose a budget, the recipe's context matters more than the last few MiB.
            notes.append(f"{gib(stretched)} in place of the default {gib(budget)}: {context} tokens need it")
            budget, fit = stretched, fit_in(stretched, context)
        elif error.longest >= LEAST_CONTEXT:
            notes.append(f"a context of {error.longest} tokens: the recipe's {context} do not fit in {gib(budget)}")
            context = error.longest
            fit = fit_in(budget, context)
        else:
            raise
    if wanted == "auto" and fit.kv.name != "bfloat16":
        notes.append(f"KV cache as {fit.kv.name}: {context} tokens at 16 bit do not fit in {gib(budget)}")
    if fit.kv.backend == "FLASHINFER":
        if speculates:
            raise PlanError(
                "HEARTH_SPECULATION=ngram: FlashInfer, which reads an fp8 KV cache on this GPU, has no CUDA graphs for "
                "steps of several tokens, and would lose more than they save; set HEARTH_KV_CACHE_DTYPE=auto"
            )
        notes.append("FlashInfer compiles its kernels at the first start with nvcc, which the image does not have")
    return _plan(
        manifest,
        settings,
        device="cuda",
        model_dir=settings.model_dir,
        dtype="bfloat16",
        hardware=f"{gpu.name}, compute capability {_dotted(gpu.capability)}, {gib(gpu.memory_bytes)}",
        context=context,
        sequences=sequences,
        tokens=tokens,
        servers=settings.api_servers or 2,
        block=block,
        budget=budget,
        overhead=[memory.weights(manifest), *by_context(context), *engine],
        fit=fit,
        flags=[
            # A fraction of the whole card. It sizes nothing beside the explicit KV cache, but vLLM refuses to start
            # unless this much is free, so the default of 0.92 would fail beside a desktop.
            ("--gpu-memory-utilization", f"{int(budget / gpu.memory_bytes * 10_000) / 10_000:.4f}"),
            ("--kv-cache-dtype", fit.kv.name),
            ("--attention-backend", fit.kv.backend),
            # No torch.compile: it cost 100 s at a first start, 640 MiB that were not given back, and half of every
            # later start, for what a few kernels of ours do as well (kernels.py). Graphs leave nothing to Python
            # between two tokens, and little with prompts (graphs.py).
            (
                "--compilation-config",
                json.dumps(
                    {
                        "mode": 0,
                        "cudagraph_mode": "FULL_AND_PIECEWISE" if prompts else "FULL_DECODE_ONLY",
                        "cudagraph_capture_sizes": sorted({*decoding, *prompts}),
                    }
                ),
            ),
            # It tunes kernels that none of this uses, by another run of a whole step.
            ("--no-enable-flashinfer-autotune",),
            # The table of rotary embeddings is as long as what can be asked for, not as what the model was trained for.
            ("--hf-overrides", json.dumps({"max_position_embeddings": context})),
            # Searched on the GPU: the search on the CPU would put an end to scheduling one step ahead.
            *_speculation(settings, "ngram_gpu"),
        ],
        environment={
            # PyTorch gives cuBLAS 32 MiB on Hopper, four times over; with 2 nothing was slower (docs/benchmarks.md).
            "CUBLAS_WORKSPACE_CONFIG": ":1024:2",
            "FLASHINFER_WORKSPACE_BASE": str(settings.cache_dir),
            "HEARTH_DEVICE": "cuda",
            # Blocks of PyTorch's memory that grow: of those with a fixed size about 100 MiB lay idle.
            "PYTORCH_ALLOC_CONF": "expandable_segments:True",
            "TORCHDYNAMO_DISABLE": "1",
            "TRITON_CACHE_DIR": str(settings.cache_dir / "triton"),
            # vLLM prefers Machete on Hopper. Our kernels read Marlin's layout, and are nearly as fast with prompts and
            # faster with all else (docs/benchmarks.md, "Kernels"); elsewhere there is no Machete.
            "VLLM_DISABLED_KERNELS": "MacheteLinearKernel",
            # Graphs of prompts without a compiler: they end before each attention.
            **({"VLLM_USE_BREAKABLE_CUDAGRAPH": "1"} if prompts else {}),
            # FlashInfer's sampler is compiled by nvcc at the first start, which an image without nvcc cannot do.
            "VLLM_USE_FLASHINFER_SAMPLER": "0",
        },
        notes=notes,
    )


def _speculation(settings: Settings, method: str) -> list[tuple[str, str]]:
    if settings.speculation == "off":
        return []
    return [("--speculative-config", json.dumps({"method": method, **NGRAM}))]


def _gpu_budget(settings: Settings, gpu: Gpu) -> int:
    if settings.vram_budget_gib is None:
        return min(DEFAULT_BUDGET, gpu.memory_bytes - CARD_RESERVE)
    budget = int(settings.vram_budget_gib * GIB)
    if budget > gpu.memory_bytes:
        raise PlanError(
            f"HEARTH_VRAM_BUDGET_GIB: {gib(budget)} is more than {gpu.name} has; at most {gib(gpu.memory_bytes)}"
        )
    return budget


def _on_cpu(manifest: Manifest, settings: Settings, cpu: Cpu, context: int) -> Plan:
    notes = ["no torch.compile on the CPU: it would add a minute to each first start and need a C++ compiler"]
    model_dir, weights, dtype = settings.model_dir, [memory.weights(manifest)], "bfloat16"
    if missing := sorted(INT4_CPU_FLAGS - cpu.flags):
        if "avx2" not in cpu.flags:
            raise PlanError(f"vLLM for CPUs needs AVX2, its INT4 kernel AVX-512; {cpu.name} has neither")
        # Without AVX-512 arithmetic at 16 bit is emulated: a prompt took seven times as long as at 32.
        model_dir, weights, dtype = settings.cache_dir / "unpacked", memory.unpacked(manifest), "float32"
        notes.append(
            f"vLLM's INT4 kernel needs AVX-512 ({', '.join(missing)} missing): the weights are unpacked to 32 bit, "
            f"{gib(weights[0].bytes)} in place of {gib(manifest.weights_bytes)}"
        )
    sequences, tokens, block = settings.max_num_seqs or 16, settings.max_num_batched_tokens or 1024, 128
    servers = settings.api_servers or 1
    threads = settings.cpu_threads or cpu.cores
    overhead = [
        *weights,
        memory.rotary(manifest, manifest.model.max_position_embeddings),
        Line(name="processes", bytes=memory.CPU_PROCESSES, why="API server and engine, measured"),
    ]
    if settings.speculation == "ngram":
        overhead.append(
            Line(name="speculation", bytes=memory.CPU_SPECULATION, why="numba and what it compiles, measured")
        )
    fit = memory.fit(
        manifest,
        context=context,
        sequences=sequences,
        left=cpu.memory_bytes - _sum(overhead),
        kv_types=[KvType(name=dtype, backend="CPU_ATTN")],
        block=block,
    )
    if settings.kv_cache_dtype not in ("auto", "bfloat16"):
        notes.append(f"HEARTH_KV_CACHE_DTYPE={settings.kv_cache_dtype} is for GPUs and has no effect on the CPU")
    if settings.vram_budget_gib is not None:
        notes.append("HEARTH_VRAM_BUDGET_GIB is for GPUs; on the CPU the container's memory limit is the budget")
    return _plan(
        manifest,
        settings,
        device="cpu",
        model_dir=model_dir,
        dtype=dtype,
        hardware=f"{cpu.name}, {cpu.cores} cores, {gib(cpu.memory_bytes)}",
        context=context,
        sequences=sequences,
        tokens=tokens,
        servers=servers,
        block=block,
        budget=cpu.memory_bytes,
        overhead=overhead,
        fit=fit,
        flags=[("--enforce-eager",), *_speculation(settings, "ngram")],
        environment={
            "OMP_NUM_THREADS": str(threads),
            # Helpers outside the model are compiled too, the first request for logprobs stalled for 20 s by it.
            "TORCHDYNAMO_DISABLE": "1",
            # vLLM would round activations to 8 bit on a CPU with AMX: up to seven times what bfloat16 does to a canary.
            "VLLM_CPU_INT4_W4A8": "0",
            # One engine process that also computes, in place of two that both import vLLM: about half the start-up
            # time, and no message passing for each token. Thread binding belongs to the second process; the
            # container's CPU set does its work.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0" if servers == 1 else "1",
        },
        notes=notes,
    )


def _plan(
    manifest: Manifest,
    settings: Settings,
    *,
    device: Literal["cpu", "cuda"],
    model_dir: Path,
    dtype: str,
    hardware: str,
    context: int,
    sequences: int,
    tokens: int,
    servers: int,
    block: int,
    budget: int,
    overhead: Sequence[Line],
    fit: Fit,
    flags: Sequence[tuple[str, ...]],
    environment: dict[str, str],
    notes: Sequence[str],
) -> Plan:
    """What every plan has in common. No --quantization: vLLM picks its fastest kernel from the artifact's config."""
    serving = manifest.recipe.serving
    names = (serving.served_name, *serving.aliases)
    kv_line = Line(name="KV cache", bytes=fit.bytes, why=f"{fit.tokens} tokens as {fit.kv.name}")
    tools = [("--enable-auto-tool-choice",), ("--tool-call-parser", serving.tool_parser)] if serving.tool_parser else []
    return Plan(
        hardware=hardware,
        device=device,
        model_dir=str(model_dir),
        unpack=model_dir != settings.model_dir,
        served_names=names,
        context_length=context,
        kv_cache_type=fit.kv.name,
        kv_cache_tokens=fit.tokens,
        memory_budget=budget,
        memory=(*overhead, kv_line),
        flags=(
            ("--model", str(model_dir)),
            ("--served-model-name", *names),
            ("--host", settings.engine_host),
            ("--port", str(settings.engine_port)),
            ("--dtype", dtype),
            ("--max-model-len", str(context)),
            ("--max-num-seqs", str(sequences)),
            ("--max-num-batched-tokens", str(tokens)),
            ("--block-size", str(block)),
            ("--kv-cache-memory-bytes", str(fit.bytes)),
            ("--enable-prefix-caching",),
            *((("--api-server-count", str(servers)),) if servers > 1 else ()),
            *flags,
            # Off by default for quantized models: a checkpoint that lacks a tensor would load and answer noise.
            ("--model-loader-extra-config", json.dumps({"enable_weights_track": True})),
            *tools,
            # The model's own sampling defaults; clients that send none get what its authors recommend.
            ("--generation-config", "auto"),
            ("--disable-uvicorn-access-log",),
            ("--disable-fastapi-docs",),
            *((("--middleware", CANARY),) if manifest.canary else ()),
            *((tuple(settings.extra_flags),) if settings.extra_flags else ()),
        ),
        environment=dict(
            sorted(
                {
                    "DO_NOT_TRACK": "1",
                    "HF_HUB_OFFLINE": "1",
                    "TRANSFORMERS_OFFLINE": "1",
                    "VLLM_CACHE_ROOT": str(settings.cache_dir / "vllm"),
                    "VLLM_NO_USAGE_STATS": "1",
                    # No entry point of any installed package runs inside the engine.
                    "VLLM_PLUGINS": "",
                    **environment,
                }.items()
            )
        ),
        notes=(
            *filter(None, [manifest.source.warning]),
            *notes,
            *(["speculation: vLLM refuses requests with min_p or logit_bias"] if settings.speculation != "off" else []),
        ),
    )


def _sum(lines: Sequence[Line]) -> int:
    return sum(line.bytes for line in lines)


def _or_more_memory(settings: Settings, hardware: Hardware, missing: int) -> str:
    """The other way out, where there is one."""
    if isinstance(hardware, Cpu):
        return f", or give the container {_gib_up(hardware.memory_bytes + missing)} GiB of memory"
    needed = _gpu_budget(settings, hardware) + missing
    if needed <= hardware.memory_bytes:
        return f", or HEARTH_VRAM_BUDGET_GIB={_gib_up(needed)}"
    return f": {hardware.name} has {gib(hardware.memory_bytes)} and this takes {gib(needed)}"


def _gib_up(size: int) -> str:
    return f"{-(-size * 100 // GIB) / 100:.2f}"


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
