"""install.sh: what it refuses and says, with a `docker` that only pretends. tests/ship has the real one."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

DOCKER = """#!/bin/bash
case "$*" in
    version*)
        [ -z "$FAKE_DOWN" ] || { echo "Cannot connect to the Docker daemon" >&2; exit 1; }
        echo "${FAKE_ENGINE:-26.1.5}";;
    "compose version"*) [ "$FAKE_COMPOSE" != none ] || exit 1; echo "${FAKE_COMPOSE:-2.26.1-4}";;
    *DockerRootDir*) echo /;;
    *Runtimes*) echo '{"runc": {}}';;
    "image inspect"*) for loaded in "$FAKE_STORE"/*; do [ -e "$loaded" ] || exit 1; done; echo sha256:other;;
    load*) cat > "$FAKE_STORE/$RANDOM";;
esac
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def install(folder: Path, tmp_path: Path) -> Run:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tmp_path / "store").mkdir()
    for name, body in {
        "docker": DOCKER,
        "df": "#!/bin/bash\necho Avail\necho ${FAKE_FREE:-99999999999}\n",
        "nvidia-smi": "#!/bin/bash\nexit 1\n",
    }.items():
        (tools / name).write_text(body)
        (tools / name).chmod(0o755)
    # Whatever CPU these tests run on.
    (tmp_path / "cpuinfo").write_text("flags : avx2 avx512f\n")
    script, sums = folder / "install.sh", folder / "SHA256SUMS"
    before = digest(script)
    script.write_text(script.read_text().replace("/proc/cpuinfo", str(tmp_path / "cpuinfo")))
    sums.write_text(sums.read_text().replace(before, digest(script)))

    def run(*options: str, **env: str) -> subprocess.CompletedProcess[str]:
        where = ["--dir", str(tmp_path / "hearth"), "--no-start"]
        return subprocess.run(
            [script, *where, *options], capture_output=True, text=True,
            env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "FAKE_STORE": str(tmp_path / "store")} | env,
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"FAKE_DOWN": "1"}, "no Docker engine answers this user: Cannot connect"),
        ({"FAKE_ENGINE": "23.0.6"}, "Docker Engine 23.0.6 is too old: 24 or newer"),
        ({"FAKE_COMPOSE": "none"}, "the compose plugin is missing"),
        ({"FAKE_COMPOSE": "2.19.1"}, "docker compose 2.19.1 is too old: 2.20 or newer"),
        ({"FAKE_FREE": "5000000"}, "/ has 5 MB free, the images need 6 MB"),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_loaded(install: Run, tmp_path: Path, env: dict, said: str) -> None:
    done = install(**env)
    assert done.returncode == 1
    assert said in done.stderr
    assert not list((tmp_path / "store").iterdir())


@pytest.mark.parametrize("version", ["v2.20.0", "2.26.1-4", "5.0.1"])
def test_newer_compose_plugins_will_do(install: Run, version: str) -> None:
    done = install(FAKE_COMPOSE=version)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("profiles", ["gpu"])
def test_a_bundle_for_a_gpu_needs_one(install: Run) -> None:
    done = install()
    assert done.returncode == 1
    assert "needs an NVIDIA GPU: nvidia-smi must answer" in done.stderr


def test_a_bundle_for_cpus_needs_one_with_the_kernels_instructions(install: Run, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("flags : sse4_2\n")
    done = install()
    assert done.returncode == 1
    assert "needs a CPU with AVX2" in done.stderr


def test_a_clone_of_the_repository_is_left_alone(install: Run, tmp_path: Path) -> None:
    (tmp_path / "hearth/.git").mkdir(parents=True)
    done = install()
    assert done.returncode == 1
    assert "is a clone of the repository" in done.stderr


def test_an_unknown_option_is_named(install: Run) -> None:
    done = install("--drive=C")
    assert done.returncode == 1
    assert "--drive=C: unknown option" in done.stderr


def test_help_needs_nothing(install: Run) -> None:
    done = install("--help", FAKE_DOWN="1")
    assert done.returncode == 0
    assert "usage: install.sh [--dir DIR] [--no-start]" in done.stdout


def test_an_image_under_another_id_is_loaded_once(install: Run, tmp_path: Path) -> None:
    """containerd's store has ids of its own; the installer writes down which became which."""
    assert "loading hearth-gateway:1" in install().stderr
    assert len(list((tmp_path / "store").iterdir())) == 2
    said = install().stderr
    assert "hearth-gateway:1 is there" in said
    assert len(list((tmp_path / "store").iterdir())) == 2


def test_profiles_that_were_taken_away_stay_away_and_unknown_ones_go(install: Run, tmp_path: Path) -> None:
    env = tmp_path / "hearth/.env"
    install()
    env.write_text("COMPOSE_PROFILES=gpu,tools\nHEARTH_LOG_LEVEL=debug\n")
    assert "this bundle has no profile gpu, so COMPOSE_PROFILES=cpu" in install().stderr
    assert env.read_text().startswith("COMPOSE_PROFILES=cpu\nHEARTH_LOG_LEVEL=debug\n")
    (backup,) = (tmp_path / "hearth/backups").glob("*/.env")
    assert backup.read_text() == "COMPOSE_PROFILES=gpu,tools\nHEARTH_LOG_LEVEL=debug\n"


def test_a_config_follows_the_bundle_until_somebody_changes_it(install: Run, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "hearth/config/hearth.tools.yaml"
    install()
    new_version(folder, "a: 1\n")
    install()
    assert path.read_text() == "a: 1\n"

    path.write_text("a: mine\n")
    said = install().stderr
    assert "yours stays" in said
    assert not path.with_name("hearth.tools.yaml.new").exists(), "nothing newer than what was changed"

    new_version(folder, "a: 2\n")
    assert "this version's is config/hearth.tools.yaml.new" in install().stderr
    assert path.read_text() == "a: mine\n"
    assert path.with_name("hearth.tools.yaml.new").read_text() == "a: 2\n"


def new_version(folder: Path, config: str) -> None:
    (folder / "stack/config/hearth.tools.yaml").write_text(config)
    listed = [line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()]
    sums = subprocess.run(["sha256sum", *listed], cwd=folder, capture_output=True, text=True, check=True).stdout
    (folder / "SHA256SUMS").write_text(sums)
