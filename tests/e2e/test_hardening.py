"""What the containers may do, asked of the running ones."""

import hashlib
import http.server
import json
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from docker.models.containers import Container

from .conftest import PROJECT, SERVERS, VERSION, Stack, free_port, host, quick_copy

SERVICES = ["engine-cpu", "gateway", *SERVERS, "tool-egress"]
INTERNAL = ["engine-cpu", "tool-browser", "tool-search"]  # on a network, but on none with a way out

# Every path that its user may write to; of a folder, not what is in it.
WRITABLE = """
import os, stat
for folder, folders, names in os.walk("/"):
    for name in [*folders, *names]:
        path = os.path.join(folder, name)
        mode = os.lstat(path).st_mode
        known = path in ("/proc", "/sys") or any(kind(mode) for kind in (stat.S_ISLNK, stat.S_ISCHR, stat.S_ISSOCK))
        if not known and os.access(path, os.W_OK):
            print(path)
            known = True
        if known and name in folders:
            folders.remove(name)
"""
# What is answered there; a connection alone says nothing where something on the way takes any.
REACH = """
import sys, urllib.error, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for url in sys.argv[1:]:
    try:
        answer = opener.open(url, timeout=3)
    except urllib.error.HTTPError as error:
        answer = error
    except OSError:
        continue
    print(answer.headers, answer.read(2000))
"""
HERE = "hearth-answers-here"


class Listener(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(HERE.encode())


@pytest.fixture(params=SERVICES)
def container(request: pytest.FixtureRequest, stack: Stack) -> Container:
    return stack.container(request.param)


def python(container: Container, script: str, *arguments: str) -> list[str]:
    """The lines that it prints, run as the container's user."""
    code, out = container.exec_run(["python3", "-c", script, *arguments], environment={"LD_PRELOAD": ""})
    assert code == 0, out.decode()
    return str(out.decode()).splitlines()


def test_no_privileges(container: Container) -> None:
    config = container.attrs["HostConfig"]
    assert config["ReadonlyRootfs"]
    assert not config["Privileged"]
    assert config["CapDrop"] == ["ALL"]
    assert not config["CapAdd"]
    assert config["SecurityOpt"] == ["no-new-privileges:true"]  # nothing switches seccomp off
    assert not any(config[name] for name in ("PidMode", "UTSMode", "UsernsMode", "Devices"))
    assert config["IpcMode"] == "private"
    assert 0 < config["Memory"] <= config["MemorySwap"]
    assert config["PidsLimit"] > 0
    assert config["RestartPolicy"]["Name"] == "unless-stopped"
    assert config["LogConfig"]["Config"]["max-size"]
    assert container.attrs["Config"]["User"] == "1000:1000"
    status = dict(line.split(":\t") for line in container.exec_run(["cat", "/proc/1/status"])[1].decode().splitlines())
    assert (status["Uid"].split(), status["Gid"].split()) == (["1000"] * 4, ["1000"] * 4)
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"  # a filter


def test_seccomp_refuses_what_the_default_profile_does(container: Container) -> None:
    """Seen from inside: a new user namespace is the way to capabilities that a kernel's mistake would be used with."""
    script = "import ctypes; c = ctypes.CDLL(None, use_errno=True); print(c.unshare(0x10000000), ctypes.get_errno())"
    assert python(container, script) == ["-1 1"]


def test_nothing_is_writable_but_what_is_declared(container: Container) -> None:
    attrs = container.attrs
    declared = {mount["Destination"] for mount in attrs["Mounts"] if mount["RW"]} | (
        attrs["HostConfig"]["Tmpfs"] or {}
    ).keys()
    found = set(python(container, WRITABLE))
    assert "/tmp" in found
    assert found <= declared | {"/dev/shm", "/dev/mqueue"}  # Docker's own, in memory
    code, out = container.exec_run(["touch", "/etc/x", "/opt/x", "/usr/x"])
    assert code != 0
    assert out.count(b"Read-only file system") == 3


def test_the_search_for_writable_paths_finds_them(images: dict[str, str], engine_client: docker.DockerClient) -> None:
    out = engine_client.containers.run(images["gateway"], ["-c", WRITABLE], entrypoint="python3", remove=True)
    assert {"/home/hearth", "/tmp", "/var/lib/hearth"} <= set(out.decode().split())


def test_nothing_of_the_host_is_in_reach(container: Container) -> None:
    """No socket of Docker's, no folder but those of the configuration and of keys, read-only."""
    binds = {mount["Destination"]: mount["RW"] for mount in container.attrs["Mounts"] if mount["Type"] == "bind"}
    assert not any(binds.values())
    assert all(path in ("/etc/hearth", "/run/hearth") or path.startswith("/run/secrets/") for path in binds)


@pytest.fixture(scope="module")
def inside(stack: Stack) -> dict[str, str]:
    """URLs of what listens on the networks without a way out, and a word of what each answers."""

    def address(service: str, network: str) -> str:
        networks = stack.container(service).attrs["NetworkSettings"]["Networks"]
        return str(networks[f"{PROJECT}_{network}"]["IPAddress"])

    return {
        f"http://{address('engine-cpu', 'engine')}:8000/version": '"version"',
        f"http://{address('gateway', 'engine')}:8080/healthz": '"alive"',
        f"http://{address('tool-egress', 'tools')}:3128/": "squid",
    }


def test_from_other_networks_nobody_reaches_the_engine_or_the_proxy(stack: Stack, inside: dict[str, str]) -> None:
    def reached(network: str) -> list[str]:
        out = stack.client.containers.run(
            f"hearth-tool-search:{VERSION}", ["-c", REACH, *inside], entrypoint="python", network=network, remove=True
        )
        return [word for word in inside.values() if word in out.decode()]

    assert [reached(name) for name in ("bridge", f"{PROJECT}_front", f"{PROJECT}_outside")] == [[]] * 3
    assert reached(f"{PROJECT}_engine") == ['"version"', '"alive"']  # so this test can fail
    assert reached(f"{PROJECT}_tools") == ["squid"]


def test_from_the_host_nobody_reaches_them(inside: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REACH, *inside], capture_output=True, text=True, check=True, timeout=60
    )
    assert not any(word in done.stdout for word in inside.values())


@pytest.mark.parametrize("service", INTERNAL)
def test_what_listens_on_the_host_is_out_of_reach(stack: Stack, service: str) -> None:
    """A bridge is an address of the host: it has one on the networks with a way out, and on no other."""
    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), Listener) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        names = ["bridge", *(f"{PROJECT}_{name}" for name in ("engine", "front", "tools", "outside"))]
        pools = [stack.client.networks.get(name).attrs["IPAM"]["Config"][0] for name in names]
        urls = [f"http://{pool['Gateway']}:{listener.server_port}/" for pool in pools]
        assert HERE not in "".join(python(stack.container(service), REACH, *urls))
        assert HERE in "".join(python(stack.container("gateway"), REACH, *urls))  # so this test can fail
        listener.shutdown()


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


@pytest.mark.parametrize("image", ["engine:{}-tiny-cpu", "gateway:{}", *(f"tool-{name}:{{}}" for name in (
    "files", "commands", "browser", "search", "egress"))])  # fmt: skip
def test_an_image_s_configuration_and_history_have_no_secret(
    image: str, images: dict[str, str], engine_client: docker.DockerClient
) -> None:
    found = engine_client.images.get(f"hearth-{image.format(VERSION)}")
    told = json.dumps([found.attrs["Config"], found.history()]).replace("HEARTH_SECRETS=/run/hearth", "")  # a folder
    assert len(told) > 1000
    assert re.findall(r"(?i)\w*(?:token|secret|passw|api_?key|credential)\w*\s*=(?!=)\s*[^\s,&\"']+", told) == []
    assert found.attrs["Config"]["User"] == "1000:1000"


KEYS_PROJECT = f"{PROJECT}-keys"


@pytest.fixture(scope="module")
def keyed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, dict[str, str]]]:
    """Another gateway before the stack's engine, as talkative as it can be, with every secret that the stack knows; and
    the secrets."""
    folder = tmp_path_factory.mktemp("secrets")
    keys = folder / "keys"  # the gateway sees the whole folder
    keys.mkdir()
    for each in (folder, keys):
        each.chmod(0o755)
    given = {name: f"{name}-{secrets.token_hex(16)}" for name in ("client", "approval", "search")}
    digest = hashlib.sha256(given["client"].encode()).hexdigest()
    for name, text in (
        ("keys/client", f"ada:{digest}\n"),
        ("approval", given["approval"] * 2),
        ("search", given["search"]),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    port = free_port()
    env = stack.env | {
        "COMPOSE_PROJECT_NAME": KEYS_PROJECT, "HEARTH_BIND": f"127.0.0.1:{port}", "HEARTH_LOG_LEVEL": "debug",
        "HEARTH_LOG_REQUESTS": "bodies", "HEARTH_SECRETS": str(keys), "HEARTH_API_KEYS_FILE": "client",
        "HEARTH_APPROVAL_KEY_FILE": str(folder / "approval"), "HEARTH_SEARCH_API_KEY_FILE": str(folder / "search"),
        "HEARTH_SEARCH_PROVIDER": "tavily", "HF_TOKEN": given.setdefault("hub", f"hf_{secrets.token_hex(16)}"),
    }  # fmt: skip
    try:
        host("docker compose up --detach --no-build --no-deps --wait gateway tool-search", env)
        (gateway,) = stack.client.containers.list(
            filters={"label": [f"com.docker.compose.project={KEYS_PROJECT}", "com.docker.compose.service=gateway"]}
        )
        stack.client.networks.get(f"{PROJECT}_engine").connect(gateway)
        yield Stack(f"http://127.0.0.1:{port}", env, stack.client), given
    finally:
        host("docker compose down --volumes --timeout 2", env)


def containers(keyed: Stack) -> list[Container]:
    return list(keyed.client.containers.list(filters={"label": f"com.docker.compose.project={KEYS_PROJECT}"}))


def test_no_secret_is_in_a_container_s_configuration_or_environment(keyed: tuple[Stack, dict[str, str]]) -> None:
    stack, given = keyed
    assert len(containers(stack)) == 2
    for container in containers(stack):
        environment = container.exec_run(["cat", "/proc/1/environ"])[1].decode()
        assert "HEARTH_" in environment
        for secret in given.values():
            assert secret not in environment
            assert secret not in json.dumps(container.attrs)


def test_a_key_in_the_wrong_place_is_neither_taken_nor_told(keyed: tuple[Stack, dict[str, str]]) -> None:
    stack, given = keyed
    key, url = given["client"], f"{stack.url}/v1/chat/completions"
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    headers = [
        {}, {"x-api-key": key}, {"api-key": key}, {"authorization": key}, {"authorization": f"Basic {key}"},
        {"authorization": f"Bearer {key}x"}, {"authorization": f"Token {key}"},
        {"proxy-authorization": f"Bearer {key}"}, {"cookie": f"key={key}"}, {"x-session-id": key}, {"user-agent": key},
        {"x-hearth-key": key}, {"sec-websocket-protocol": f"openai-insecure-api-key.{key}"},
    ]  # fmt: skip
    answers = [
        requests.post(url, json=body | {"api_key": key, "user": key}, headers=one, timeout=60) for one in headers
    ]
    answers += [
        requests.post(f"{url}?{name}={key}", json=body, timeout=60) for name in ("api_key", "key", "access_token")
    ]
    for answer in answers:
        assert answer.status_code == 401
        assert key not in answer.text + str(answer.headers)
    assert requests.get(f"{stack.url}/v1/{key}", timeout=60).status_code == 401
    with_key = {
        "authorization": f"Bearer {key}",
        "x-api-key": key,
        "cookie": key,
        "user-agent": key,
        "x-session-id": key,
    }
    more = {"api_key": key, "user": key, "metadata": {"key": key}, "safety_identifier": key}
    good = requests.post(f"{url}?api_key={key}", json=body | more, headers=with_key, timeout=120)
    assert good.status_code == 200, good.text
    bad = requests.post(f"{url}?api_key={key}", json=body | more | {"n": 100}, headers=with_key, timeout=60)
    assert bad.status_code == 400
    garbage = requests.get(f"{stack.url}/v1/nowhere?api_key={key}", headers=with_key, timeout=60)
    assert garbage.status_code == 404
    assert key not in good.text + bad.text + garbage.text
    metrics = requests.get(f"{stack.url}/metrics", headers=with_key, timeout=60).text
    logs = "".join(container.logs().decode() for container in containers(stack))
    assert '"key":"ada"' in logs  # by its name, with what it asked
    assert '"body":' in logs
    for secret in given.values():
        assert secret not in logs
        assert secret not in metrics
