"""What the engine can run on: the machine's CPU and its first NVIDIA GPU, or a known card by name.

Detection reads /proc, /sys and nvidia-smi. Nothing here needs torch, which takes seconds to import.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

MIB = 2**20

# vLLM's AVX2 build has no INT4 kernel at all (`unpack`); its AVX-512 build is chosen by these four.
INT4_CPU_FLAGS = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})


class HardwareError(RuntimeError):
    """The machine lacks what was asked for."""


class _Hardware(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    memory_bytes: int


class Gpu(_Hardware):
    """An NVIDIA GPU: its whole memory in bytes and its compute capability, as (8, 6)."""

    kind: Literal["cuda"] = "cuda"
    capability: tuple[int, int]


class Cpu(_Hardware):
    """The CPU as far as this process may use it: memory limit in bytes, physical cores, instruction set flags."""

    kind: Literal["cpu"] = "cpu"
    cores: int
    flags: frozenset[str]


Hardware = Gpu | Cpu


def _card(name: str, mib: int, major: int, minor: int) -> Gpu:
    return Gpu(name=f"NVIDIA {name}", memory_bytes=mib * MIB, capability=(major, minor))


# Memory as nvidia-smi reports it.
CARDS = {
    "rtx-3050-6g": _card("GeForce RTX 3050 6GB Laptop GPU", 6144, 8, 6),
    "rtx-3060-12g": _card("GeForce RTX 3060", 12288, 8, 6),
    "rtx-3070-8g": _card("GeForce RTX 3070", 8192, 8, 6),
    "rtx-4060-8g": _card("GeForce RTX 4060", 8188, 8, 9),
    "rtx-4060-ti-16g": _card("GeForce RTX 4060 Ti", 16380, 8, 9),
    "rtx-4090-24g": _card("GeForce RTX 4090", 24564, 8, 9),
    "l4-24g": _card("L4", 23034, 8, 9),
    "h100-80g": _card("H100 80GB HBM3", 81559, 9, 0),
}


def named(name: str) -> Hardware:
    """A card of the table, or this machine's CPU. Raises HardwareError that lists the names."""
    if name == "cpu":
        return detect_cpu()
    if name not in CARDS:
        raise HardwareError(f"unknown GPU {name!r}; known: {', '.join(CARDS)}, cpu")
    return CARDS[name]


def detect(device: Literal["auto", "cpu", "cuda"]) -> Hardware:
    """The hardware to plan for. Raises HardwareError where a GPU is asked for and none is visible."""
    if device == "cpu":
        return detect_cpu()
    try:
        return detect_gpu()
    except HardwareError:
        if device == "cuda":
            raise
        return detect_cpu()


def detect_gpu() -> Gpu:
    """The first visible GPU."""
    query = _nvidia_smi("name,memory.total,compute_cap")
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout  # noqa: S603
    except FileNotFoundError:
        raise HardwareError(
            "no NVIDIA GPU is visible: there is no nvidia-smi. A container gets it from the NVIDIA container toolkit "
            "(docker run --gpus all, or a device reservation in compose)"
        ) from None
    except subprocess.SubprocessError as error:
        said = getattr(error, "stdout", "") or getattr(error, "stderr", "") or str(error)
        raise HardwareError(f"no NVIDIA GPU is usable: nvidia-smi says: {' '.join(str(said).split())}") from None
    return parse_nvidia_smi(answer)


def device_memory_used() -> int:
    """Bytes that all programs together hold of the first visible GPU. Raises HardwareError."""
    query = _nvidia_smi("memory.used")
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout  # noqa: S603
        return int(answer.split()[0]) * MIB
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise HardwareError(f"nvidia-smi does not tell the GPU's memory: {error}") from None


def _nvidia_smi(fields: str) -> list[str]:
    """Asks for the first GPU that CUDA shows this process; nvidia-smi itself does not look at the variable."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    chosen = [f"--id={first}"] if first and not first.startswith("MIG-") else []  # of a part it tells nothing by id
    return ["nvidia-smi", *chosen, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]


def parse_nvidia_smi(answer: str) -> Gpu:
    """The first line of `name, MiB, capability`."""
    match = re.match(r"\s*(?P<name>.+?), *(?P<mib>\d+), *(?P<major>\d+)\.(?P<minor>\d+)\s*$", answer, re.MULTILINE)
    if not match:
        raise HardwareError(f"no NVIDIA GPU is usable: nvidia-smi says: {' '.join(answer.split()) or 'nothing'}")
    return Gpu(
        name=match["name"],
        memory_bytes=int(match["mib"]) * MIB,
        capability=(int(match["major"]), int(match["minor"])),
    )


def detect_cpu(root: Path = Path("/")) -> Cpu:
    """This machine's CPU, bounded by the container's CPU set, CPU quota and memory limit."""
    cpuinfo = (root / "proc/cpuinfo").read_text()
    name = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return Cpu(
        name=name[1] if name else "CPU",
        memory_bytes=_memory_limit(root),
        cores=_cores(root, os.sched_getaffinity(0)),
        flags=frozenset(flags[1].split()) if flags else frozenset(),
    )


def _memory_limit(root: Path) -> int:
    """The smaller of the machine's memory and the control group's limit (version 2 or 1)."""
    found = re.search(r"^MemTotal:\s*(\d+) kB", (root / "proc/meminfo").read_text(), re.MULTILINE)
    assert found, "/proc/meminfo has no MemTotal"
    limits = [_numbers(root / "sys/fs/cgroup" / name) for name in ("memory.max", "memory/memory.limit_in_bytes")]
    return min([int(found[1]) * 1024, *(number for numbers in limits for number in numbers)])


def _cores(root: Path, allowed: set[int]) -> int:
    """Physical cores among the allowed CPUs (hyper-threads share the vector units), at most the CPU quota."""
    topology = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    paths = [root / topology.format(cpu) for cpu in allowed]
    cores = len({path.read_text() if path.is_file() else path for path in paths})
    quota = _numbers(root / "sys/fs/cgroup/cpu.max") or [
        *_numbers(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
        *_numbers(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us"),
    ]
    if len(quota) == 2:
        cores = min(cores, quota[0] // quota[1])
    return max(cores, 1)


def _numbers(path: Path) -> list[int]:
    """The file's numbers; none where it is absent or says that there is no limit (`max`, or -1)."""
    text = path.read_text() if path.is_file() else ""
    return [int(word) for word in text.split()] if re.fullmatch(r"[\d\s]+", text) else []
