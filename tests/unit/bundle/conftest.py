"""docker/bundle/write.py as a module, and a bundle of two images that are next to nothing."""

import hashlib
import importlib.util
import io
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[3] / "docker/bundle/write.py"


@pytest.fixture(scope="session")
def write() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bundle_write", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def layer(text: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        entry = tarfile.TarInfo("file")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text.encode()))
    return made.getvalue()


def keep(store, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    store.keep(digest, io.BufferedReader(io.BytesIO(data)), "an image", len(data))
    return digest


@pytest.fixture
def folder(write: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profiles: str) -> Path:
    """It, unpacked."""
    monkeypatch.setenv("COMPOSE_PROFILES", profiles)
    store = write.Store(tmp_path / ".work")
    base = keep(store, layer("base"))
    images = {
        name: write.Image(keep(store, f'{{"of": "{name}"}}'.encode()), [base, keep(store, layer(name))], 3_000_000)
        for name in ("hearth-engine:1-tiny", "hearth-gateway:1")
    }
    services = {
        "engine-gpu" if profiles == "gpu" else "engine-cpu": "hearth-engine:1-tiny",
        "gateway": "hearth-gateway:1",
    }
    texts = write.contents(store, services, images)
    write.archive(
        write.Parts(tmp_path / "x.tar", 0), "x", texts, store, sorted({b for i in images.values() for b in i.blobs})
    )
    with tarfile.open(tmp_path / "x.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path / "x"


@pytest.fixture
def profiles() -> str:
    return "cpu"
