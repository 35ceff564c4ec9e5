"""What goes into a bundle."""

import io
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from .conftest import keep, layer

ROOT = Path(__file__).parents[3]
COMPOSE = (ROOT / "compose.yaml").read_text()


def pinned(write: ModuleType, **images: str) -> dict:
    return yaml.safe_load(write.pinned(COMPOSE, {name.replace("_", "-"): image for name, image in images.items()}))


def test_the_compose_file_names_images_and_builds_and_pulls_none(write: ModuleType) -> None:
    project = pinned(write, engine_cpu="hearth-engine:2-mine-cpu", gateway="ghcr.io/me/hearth-gateway:2")
    assert {name: service["image"] for name, service in project["services"].items()} == {
        "engine-cpu": "hearth-engine:2-mine-cpu", "gateway": "ghcr.io/me/hearth-gateway:2",
    }  # fmt: skip
    for service in project["services"].values():
        assert service["pull_policy"] == "never"
        assert "build" not in service
    assert set(project["services"]["gateway"]["depends_on"]) == {"engine-cpu"}


def test_all_else_of_a_service_is_as_it_was(write: ModuleType) -> None:
    ours = yaml.safe_load(COMPOSE)
    theirs = pinned(write, engine_cpu="e", gateway="g", tool_files="f")
    for name, service in theirs["services"].items():
        for key in set(service) - {"image", "pull_policy", "depends_on"}:
            assert service[key] == ours["services"][name][key]
    assert theirs["networks"] == ours["networks"]
    assert theirs["volumes"] == ours["volumes"]
    assert theirs["name"] == ours["name"]


def test_secrets_of_the_build_stay_at_home(write: ModuleType) -> None:
    assert set(pinned(write, engine_cpu="e", gateway="g")["secrets"]) == {"approval_key", "shared_state_password"}


def test_with_tools_their_file_is_switched_on(write: ModuleType) -> None:
    assert "HEARTH_TOOLS_FILE=config/hearth.tools.yaml\n" in write.settings("gpu,tools")
    assert "HEARTH_TOOLS_FILE" not in write.settings("gpu")


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("hearth-gateway:1", "hearth-gateway:1"),
        ("ghcr.io:443/me/hearth-gateway", "ghcr.io:443/me/hearth-gateway:latest"),
        ("ghcr.io/me/hearth-gateway:1@sha256:" + "0" * 64, "ghcr.io/me/hearth-gateway:1"),
    ],
)
def test_a_loaded_image_has_a_name_without_a_digest(write: ModuleType, image: str, name: str) -> None:
    assert write.named(image) == name


@pytest.mark.parametrize(("text", "size"), [("2G", 2 * 10**9), ("700m", 7 * 10**8), ("4096", 4096)])
def test_sizes_are_decimal_so_that_4g_fit_on_fat32(write: ModuleType, text: str, size: int) -> None:
    assert write.size(text) == size


@pytest.mark.parametrize("text", ["0", "2GB", "-1", "1.5G", ""])
def test_other_sizes_are_refused(write: ModuleType, text: str) -> None:
    with pytest.raises(write.argparse.ArgumentTypeError, match="a size is a number with K, M or G"):
        write.size(text)


@pytest.mark.parametrize("size", [1, 7, 10, 25, 100])
def test_parts_are_of_the_size_that_was_asked_for(write: ModuleType, tmp_path: Path, size: int) -> None:
    parts = write.Parts(tmp_path / "x.tar", size)
    for chunk in (b"a" * 12, b"", b"b" * 13):
        parts.write(chunk)
    assert not list(tmp_path.glob("*[0-9]")), "a name before all are whole"
    *paths, sums = parts.finish()
    assert b"".join(path.read_bytes() for path in paths) == b"a" * 12 + b"b" * 13
    assert all(path.stat().st_size == size for path in paths[:-1])
    assert [line.split("  ")[1] for line in sums.read_text().splitlines()] == [path.name for path in paths]


def test_a_layer_is_compressed_and_a_config_is_not(write: ModuleType, tmp_path: Path) -> None:
    store = write.Store(tmp_path)
    tar, config = layer("x" * 10**6), b'{"config": {}}'
    compressed = (store.blobs / keep(store, tar)).read_bytes()
    assert len(compressed) < len(tar) / 100
    assert write.zstandard.ZstdDecompressor().stream_reader(io.BytesIO(compressed)).read() == tar
    assert (store.blobs / keep(store, config)).read_bytes() == config


def test_data_under_a_wrong_digest_is_refused_and_not_kept(write: ModuleType, tmp_path: Path) -> None:
    store = write.Store(tmp_path)
    with pytest.raises(SystemExit, match="other data"):
        store.keep("0" * 64, io.BufferedReader(io.BytesIO(layer("x"))), "an image", 10240)
    assert not store.has("0" * 64)
