"""The second engine is what the other tests take it for: alone, offline, and mortal."""

import json
import subprocess
from pathlib import Path

import pytest
from tests.e2e.conftest import wait_until

from .conftest import BASE
from .engine import SecondEngine, second_engine

RUN = ["docker", "run", "--detach", "--init"]
# Perl is what the base image has.
SERVER = """
$s = IO::Socket::INET->new(LocalPort => 80, Listen => 1);
while ($c = $s->accept) { print $c "tea\\n"; close $c }
"""


def names(engine: SecondEngine, *options: str) -> set[str]:
    return set(engine.run("docker", "ps", "--format", "{{.Names}}", *options).stdout.split())


def test_it_starts_with_no_images_and_is_not_the_machines_own(empty_engine: SecondEngine) -> None:
    assert empty_engine.run("docker", "images", "--quiet").stdout == ""
    own = subprocess.run(["docker", "info", "-f", "{{.ID}}"], capture_output=True, text=True, check=True).stdout
    assert empty_engine.run("docker", "info", "-f", "{{.ID}}").stdout != own


def test_it_has_no_way_out(empty_engine: SecondEngine, base_archive: Path) -> None:
    empty_engine.run("docker", "load", "--input", str(base_archive))
    links = json.loads(empty_engine.run("ip", "-json", "link").stdout)
    assert {link["ifname"] for link in links} == {"lo", "docker0"}
    assert all("gateway" not in route for route in json.loads(empty_engine.run("ip", "-json", "route").stdout))
    pulled = empty_engine.run("docker", "pull", "hello-world", check=False)
    assert pulled.returncode != 0


def test_ports_on_loopback_are_reached_inside_and_nowhere_else(empty_engine: SecondEngine, base_archive: Path) -> None:
    empty_engine.run("docker", "load", "--input", str(base_archive))
    empty_engine.run(*RUN, "--publish", "127.0.0.1:7070:80", BASE, "perl", "-MIO::Socket::INET", "-e", SERVER)
    read = ["timeout", "5", "bash", "-c", "cat < /dev/tcp/127.0.0.1/7070"]
    wait_until(lambda: empty_engine.run(*read, check=False).stdout == "tea\n")
    assert subprocess.run(read, capture_output=True).returncode != 0


@pytest.mark.parametrize("containerd_store", [False, True], ids=["graph drivers", "containerd's store"])
def test_after_a_power_cut_restart_policies_apply(tmp_path: Path, base_archive: Path, containerd_store: bool) -> None:
    with second_engine(tmp_path / "engine", containerd_store=containerd_store) as engine:
        engine.run("docker", "load", "--input", str(base_archive))
        for name, policy in {"comes-back": "unless-stopped", "stays-away": "no", "stopped": "unless-stopped"}.items():
            engine.run(*RUN, "--name", name, "--restart", policy, BASE, "sleep", "infinity")
        engine.run("docker", "stop", "--time", "0", "stopped")
        (pid,) = engine.run("docker", "inspect", "-f", "{{.State.Pid}}", "comes-back").stdout.split()
        assert int(pid) > 1

        engine.crash()
        assert engine.run("docker", "ps", check=False).returncode != 0
        engine.start()

        wait_until(lambda: names(engine) == {"comes-back"})
        assert names(engine, "--all") == {"comes-back", "stays-away", "stopped"}


def test_nothing_of_it_is_left(tmp_path: Path, base_archive: Path) -> None:
    with second_engine(tmp_path / "engine") as engine:
        engine.run("docker", "load", "--input", str(base_archive))
        engine.run(*RUN, BASE, "sleep", "infinity")
    assert not (tmp_path / "engine/data").exists()
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert not any(str(tmp_path).encode() in command for command in commands)


def test_one_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match=r"(?s)did not come up.*no-such"),
        second_engine(tmp_path, insecure_registries=["no-such registry"]),
    ):
        pass
