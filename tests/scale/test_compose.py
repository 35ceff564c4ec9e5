"""What Compose makes of deploy/compose.scale.yaml."""

import json
import os
import subprocess
from typing import Any

import pytest
from tests.e2e.conftest import ROOT

FILES = "compose.yaml:deploy/compose.scale.yaml"


def config(profiles: str) -> dict[str, Any]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HEARTH_", "COMPOSE_"))}
    env = clean | {"COMPOSE_FILE": FILES, "COMPOSE_PROFILES": profiles}
    command = ["docker", "compose", "config", "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(params=["cpu", "gpu"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_each_profile_has_two_engines_of_its_kind_and_the_rest_once(kind: str) -> None:
    shared = {"router", "gateway", "gateway-2", "state"}
    assert set(config(f"{kind},scale")["services"]) == {f"engine-{kind}", f"engine-{kind}-2"} | shared


def test_every_container_is_as_confined_as_those_of_one_engine(kind: str) -> None:
    for name, service in config(f"{kind},scale")["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
        assert int(service["mem_limit"]) > 0, name
        assert service["pids_limit"] > 0, name
        assert service["logging"]["options"]["max-size"], name
        assert service["healthcheck"]["test"], name


def test_who_may_speak_to_whom(kind: str) -> None:
    whole = config(f"{kind},scale")
    on = {name: set(service["networks"]) for name, service in whole["services"].items()}
    assert on == {
        f"engine-{kind}": {"engine"},
        f"engine-{kind}-2": {"engine"},
        "router": {"engine", "router"},
        "gateway": {"router", "state", "front"},
        "gateway-2": {"router", "state", "front"},
        "state": {"state"},
    }
    assert {name for name, network in whole["networks"].items() if network.get("internal")} >= {
        "engine", "router", "state",
    }  # fmt: skip


def test_only_the_gateways_are_published_and_only_on_loopback(kind: str) -> None:
    ports = {
        name: [(port["host_ip"], port["published"]) for port in service["ports"]]
        for name, service in config(f"{kind},scale")["services"].items()
        if "ports" in service
    }
    assert ports == {"gateway": [("127.0.0.1", "8080")], "gateway-2": [("127.0.0.1", "8081")]}


def test_each_engine_has_a_gpu_of_its_own() -> None:
    services = config("gpu,scale")["services"]
    found = [
        services[name]["deploy"]["resources"]["reservations"]["devices"] for name in ("engine-gpu", "engine-gpu-2")
    ]
    assert [[device["device_ids"] for device in devices] for devices in found] == [[["0"]], [["1"]]]


def test_both_gateways_and_both_engines_differ_in_their_names_alone(kind: str) -> None:
    services = config(f"{kind},scale")["services"]
    for one, other, own in (
        ("gateway", "gateway-2", {"ports"}),
        (f"engine-{kind}", f"engine-{kind}-2", {"networks", "deploy"}),
    ):
        both = [
            {key: value for key, value in services[name].items() if key not in own} for name in (one, other)
        ]  # fmt: skip
        assert both[0] == both[1]
