"""What Compose and the host's scripts make of this repository."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import ROOT, Stack, host, quick_copy


@pytest.mark.parametrize("profile", ["gpu", "cpu", "gpu,tools", "cpu,tools"])
def test_the_configuration_is_valid(profile: str) -> None:
    host("docker compose config -q", {"COMPOSE_PROFILES": profile})


def compose_config(*arguments: str) -> dict:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HEARTH_", "COMPOSE_"))} | {"HF_TOKEN": "hf_secret"}
    done = subprocess.run(
        ["docker", "compose", *arguments, "config", "--format", "json"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "hf_secret" not in done.stdout
    return json.loads(done.stdout)


def test_a_bare_compose_up_is_right_on_a_gpu_box() -> None:
    services = compose_config()["services"]
    assert set(services) == {"engine-gpu", "gateway"}
    (device,) = services["engine-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert device["capabilities"] == ["gpu"]
    assert services["engine-gpu"]["image"] == "hearth-engine:0.1.0-qwen3-4b-instruct-2507-cuda"
    assert "ports" not in services["engine-gpu"]
    assert services["gateway"]["ports"][0]["host_ip"] == "127.0.0.1"


def test_both_ways_to_get_an_image_are_there() -> None:
    for service in compose_config("--profile", "gpu", "--profile", "cpu", "--profile", "tools")["services"].values():
        assert service["image"]
        assert service["build"]["target"]


def test_bake_knows_its_targets() -> None:
    plan = json.loads(host("bake_file --print cpu gpu quantizer tools", {"HEARTH_WEIGHTS": "weights/x"}).stdout)[
        "target"
    ]
    tools = {"tool-files", "tool-commands", "tool-browser", "tool-search", "tool-egress"}
    assert {"engine-cpu", "engine-cuda", "gateway", "quantizer"} | tools == set(plan)
    assert plan["engine-cuda"]["contexts"]["weights"] == "weights/x"


def test_without_leave_nothing_is_installed() -> None:
    env = os.environ | {"HEARTH_INSTALL_DOCKER": "0", "DOCKER_HOST": "unix:///nonexistent.sock"}
    done = subprocess.run([ROOT / "docker/provide-engine.sh"], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Install Docker Engine" in done.stderr


def test_a_reload_reaches_the_running_gateway_and_leaves_the_engine_alone(stack: Stack, tmp_path: Path) -> None:
    """A copy with one more line in the gateway is reloaded over the running stack, then the original again."""
    clone = tmp_path / "clone"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".git", ".venv", ".tools", "weights", "dist"))
    source = clone / "services/gateway/src/hearth_gateway/__init__.py"
    source.write_text(source.read_text() + "RELOADED = True\n")
    engine, gateway = stack.container("engine-cpu"), stack.container("gateway")
    reload = ["make", "reload"]
    try:
        subprocess.run(reload, cwd=clone, env=os.environ | stack.env, check=True, capture_output=True)
        code, out = stack.container("gateway").exec_run(
            ["python", "-c", "import hearth_gateway; print(hearth_gateway.RELOADED)"]
        )
        assert code == 0
        assert out.strip() == b"True"
        assert stack.container("gateway").id != gateway.id
    finally:
        subprocess.run(reload, cwd=ROOT, env=os.environ | stack.env, check=True, capture_output=True)
    after = stack.container("engine-cpu")
    assert (after.id, after.attrs["State"]["StartedAt"]) == (engine.id, engine.attrs["State"]["StartedAt"])


def test_weights_made_beforehand_replace_the_quantizing_stage(images: dict[str, str], tmp_path: Path) -> None:
    """The way of a GPU box: quantize in a container, bake what it left."""
    clone = quick_copy(tmp_path)
    env = os.environ | {"HEARTH_RECIPE": "tiny", "COMPOSE_PROFILES": "cpu", "HEARTH_VERSION": "beforehand"}
    subprocess.run(["make", "quantize"], cwd=clone, env=env, check=True, capture_output=True)
    made = (clone / "weights/tiny/hearth.json").read_bytes()
    subprocess.run(["make", "build"], cwd=clone, env=env, check=True, capture_output=True)
    baked = host("docker run --rm --entrypoint cat hearth-engine:beforehand-tiny-cpu /opt/hearth/model/hearth.json")
    assert baked.stdout.encode() == made
    host("docker rmi hearth-engine:beforehand-tiny-cpu hearth-gateway:beforehand hearth-quantizer:beforehand-cpu")
