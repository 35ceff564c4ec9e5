"""Detection reads what Linux and nvidia-smi say; the files here are shortened real ones."""

import os
import stat
from pathlib import Path

import pytest

from hearth_engine import hardware
from hearth_engine.hardware import CARDS, MIB, Gpu, HardwareError

CPUINFO = "processor\t: 0\nmodel name\t: Test CPU @ 2.8GHz\nflags\t\t: fpu avx2 avx512f\n\nprocessor\t: 1\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cores with two threads each, 16 GiB."""
    write(tmp_path / "proc/cpuinfo", CPUINFO)
    write(tmp_path / "proc/meminfo", "MemTotal:       16777216 kB\nMemFree:        1 kB\n")
    for cpu in range(4):
        write(tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", f"{cpu % 2},{cpu % 2 + 2}\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_cpu(machine: Path) -> None:
    cpu = hardware.detect_cpu(machine)
    assert (cpu.name, cpu.cores, cpu.memory_bytes) == ("Test CPU @ 2.8GHz", 2, 16 * 1024 * MIB)
    assert cpu.flags == {"fpu", "avx2", "avx512f"}


def test_cpu_set_counts_physical_cores(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2})
    assert hardware.detect_cpu(machine).cores == 1


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 1),
        ({"cpu.max": "max 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 2),
    ],
)
def test_cpu_quota(machine: Path, files: dict[str, str], cores: int) -> None:
    for name, text in files.items():
        write(machine / "sys/fs/cgroup" / name, text)
    assert hardware.detect_cpu(machine).cores == cores


@pytest.mark.parametrize(
    ("file", "text", "mib"),
    [
        ("memory.max", "4294967296\n", 4096),
        ("memory.max", "max\n", 16384),
        ("memory/memory.limit_in_bytes", "2147483648\n", 2048),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", 16384),
    ],
)
def test_memory_limit(machine: Path, file: str, text: str, mib: int) -> None:
    write(machine / "sys/fs/cgroup" / file, text)
    assert hardware.detect_cpu(machine).memory_bytes == mib * MIB


def test_machine_without_topology_counts_every_cpu(machine: Path) -> None:
    for path in machine.glob("sys/devices/system/cpu/*/topology/*"):
        path.unlink()
    assert hardware.detect_cpu(machine).cores == 4


def test_this_machine_is_detected() -> None:
    cpu = hardware.detect_cpu()
    assert cpu.cores >= 1
    assert cpu.memory_bytes > 100 * MIB


def test_nvidia_smi_answer() -> None:
    answer = "NVIDIA GeForce RTX 3060, 12288, 8.6\nNVIDIA H100 80GB HBM3, 81559, 9.0\n"
    assert hardware.parse_nvidia_smi(answer) == CARDS["rtx-3060-12g"]


@pytest.mark.parametrize("answer", ["", "No devices were found\n", "NVIDIA X, [N/A], 8.6\n"])
def test_nvidia_smi_without_a_gpu(answer: str) -> None:
    with pytest.raises(HardwareError, match="nvidia-smi says: "):
        hardware.parse_nvidia_smi(answer)


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name, first in the path."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA L4, 23034, 8.9'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return program


def test_auto_takes_the_gpu(nvidia_smi: Path) -> None:
    assert hardware.detect("auto") == Gpu(name="NVIDIA L4", memory_bytes=23034 * MIB, capability=(8, 9))


@pytest.mark.parametrize(
    ("visible", "asked"), [("", ""), ("1", "--id=1"), ("1,0", "--id=1"), ("GPU-7f,0", "--id=GPU-7f"), ("MIG-7f", "")]
)
def test_the_first_gpu_is_the_first_that_cuda_shows(
    nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch, visible: str, asked: str
) -> None:
    nvidia_smi.write_text("#!/bin/sh\ncase $1 in --id=*) name=$1 ;; *) name=all ;; esac\necho $name, 23034, 8.9\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert hardware.detect_gpu().name == (asked or "all")


def test_cpu_ignores_the_gpu(nvidia_smi: Path) -> None:
    assert hardware.detect("cpu").kind == "cpu"


def test_auto_takes_the_cpu_without_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert hardware.detect("auto").kind == "cpu"


def test_cuda_without_a_gpu_is_an_error_that_helps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HardwareError, match=r"no NVIDIA GPU is visible.*--gpus all"):
        hardware.detect("cuda")


def test_failing_driver_is_quoted(nvidia_smi: Path) -> None:
    nvidia_smi.write_text("#!/bin/sh\necho 'Failed to initialize NVML'\nexit 9\n")
    with pytest.raises(HardwareError, match="Failed to initialize NVML"):
        hardware.detect("cuda")


def test_named_cards() -> None:
    assert hardware.named("l4-24g") == CARDS["l4-24g"]
    assert hardware.named("cpu").kind == "cpu"
    with pytest.raises(HardwareError, match=r"unknown GPU 'rtx-9090'; known: rtx-3050-6g, .*, cpu"):
        hardware.named("rtx-9090")
