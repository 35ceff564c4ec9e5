"""What a device holds and uses: a GPU's memory and energy by NVML, the memory of a CPU engine's processes by /proc."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from hearth_engine.memory import gib

IDLE_WITHIN = 256 * 2**20  # bytes that an idle GPU's driver may hold
_PATIENCE = 30.0  # seconds for the memory of an engine that has ended to come back


class BusyError(RuntimeError):
    """Something else uses the device, so that nothing can be measured on it."""


class Meter(Protocol):
    """`memory` in bytes, `energy` in joules since some moment; None where the device does not tell."""

    def memory(self, pid: int) -> int: ...
    def energy(self) -> float | None: ...
    def wait_until_idle(self) -> None: ...


class GpuMeter:
    """The first visible GPU as a whole: nothing else may use it. NVML's figures are those that nvidia-smi prints."""

    def __init__(self) -> None:
        from vllm.third_party import pynvml

        self._nvml: Any = pynvml
        pynvml.nvmlInit()
        self._device = pynvml.nvmlDeviceGetHandleByIndex(0)

    def memory(self, pid: int) -> int:
        # Version 2 leaves out what the driver keeps for itself, as nvidia-smi does.
        return int(self._nvml.nvmlDeviceGetMemoryInfo(self._device, version=self._nvml.nvmlMemory_v2).used)

    def energy(self) -> float | None:
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._device)) / 1000
        except self._nvml.NVMLError:
            return None

    def wait_until_idle(self) -> None:
        """Raises BusyError."""
        deadline = time.monotonic() + _PATIENCE
        while (held := self.memory(0)) > IDLE_WITHIN:
            if time.monotonic() > deadline:
                raise BusyError(f"something else holds {gib(held)} of the GPU: `make down` stops the stack")
            time.sleep(0.2)


class CpuMeter:
    """A process with all that it started: memory that they share counts once (proportional set size)."""

    def memory(self, pid: int) -> int:
        return sum(map(_proportional, _descendants(pid)))

    def energy(self) -> float | None:
        return None

    def wait_until_idle(self) -> None:
        pass


def metered(meter: Meter, work: Callable[[], Any]) -> tuple[Any, float | None]:
    """What `work` returns, and the joules it took."""
    before = meter.energy()
    done = work()
    after = meter.energy()
    return done, None if before is None or after is None else after - before


def _descendants(pid: int) -> list[int]:
    """A process and those that it, or one of them, started (proc(5): field 4 of stat is the parent)."""
    children = dict[int, list[int]]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found = [pid]
    for one in found:  # which grows
        found += children.get(one, [])
    return found


def _proportional(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
