"""What a device holds and uses: a GPU's memory and energy by NVML, the memory of a CPU engine's processes by /proc."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from hearth_engine.memory import gib

OTHERS_MOST = 2**30  # bytes that a display and other programs may hold; what plans leave them
_NEARLY = 128 * 2**20  # bytes that others may take or leave meanwhile
_PATIENCE = 30.0  # seconds for the memory of an engine that has ended to come back


class BusyError(RuntimeError):
    """Something else uses the device, so that nothing can be measured on it."""


class Meter(Protocol):
    """`memory` in bytes, `energy` in joules since some moment; None where the device does not tell."""

    def memory(self, pid: int) -> int: ...
    def energy(self) -> float | None: ...
    def wait_until_idle(self) -> None: ...


class GpuMeter:
    """The first visible GPU, less what others held before. NVML's figures are those that nvidia-smi prints.

    Raises BusyError where others hold more than OTHERS_MOST.
    """

    def __init__(self) -> None:
        from vllm.third_party import pynvml

        self._nvml: Any = pynvml
        pynvml.nvmlInit()
        self._device = pynvml.nvmlDeviceGetHandleByIndex(0)
        self._others = self._used()
        if self._others > OTHERS_MOST:
            raise BusyError(f"others hold {gib(self._others)} of the GPU: `make down` stops the stack")

    def memory(self, pid: int) -> int:
        return self._used() - self._others

    def energy(self) -> float | None:
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._device)) / 1000
        except self._nvml.NVMLError:
            return None

    def wait_until_idle(self) -> None:
        """Until the last variant's memory is back. Raises BusyError."""
        deadline = time.monotonic() + _PATIENCE
        while (held := self.memory(0)) > _NEARLY:
            if time.monotonic() > deadline:
                raise BusyError(f"{gib(held)} more of the GPU are held than at first, and nothing of ours runs")
            time.sleep(0.2)

    def _used(self) -> int:
        # Version 2 leaves out what the driver keeps for itself, as nvidia-smi does.
        return int(self._nvml.nvmlDeviceGetMemoryInfo(self._device, version=self._nvml.nvmlMemory_v2).used)


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
