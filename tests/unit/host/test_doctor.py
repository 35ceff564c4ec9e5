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


def test_keys_that_are_gone(doctor, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / ".api_keys.lock").touch()
    code, report = doctor(HEARTH_SECRETS=str(tmp_path))
    assert code == 1
    assert "make keys" in advice(report, "API keys")


def test_keys_that_the_gateway_cannot_read(doctor, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    keys = tmp_path / "api_keys"
    keys.touch(0o644)
    _, report = doctor(HEARTH_SECRETS=str(tmp_path))
    assert any("ok" in line and str(keys) in line for line in report.splitlines())
    keys.chmod(0)
    code, report = doctor(HEARTH_SECRETS=str(tmp_path))
    assert code == 1
    assert f"chown 1000 {keys}" in advice(report, "API keys")


def test_a_folder_that_the_gateway_cannot_look_into(doctor, tmp_path: Path) -> None:
    for folder, mode, cure in (("closed", 0o600, "chmod o+x"), ("missing", None, "mkdir")):
        if mode is not None:
            (tmp_path / folder).mkdir(mode)
        code, report = doctor(HEARTH_SECRETS=f"{tmp_path}/{folder}")
        assert code == 1
        assert f"{cure} " in advice(report, f"{tmp_path}/{folder}")


def test_an_address_for_everyone_without_keys(doctor, tmp_path: Path) -> None:
    for bind, told in (("0.0.0.0:0", True), ("8089", True), ("127.0.0.1:8089", False)):
        _, report = doctor(HEARTH_SECRETS=str(tmp_path), HEARTH_BIND=bind)
        assert ("can be reached from elsewhere" in report) is told


def test_half_a_certificate(doctor, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "crt").write_text("…")
    (tmp_path / "crt").chmod(0o644)
    code, report = doctor(HEARTH_SECRETS=str(tmp_path), HEARTH_TLS_CERTIFICATE_FILE="crt")
    assert code == 1
    assert "set it" in advice(report, "HEARTH_TLS_KEY_FILE is unset")
    code, report = doctor(HEARTH_SECRETS=str(tmp_path), HEARTH_TLS_CERTIFICATE_FILE="crt", HEARTH_TLS_KEY_FILE="key")
    assert code == 1
    assert "put it there" in advice(report, f"{tmp_path}/key is not there")
