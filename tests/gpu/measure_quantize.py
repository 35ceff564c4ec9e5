"""Quantize a recipe in a process of its own and measure it: one JSON line with seconds a step, memory, and sizes.

    python measure_quantize.py models/qwen3-4b-synthetic.yaml WORK [--device-memory GIB] [--layers N] [--samples N]

Run it in the quantizer's environment. WORK is a folder for steps, artifact and log; what it holds from an earlier run
is used again, so that `quantize` can be measured alone. `--layers` cuts the model: two runs of N and M layers tell the
seconds of one. Device memory is what torch allocated and reserved at most, and the whole device's as nvidia-smi told it
(sampled every 0.2 s: nothing else may use the GPU); host memory is the process's peak resident set, pages of mapped
files included. Not a test: CI has no GPU.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

GIB = 1 << 30


def child(recipe_file: Path, work: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """One run of the pipeline, as `hearth-quantize` makes it."""
    from hearth_quantizer import pipeline, recipe
    from hearth_quantizer.log import Log
    from hearth_quantizer.steps import Workshop

    wanted = recipe.load(recipe_file)
    if overrides["layers"]:
        wanted = changed(wanted, ("source", "architecture"), layers=overrides["layers"])
    if overrides["samples"]:
        wanted = changed(wanted, ("calibration",), samples=overrides["samples"])
    if overrides["batch_size"]:
        wanted = changed(wanted, ("quantization", "options"), batch_size=overrides["batch_size"])

    seconds: dict[str, float] = {}
    layers: list[float] = []

    class Stopwatch(Log):
        """When each layer was finished, counted from the start of its step; the first has the loading, too."""

        @contextmanager
        def progress(self, step: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
            start = time.perf_counter()
            with super().progress(step, total, unit) as advance:

                def both(done: int) -> None:
                    if unit == "layers":
                        layers.append(round(time.perf_counter() - start, 1))
                    advance(done)

                yield both

    step = Workshop.step

    def timed(self: Workshop, name: str, inputs: Mapping[str, Any], make: Callable[[Path], None], **more: Any) -> Path:
        start = time.perf_counter()
        done = step(self, name, inputs, make, **more)
        seconds[name] = round(time.perf_counter() - start, 1)
        return done

    Workshop.step = timed  # type: ignore[method-assign]
    start = time.perf_counter()
    memory = overrides["device_memory"]
    made = pipeline.run(
        wanted, recipe_file.absolute().parent, work / "artifact", work, Stopwatch(), force=True, device_memory=memory
    )
    total = time.perf_counter() - start
    import torch

    seconds |= {"check": round(total - sum(seconds.values()), 1), "total": round(total, 1)}
    result: dict[str, Any] = {
        "seconds": seconds,
        "layers": made.model.layers,
        "layer_done_at_s": layers,
        "samples": wanted.calibration.samples,
        "tokens": wanted.calibration.tokens,
        "cores": len(os.sched_getaffinity(0)),
        "host_peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20), 2),
        "artifact_bytes": sum(file.bytes for file in made.files.values()),
        "versions": made.versions,
    }
    if torch.cuda.is_available():
        result["device"] = torch.cuda.get_device_name()
        result["torch_peak_allocated_gib"] = round(torch.cuda.max_memory_allocated() / GIB, 2)
        result["torch_peak_reserved_gib"] = round(torch.cuda.max_memory_reserved() / GIB, 2)
    return result


def changed(value: Any, path: tuple[str, ...], **update: Any) -> Any:
    """A copy of nested frozen models with fields of the innermost replaced."""
    inner = changed(getattr(value, path[0]), path[1:], **update) if path else None
    return value.model_copy(update={path[0]: inner} if path else update)


class DeviceWatch(threading.Thread):
    """The whole device's used memory at most, in MiB; None without nvidia-smi."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = self.before = self.read()

    @staticmethod
    def read() -> int | None:
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        try:
            return int(subprocess.check_output(query).split()[0])
        except (OSError, subprocess.CalledProcessError):
            return None

    def run(self) -> None:
        while (now := self.read()) is not None:
            self.peak = max(self.peak or 0, now)
            time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--device-memory", type=float, metavar="GIB")
    parser.add_argument("--layers", type=int, metavar="N")
    parser.add_argument("--samples", type=int, metavar="N")
    parser.add_argument("--batch-size", type=int, metavar="N")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print("MEASURED " + json.dumps(child(options.recipe, options.work, vars(options))), flush=True)
        os._exit(0)  # as the command does: GPTQModel's threads would keep the process
    options.work.mkdir(parents=True, exist_ok=True)
    watch = DeviceWatch()
    watch.start()
    run = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--child"], stdout=subprocess.PIPE, text=True, check=False
    )
    lines = [line.removeprefix("MEASURED ") for line in run.stdout.splitlines() if line.startswith("MEASURED ")]
    if run.returncode or not lines:
        sys.exit(f"the run failed with status {run.returncode}; {options.work}/*.log tell more")
    device = {"device_before_mib": watch.before, "device_peak_mib": watch.peak} if watch.peak else {}
    limit = {"device_memory_gib": options.device_memory} if options.device_memory else {}
    print(json.dumps({**limit, **json.loads(lines[0]), **device}))


if __name__ == "__main__":
    main()
