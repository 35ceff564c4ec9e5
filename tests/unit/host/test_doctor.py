"""docker/doctor.sh: each failure names the thing and says what to do."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = {
    "docker": """case "$*" in
        version*) echo "${FAKE_ENGINE:-26.1.5}";;
        *Runtimes*) echo "${FAKE_RUNTIMES:-{}}";;
        *DockerRootDir*) echo /;;
        "buildx version"|"compose version") echo fake;;
        info*) exit "${FAKE_ENGINE_DOWN:-0}";;
        esac""",
    "nvidia-smi": """case "$*" in
        *name,driver*) echo "NVIDIA GeForce RTX 3060, $FAKE_DRIVER, 12288 MiB";;
        *driver_version*) echo "$FAKE_DRIVER";;
        -L) echo "GPU 0: NVIDIA GeForce RTX 3060";;
        esac; test -n "$FAKE_DRIVER" """,
    "df": 'printf "Filesystem 1024-blocks Used Available Capacity Mounted\\nx 0 0 ${FAKE_FREE_KIB:-99999999} 0%% /\\n"',
}


@pytest.fixture
def doctor(tmp_path: Path):
    for name, body in TOOLS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)

    def run(**env: str) -> tuple[int, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HEARTH_", "COMPOSE_"))}
        done = subprocess.run(
            [ROOT / "docker/doctor.sh"],
            env=clean | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "COMPOSE_PROFILES": "cpu"} | env,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout

    return run


def advice(report: str, check: str) -> str:
    lines = report.splitlines()
    (at,) = [i for i, line in enumerate(lines) if check in line and "FAIL" in line]
    assert "→" in lines[at + 1]
    return lines[at + 1]


def test_no_engine_and_no_leave_to_install_one(doctor) -> None:
    code, report = doctor(FAKE_ENGINE_DOWN="1", HEARTH_INSTALL_DOCKER="0")
    assert code == 1
    assert "docker info" in advice(report, "docker")


def test_an_old_engine(doctor) -> None:
    code, report = doctor(FAKE_ENGINE="20.10.24")
    assert code == 1
    assert "24 or newer" in advice(report, "docker")


def test_a_full_disk(doctor) -> None:
    code, report = doctor(FAKE_FREE_KIB="1000")
    assert code == 1
    assert "prune" in advice(report, "disk")


def test_a_taken_port(doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code, report = doctor(HEARTH_BIND=f"127.0.0.1:{port}")
    assert code == 1
    assert "HEARTH_BIND" in advice(report, "port")


def test_a_gpu_box_without_driver_and_toolkit(doctor) -> None:
    code, report = doctor(COMPOSE_PROFILES="gpu", FAKE_DRIVER="")
    assert code == 1
    assert "install NVIDIA's driver" in advice(report, "driver")
    assert "nvidia-ctk" in advice(report, "container toolkit")


def test_a_gpu_box_with_an_old_driver(doctor) -> None:
    code, report = doctor(COMPOSE_PROFILES="gpu", FAKE_DRIVER="535.104.05", FAKE_RUNTIMES='{"nvidia": {}}')
    assert code == 1
    assert "580" in advice(report, "driver")
    assert "ok" in next(line for line in report.splitlines() if "container toolkit" in line)


def test_a_good_gpu_box(doctor) -> None:
    """Memory is this machine's own, so only what is faked here is asked for."""
    _, report = doctor(COMPOSE_PROFILES="gpu", FAKE_DRIVER="580.159.04", FAKE_RUNTIMES='{"nvidia": {}}')
    assert not any("FAIL" in line for line in report.splitlines() if "memory" not in line and "port" not in line)
