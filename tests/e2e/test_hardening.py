"""What the containers may do, asked of the running ones."""

import subprocess
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from .conftest import Stack, host, quick_copy


@pytest.fixture(params=["engine-cpu", "gateway"])
def container(request: pytest.FixtureRequest, stack: Stack) -> Container:
    return stack.container(request.param)


def test_no_privileges(container: Container) -> None:
    config = container.attrs["HostConfig"]
    assert config["ReadonlyRootfs"]
    assert config["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in config["SecurityOpt"]
    assert config["Memory"] > 0
    assert config["PidsLimit"] > 0
    assert config["RestartPolicy"]["Name"] == "unless-stopped"
    assert config["LogConfig"]["Config"]["max-size"]
    status = dict(line.split(":\t") for line in container.exec_run(["cat", "/proc/1/status"])[1].decode().splitlines())
    assert status["Uid"].split() == ["1000"] * 4
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_the_root_is_read_only(container: Container) -> None:
    code, out = container.exec_run(["touch", "/opt/venv/x", "/etc/x", "/opt/x"])
    assert code != 0
    assert out.count(b"Read-only file system") == 3


def test_only_the_gateway_is_published_and_only_on_loopback(stack: Stack) -> None:
    assert not stack.container("engine-cpu").attrs["HostConfig"]["PortBindings"]
    (bindings,) = stack.container("gateway").attrs["HostConfig"]["PortBindings"].values()
    assert [b["HostIp"] for b in bindings] == ["127.0.0.1"]


def test_the_engine_has_no_way_out(stack: Stack) -> None:
    (network,) = stack.container("engine-cpu").attrs["NetworkSettings"]["Networks"]
    assert stack.client.networks.get(network).attrs["Internal"]


@pytest.mark.parametrize("image", ["engine", "gateway"])
def test_no_build_tooling_in_a_cpu_runtime_image(
    image: str, images: dict[str, str], engine_client: docker.DockerClient
) -> None:
    script = "for t in gcc g++ cc make uv pip pip3 git curl; do command -v $t; done; id -u; ls -d /tools /cache; true"
    out = engine_client.containers.run(images[image], ["-c", script], entrypoint="sh", remove=True)
    assert out.decode().split() == ["1000"]


def test_bytecode_is_compiled(images: dict[str, str], engine_client: docker.DockerClient) -> None:
    script = "cd /opt/venv/lib/python3*/site-packages && find vllm/config hearth_engine -name '*.pyc'"
    out = engine_client.containers.run(images["engine"], ["-c", script], entrypoint="sh", remove=True)
    assert b"model.cpython-311.pyc" in out
    assert b"plan.cpython-311.pyc" in out


def search_image(tag: str, needle: bytes) -> bool:
    """Whether the bytes stand anywhere in the image's layers and configuration, as `docker save` writes them."""
    save = subprocess.Popen(["docker", "save", tag], stdout=subprocess.PIPE)
    assert save.stdout is not None
    tail, found = b"", False
    while block := save.stdout.read(1 << 22):
        found = found or needle in tail + block
        tail = block[-len(needle) :]
    assert save.wait() == 0
    return found


def test_a_hub_token_is_in_no_layer(images: dict[str, str], engine_client: docker.DockerClient, tmp_path: Path) -> None:
    token = "hf_" + "secretSECRETsecret"
    # The weights are made anew, this time with the token at hand.
    host(
        "docker buildx build -q -f docker/Dockerfile --target engine-cpu --tag hearth-test:token"
        ' --no-cache-filter weights-made --secret id=hf_token,env=HF_TOKEN --secret id=ca,src="$HEARTH_CA"'
        f' --build-context wheels="$HEARTH_WHEELS" {quick_copy(tmp_path)}',
        {"HF_TOKEN": token},
    )
    history = host("docker history --no-trunc hearth-test:token").stdout
    assert "hearth-engine" in history
    assert token not in history
    assert not search_image("hearth-test:token", token.encode())

    # The search does find a token that a Dockerfile leaks.
    leak = tmp_path / "Dockerfile"
    leak.write_text(
        "FROM hearth-test:token\nUSER root\nRUN --mount=type=secret,id=hf_token cp /run/secrets/hf_token /tmp/leak"
    )
    host(
        f"docker buildx build -q --tag hearth-test:leak --secret id=hf_token,env=HF_TOKEN {tmp_path}",
        {"HF_TOKEN": token},
    )
    assert search_image("hearth-test:leak", token.encode())
    for tag in ("hearth-test:leak", "hearth-test:token"):
        engine_client.images.remove(tag)
