"""Keys and certificate of the real gateway container, as Compose mounts them. No engine: what needs none is asked."""

import os
import ssl
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
import requests
import trustme
from docker.models.containers import Container

from .conftest import ROOT, free_port, host, wait_until

PROJECT = "hearth-keys"
COMPOSE = "docker compose --progress quiet"


class Gateway:
    def __init__(self, client: docker.DockerClient, secrets: Path) -> None:
        self.secrets, self._client, self._port = secrets, client, free_port()
        self.ca = trustme.CA()
        self.ca.cert_pem.write_to_path(secrets / "ca.crt")
        self.renew()
        self.env = {
            "COMPOSE_PROFILES": "cpu", "COMPOSE_PROJECT_NAME": PROJECT, "HEARTH_BIND": f"127.0.0.1:{self._port}",
            "HEARTH_SECRETS": str(secrets), "HEARTH_TLS_CERTIFICATE_FILE": "tls.crt", "HEARTH_TLS_KEY_FILE": "tls.key",
        }  # fmt: skip

    def renew(self) -> None:
        """Put a new pair in the old one's place, readable by the gateway's user."""
        made = self.ca.issue_cert("127.0.0.1")
        for name, pem in (("tls.crt", made.cert_chain_pems[0]), ("tls.key", made.private_key_pem)):
            pem.write_to_path(self.secrets / "new")
            os.chown(self.secrets / "new", 1000, 1000)
            (self.secrets / "new").replace(self.secrets / name)

    @property
    def container(self) -> Container:
        label = [f"com.docker.compose.project={PROJECT}", "com.docker.compose.service=gateway"]
        (found,) = self._client.containers.list(all=True, filters={"label": label})
        return found

    def keys(self, arguments: str) -> str:
        """What `make keys` prints on standard output."""
        done = subprocess.run(
            ["make", "keys", f"ARGS={arguments}"], cwd=ROOT, env=os.environ | self.env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def status(self, key: str | None = None, scheme: str = "https") -> int:
        """Of a request for a page that needs a key where there are any, on a connection of its own."""
        return requests.get(
            f"{scheme}://127.0.0.1:{self._port}/openapi.json",
            headers={"authorization": f"Bearer {key}"} if key else {},
            verify=str(self.secrets / "ca.crt"),
            timeout=30,
        ).status_code

    def certificate(self) -> str:
        """What a new connection is shown, PEM."""
        return ssl.get_server_certificate(("127.0.0.1", self._port))


@pytest.fixture(scope="module")
def gateway(engine_client: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Over TLS; Compose finds it healthy, so its health check speaks TLS, too."""
    host("bake gateway", {"HEARTH_PROGRESS": "plain"})
    folder = tmp_path_factory.mktemp("secrets")
    folder.chmod(0o755)
    gateway = Gateway(engine_client, folder)
    try:
        host(f"{COMPOSE} up --detach --no-build --no-deps --wait gateway", gateway.env)
        yield gateway
    finally:
        host(f"{COMPOSE} down --volumes --timeout 5", gateway.env)


@pytest.fixture
def alice(gateway: Gateway) -> Iterator[str]:
    """A key, in force during a test."""
    yield gateway.keys("create alice --expires 1d")
    if "alice" in gateway.keys("list"):
        gateway.keys("revoke alice")


def test_the_first_key_closes_a_running_gateway(gateway: Gateway) -> None:
    """Made here and not by the fixture, because this is the first one; as `make keys` leaves it, its user reads it and
    nobody else."""
    assert gateway.status() == 200
    key = gateway.keys("create first")
    assert [gateway.status(given) for given in (None, key, key + "x")] == [401, 200, 401]
    mode = (gateway.secrets / "api_keys").stat()
    assert (mode.st_uid, stat.S_IMODE(mode.st_mode)) == (1000, 0o600)
    assert key not in (gateway.secrets / "api_keys").read_text()


def without_alice(file: Path) -> str:
    return "".join(line for line in file.read_text().splitlines(True) if "alice:" not in line)


def in_place(gateway: Gateway) -> None:
    file = gateway.secrets / "api_keys"
    file.write_text(without_alice(file))


def by_another_file(gateway: Gateway) -> None:
    """As sed -i and most editors do."""
    file, new = gateway.secrets / "api_keys", gateway.secrets / "api_keys~"
    new.write_text(without_alice(file))
    os.chown(new, 1000, 1000)
    new.replace(file)


@pytest.mark.parametrize(
    "revoke", [lambda gateway: gateway.keys("revoke alice"), in_place, by_another_file], ids=["keys", "vi", "sed -i"]
)
def test_a_revoked_key_is_refused_by_the_container_that_runs(
    gateway: Gateway, alice: str, revoke: Callable[[Gateway], object]
) -> None:
    other = gateway.keys("create other")
    before = gateway.container.attrs
    assert gateway.status(alice) == 200
    revoke(gateway)
    assert [gateway.status(key) for key in (alice, other)] == [401, 200]
    gateway.keys("revoke other")
    after = gateway.container.attrs
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])


def test_what_the_container_sees_of_the_folder_it_cannot_change(gateway: Gateway, alice: str) -> None:
    code, out = gateway.container.exec_run(["hearth-gateway", "keys", "revoke", "alice"])
    assert (code, b"Read-only file system" in out) == (2, True)
    assert gateway.status(alice) == 200


def test_neither_key_nor_hash_is_in_the_containers_environment_or_log(gateway: Gateway, alice: str) -> None:
    assert gateway.status(alice) == 200
    hashed = (gateway.secrets / "api_keys").read_text().split("alice:")[-1].strip()
    assert len(hashed) == 64
    seen = repr(gateway.container.attrs) + gateway.container.logs().decode()
    assert alice not in seen
    assert hashed not in seen


def test_where_the_keys_are_gone_it_goes_on_with_the_last_and_does_not_start_again(
    gateway: Gateway, alice: str
) -> None:
    file = gateway.secrets / "api_keys"
    assert gateway.status(alice) == 200
    away = file.rename(gateway.secrets / "away")
    try:
        assert [gateway.status(key) for key in (alice, None)] == [200, 401]
        gateway.container.restart(timeout=5)
        wait_until(lambda: gateway.container.attrs["RestartCount"] > 0)
        assert "/run/hearth/api_keys: is gone" in gateway.container.logs(tail=20).decode()
        with pytest.raises(requests.ConnectionError):
            gateway.status()
    finally:
        away.rename(file)
    host(f"{COMPOSE} up --detach --no-build --no-deps --wait gateway", gateway.env)
    assert [gateway.status(key) for key in (alice, None)] == [200, 401]


def test_a_folder_that_is_not_there_is_not_made_up(gateway: Gateway) -> None:
    """Docker would make an empty one, and an empty one means that everyone may ask."""
    missing = gateway.secrets / "none"
    run = host(f"{COMPOSE} run --rm --no-deps gateway", gateway.env | {"HEARTH_SECRETS": str(missing)}, check=False)
    assert run.returncode != 0
    assert "does not exist" in run.stderr
    assert not missing.exists()


def test_a_renewed_certificate_is_shown_without_a_restart(gateway: Gateway) -> None:
    before = gateway.certificate()
    gateway.renew()
    assert gateway.certificate() == (gateway.secrets / "tls.crt").read_text() != before


def test_plain_http_is_told_to_go(gateway: Gateway) -> None:
    assert gateway.status(scheme="http") == 400
