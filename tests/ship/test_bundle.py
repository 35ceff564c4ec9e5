"""The bundle is written for real, killed on the way, cut, damaged, and installed where there is no network: on bash,
coreutils, tar and Docker alone."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import HERMETIC, ROOT, VERSION, host

from .engine import SecondEngine, second_engine

PROFILE = HERMETIC | {"COMPOSE_PROFILES": "cpu", "HEARTH_PROGRESS": "plain"}
NAME = f"hearth-{VERSION}-tiny-cpu"
GATEWAY = f"hearth-gateway:{VERSION}"


@dataclass(frozen=True)
class Bundle:
    """A written bundle, and the same unpacked."""

    dist: Path
    folder: Path

    @property
    def archive(self) -> Path:
        return self.dist / f"{NAME}.tar"


@dataclass(frozen=True)
class Killed:
    """What a run left in DIST that was killed while it compressed the engine's layers, after so many seconds."""

    visible: set[str]
    layers: dict[Path, int]
    seconds: float


def make_bundle(dist: Path, **variables: str) -> subprocess.Popen[str]:
    command = ["make", "bundle", f"DIST={dist}", *(f"{name}={value}" for name, value in variables.items())]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | PROFILE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True)  # fmt: skip


def finish(making: subprocess.Popen[str]) -> str:
    _, said = making.communicate(timeout=1800)
    assert making.returncode == 0, said[-4000:]
    return said


def kill_when(making: subprocess.Popen[str], ripe: Callable[[], bool]) -> None:
    """SIGKILL to all of it at once."""
    while not ripe():
        assert making.poll() is None, finish(making)[-4000:]
        time.sleep(0.01)
    os.killpg(making.pid, signal.SIGKILL)
    making.communicate()


def blobs(folder: Path, image: str) -> set[Path]:
    """An image's layers in a bundle."""
    configs = dict(line.split()[:2] for line in (folder / "images/list").read_text().splitlines())
    names = (folder / "images" / configs[image][:12] / "blobs").read_text().split()
    return {folder / "images/blobs" / name for name in names}


def megabytes(paths: Iterable[Path]) -> float:
    return round(sum(path.stat().st_size for path in paths) / 1e6, 1)


def copied(folder: Path, to: Path) -> Path:
    """A copy that takes no room: change a file of it by replacing it, not in place."""
    subprocess.run(["cp", "--archive", "--link", folder, to], check=True)
    return to


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def a_layer(folder: Path) -> Path:
    """One of the gateway's own, of some size."""
    return max(blobs(folder, GATEWAY), key=lambda path: path.stat().st_size)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("dist")
    yield folder
    shutil.rmtree(folder)


def finished_layers(dist: Path) -> dict[Path, int]:
    """When each was finished, ns."""
    found = {path: path.stat() for path in (dist / ".work/blobs").glob("[0-9a-f]" * 64)}
    return {path: stat.st_mtime_ns for path, stat in found.items() if stat.st_size > 10**6}


@pytest.fixture(scope="module")
def killed(dist: Path) -> Killed:
    began, kept = time.monotonic(), dist / ".work/blobs"
    kill_when(make_bundle(dist), lambda: bool(finished_layers(dist)) and any(kept.glob("*.partial")))
    seconds = time.monotonic() - began
    return Killed({path.name for path in dist.iterdir()}, finished_layers(dist), seconds)


@pytest.fixture(scope="module")
def bundle(dist: Path, killed: Killed, figures: dict[str, Any]) -> Bundle:
    began = time.monotonic()
    finish(make_bundle(dist))
    seconds = time.monotonic() - began
    subprocess.run(["tar", "-xf", dist / f"{NAME}.tar", "-C", dist], check=True)
    bundle = Bundle(dist, dist / NAME)
    engine, gateway = (blobs(bundle.folder, image) for image in (f"hearth-engine:{VERSION}-tiny-cpu", GATEWAY))
    figures["bundle, MB"] = {
        "archive": megabytes([bundle.archive]), "engine": megabytes(engine), "gateway": megabytes(gateway),
        "of both": megabytes(engine & gateway),
    }  # fmt: skip
    figures["bundle written, s"] = {"a run that was killed": round(killed.seconds, 1), "the next": round(seconds, 1)}
    return bundle


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecondEngine]:
    with second_engine(tmp_path_factory.mktemp("offline")) as engine:
        yield engine


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PATH with nothing but bash, coreutils, tar and docker."""
    folder = tmp_path_factory.mktemp("bare")
    owned = subprocess.run(["dpkg", "-L", "coreutils"], capture_output=True, text=True, check=True).stdout.split()
    for tool in [*(path for path in owned if "/bin/" in path), *map(shutil.which, ("bash", "tar", "docker"))]:
        assert tool
        (folder / Path(tool).name).symlink_to(tool)
    return folder


Install = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def install(offline: SecondEngine, bare: Path) -> Install:
    def run(folder: Path, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return offline.run("env", f"PATH={bare}", str(folder / "install.sh"), *options, check=check)

    return run


# --- Writing it.


def test_a_killed_run_leaves_nothing_that_looks_finished(killed: Killed) -> None:
    assert killed.visible == {".work"}


def test_the_next_run_goes_on_with_what_was_finished(killed: Killed, bundle: Bundle) -> None:
    now = finished_layers(bundle.dist)
    assert killed.layers.items() < now.items()


def test_no_layer_is_in_it_twice(bundle: Bundle) -> None:
    shared = [set(path.read_text().split()) for path in (bundle.folder / "images").glob("*/blobs")]
    assert set.intersection(*shared), "engine and gateway share their base"
    listed = subprocess.run(["tar", "-tf", bundle.archive], capture_output=True, text=True, check=True).stdout.split()
    assert len(listed) == len(set(listed))


def test_it_has_the_profiles_images_and_nothing_of_the_host(bundle: Bundle) -> None:
    images = [line.split()[0] for line in (bundle.folder / "images/list").read_text().splitlines()]
    assert images == [f"hearth-engine:{VERSION}-tiny-cpu", GATEWAY]
    assert "COMPOSE_PROFILES=cpu\n" in (bundle.folder / "stack/.env").read_text()
    assert str(ROOT) not in (bundle.folder / "stack/compose.yaml").read_text()


def test_again_with_nothing_changed_it_does_nothing(bundle: Bundle, figures: dict[str, Any]) -> None:
    before = {path: path.stat().st_mtime_ns for path in bundle.dist.rglob("*")}
    began = time.monotonic()
    assert "nothing changed" in finish(make_bundle(bundle.dist))
    figures["bundle written again, s"] = round(time.monotonic() - began, 1)
    after = {path: path.stat().st_mtime_ns for path in bundle.dist.rglob("*")}
    assert {path for path in after if before.get(path) != after[path]} <= {bundle.dist / ".work/lock"}


def test_killed_while_it_writes_the_archive_it_makes_the_same_one_again(bundle: Bundle) -> None:
    first = digest(bundle.archive)
    assert f"{first}  {NAME}.tar\n" == (bundle.dist / f"{NAME}.tar.sha256").read_text()
    (bundle.dist / f".work/{NAME}.made").unlink()
    kill_when(make_bundle(bundle.dist), (bundle.dist / f"{NAME}.tar.partial").exists)
    assert not bundle.archive.exists()
    finish(make_bundle(bundle.dist))
    assert digest(bundle.archive) == first
    assert not list(bundle.dist.glob("*.partial"))


def test_a_kept_layer_that_was_damaged_is_noticed_and_made_again(bundle: Bundle) -> None:
    first = digest(bundle.archive)
    (bundle.dist / f".work/{NAME}.made").unlink()
    blob = bundle.dist / ".work/blobs" / a_layer(bundle.folder).name
    flip_a_byte(blob)
    making = make_bundle(bundle.dist)
    _, said = making.communicate(timeout=1800)
    assert making.returncode != 0
    assert f"{blob} was damaged" in said
    finish(make_bundle(bundle.dist))
    assert digest(bundle.archive) == first


def test_cut_into_parts_it_comes_together_again_and_names_a_part_that_is_wrong(bundle: Bundle, tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    dist.mkdir()
    copied(bundle.dist / ".work", dist / ".work")
    (dist / f".work/{NAME}.made").unlink()
    finish(make_bundle(dist, SPLIT="200M"))
    parts = sorted(dist.glob("*.part-*"))
    assert [part.stat().st_size for part in parts[:-1]] == [200_000_000] * (len(parts) - 1)
    assert len(parts) > 2
    shutil.rmtree(dist / ".work")

    def join(to: Path) -> subprocess.CompletedProcess[str]:
        to.mkdir(exist_ok=True)
        return subprocess.run(["bash", dist / f"{NAME}.join.sh", to], capture_output=True, text=True)

    away = parts[1].rename(tmp_path / "away")
    flip_a_byte(parts[2])
    refused = join(tmp_path / "to")
    assert refused.returncode == 1
    assert f"{parts[1].name} is missing" in refused.stderr
    assert f"{parts[2].name} is damaged" in refused.stderr
    assert not list((tmp_path / "to").iterdir())

    away.rename(parts[1])
    flip_a_byte(parts[2])
    joined = join(tmp_path / "to")
    assert joined.returncode == 0, joined.stderr
    subprocess.run(["diff", "--recursive", bundle.folder, tmp_path / "to" / NAME], check=True)
    shutil.rmtree(dist)
    shutil.rmtree(tmp_path / "to")


# --- Installing it.


def damage_a_layer(folder: Path) -> str:
    blob = a_layer(folder)
    flip_a_byte(blob)
    return f"images/blobs/{blob.name} is not what it was"


def lose_a_layer(folder: Path) -> str:
    blob = a_layer(folder)
    blob.unlink()
    return f"images/blobs/{blob.name} is missing"


def change_the_compose_file(folder: Path) -> str:
    path = folder / "stack/compose.yaml"
    text = path.read_text().replace("no-new-privileges:true", "no-new-privileges:false")
    path.unlink()
    path.write_text(text)
    return "stack/compose.yaml is not what it was"


@pytest.mark.parametrize("damage", [damage_a_layer, lose_a_layer, change_the_compose_file])
def test_a_damaged_bundle_is_refused_before_anything_is_loaded(
    bundle: Bundle, offline: SecondEngine, install: Install, tmp_path: Path, damage: Callable[[Path], str]
) -> None:
    before = offline.run("docker", "images", "--quiet").stdout
    folder = copied(bundle.folder, tmp_path / "damaged")
    said = damage(folder)
    refused = install(folder, "--dir", str(tmp_path / "hearth"), check=False)
    shutil.rmtree(folder)  # its links would keep the bundle on the disk
    assert refused.returncode == 1
    assert said in refused.stderr
    assert offline.run("docker", "images", "--quiet").stdout == before
    assert not (tmp_path / "hearth").exists()


class Installation:
    def __init__(self, engine: SecondEngine, folder: Path):
        self.engine, self.folder = engine, folder

    def compose(self, *command: str) -> str:
        return self.engine.run("docker", "compose", *command, cwd=self.folder).stdout

    @property
    def url(self) -> str:
        return f"http://{self.compose('port', 'gateway', '8080').strip()}"

    def ask(self, path: str, body: dict | None = None) -> dict:
        data = ["--json", json.dumps(body)] if body else []
        return json.loads(self.engine.run("curl", "-sS", "--fail-with-body", *data, f"{self.url}{path}").stdout)

    def smoke(self) -> None:
        image = self.image("gateway")
        self.engine.run("docker", "run", "--rm", "--network", "host", image, "smoke", "--url", self.url)

    def image(self, service: str) -> str:
        container = self.compose("ps", "--quiet", service).strip()
        return self.engine.run("docker", "inspect", "-f", "{{.Image}}", container).stdout.strip()


@pytest.fixture(scope="module")
def installed(
    bundle: Bundle,
    offline: SecondEngine,
    install: Install,
    tmp_path_factory: pytest.TempPathFactory,
    figures: dict[str, Any],
) -> Iterator[tuple[Installation, str]]:
    """It, and what the installer said when it started it."""
    folder = tmp_path_factory.mktemp("installed") / "hearth"
    began = time.monotonic()
    install(bundle.folder, "--dir", str(folder), "--no-start")
    loaded = time.monotonic()
    done = install(bundle.folder, "--dir", str(folder))
    figures["bundle installed, s"] = {
        "checked and loaded": round(loaded - began, 1), "checked and started": round(time.monotonic() - loaded, 1),
    }  # fmt: skip
    installation = Installation(offline, folder)
    yield installation, done.stdout + done.stderr
    installation.compose("down", "--volumes", "--timeout", "5")


def test_without_a_network_it_starts_and_answers(installed: tuple[Installation, str]) -> None:
    installation, said = installed
    assert "hearth is up at http://127.0.0.1:8080" in said
    assert '"model": "hearth-tiny"' in said
    installation.smoke()


def test_it_runs_what_was_bundled(installed: tuple[Installation, str], bundle: Bundle) -> None:
    installation, _ = installed
    for service, image in {"gateway": GATEWAY, "engine-cpu": f"hearth-engine:{VERSION}-tiny-cpu"}.items():
        own = host(f"docker image inspect -f '{{{{.Id}}}}' {image}").stdout.strip()
        assert installation.image(service) == own


def test_installed_again_it_loads_nothing_and_disturbs_nothing(
    installed: tuple[Installation, str], bundle: Bundle, install: Install
) -> None:
    installation, _ = installed
    before = installation.compose("ps", "--quiet")
    said = install(bundle.folder, "--dir", str(installation.folder)).stderr
    assert f"{GATEWAY} is there" in said
    assert "loading" not in said
    assert installation.compose("ps", "--quiet") == before
    assert not (installation.folder / "backups").exists()


@pytest.fixture(scope="module")
def next_bundle(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The next version's, unpacked: another gateway, another config, the same engine."""
    folder = tmp_path_factory.mktemp("next")
    clone = folder / "clone"
    skipped = shutil.ignore_patterns(".git", ".venv", ".tools", "weights", "dist", ".*cache")
    shutil.copytree(ROOT, clone, ignore=skipped)
    config = clone / "config/hearth.tools.yaml"
    config.write_text(f"{config.read_text()}# of the next version\n")
    dockerfile = f"FROM {GATEWAY}\nLABEL of=next\n"
    copied(bundle.dist / ".work", folder / ".work")
    try:
        subprocess.run(
            ["docker", "build", "-q", "-t", "hearth-gateway:next", "-"], input=dockerfile, text=True, check=True
        )
        host(f"docker tag hearth-engine:{VERSION}-tiny-cpu hearth-engine:next-tiny-cpu")
        write = f"{sys.executable} {clone}/docker/bundle/write.py --out {folder}"
        host(write, PROFILE | {"HEARTH_VERSION": "next"})
        subprocess.run(["tar", "-xf", folder / "hearth-next-tiny-cpu.tar", "-C", folder], check=True)
        yield folder / "hearth-next-tiny-cpu"
    finally:
        host("docker rmi hearth-gateway:next hearth-engine:next-tiny-cpu", check=False)
        shutil.rmtree(folder)


def test_upgraded_and_downgraded_it_keeps_settings_and_data(
    installed: tuple[Installation, str], bundle: Bundle, next_bundle: Path, install: Install
) -> None:
    installation, _ = installed
    folder = installation.folder
    mine = {
        ".env": "# mine\nCOMPOSE_PROFILES=cpu\nHEARTH_BIND=127.0.0.1:8181\nHEARTH_LOG_REQUESTS=bodies",
        "config/hearth.tools.yaml": f"{(folder / 'config/hearth.tools.yaml').read_text()}# my own words\n",
        "keys": "somebody:0\n",
        "compose.override.yaml": "services: {gateway: {labels: {mine: '1'}}}\n",
    }
    for name, text in mine.items():
        (folder / name).write_text(text)
    stored = installation.ask("/v1/responses", {"model": "hearth-tiny", "input": "Hello!", "max_output_tokens": 8})
    old_image = installation.image("gateway")

    said = install(next_bundle, "--dir", str(folder)).stderr
    assert "hearth-engine:next-tiny-cpu" in (folder / "compose.yaml").read_text()
    assert "loading hearth-gateway:next" in said
    assert "config/hearth.tools.yaml: yours stays" in said
    assert (folder / "config/hearth.tools.yaml.new").read_text().endswith("# of the next version\n")
    (backup,) = (folder / "backups").iterdir()
    assert f"hearth-engine:{VERSION}-tiny-cpu" in (backup / "compose.yaml").read_text()
    new_image = installation.image("gateway")
    assert new_image != old_image

    def same_as_before() -> None:
        assert (folder / ".env").read_text().startswith(mine[".env"])
        for name in set(mine) - {".env"}:
            assert (folder / name).read_text() == mine[name]
        assert installation.url == "http://127.0.0.1:8181"
        assert installation.ask(f"/v1/responses/{stored['id']}")["output"] == stored["output"]

    same_as_before()
    # What the first version brought and nobody had changed since: the .env that was written by hand lacked it.
    assert "HEARTH_MAX_IN_FLIGHT=${HEARTH_MAX_NUM_SEQS:-16}\n" in (folder / ".env").read_text()

    install(bundle.folder, "--dir", str(folder))
    assert installation.image("gateway") == old_image
    same_as_before()


def test_a_stopped_installer_can_be_run_again(
    bundle: Bundle, bare: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In an engine with containerd's store, where images have other ids."""
    with second_engine(tmp_path_factory.mktemp("stopped"), containerd_store=True) as engine:
        # Who runs these tests in the background has SIGINT ignored, and so would the installer.
        command = [
            *("env", "--default-signal=INT", f"PATH={bare}"),
            *(bundle.folder / "install.sh", "--dir", tmp_path / "hearth", "--no-start"),
        ]
        installing = subprocess.Popen(
            engine.command(*map(str, command)), stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        assert installing.stderr
        for line in installing.stderr:
            if "loading" in line:
                break
        os.killpg(installing.pid, signal.SIGINT)
        _, said = installing.communicate(timeout=60)
        assert installing.returncode == 130
        assert "running it again goes on" in said
        loads = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        assert not any(b"docker\0load" in load for load in loads)

        assert "installed; to start it" in engine.run(*map(str, command)).stderr
        assert len(engine.run("docker", "images", "--quiet").stdout.split()) == 2
        assert "loading" not in engine.run(*map(str, command)).stderr
