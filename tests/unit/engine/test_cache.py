"""Caches baked into the image are copied to where vLLM may write."""

from pathlib import Path

import pytest

from hearth_engine.cache import CacheError, seed


def test_seed_copies_the_tree(tmp_path: Path) -> None:
    baked, cache = tmp_path / "baked", tmp_path / "deep/cache"
    (baked / "vllm/modelinfos").mkdir(parents=True)
    (baked / "vllm/modelinfos/a.json").write_text("baked")
    seed(baked, cache)
    assert (cache / "vllm/modelinfos/a.json").read_text() == "baked"


def test_seed_keeps_what_is_there(tmp_path: Path) -> None:
    baked, cache = tmp_path / "baked", tmp_path / "cache"
    for folder, text in ((baked, "baked"), (cache, "newer")):
        folder.mkdir()
        (folder / "a.json").write_text(text)
    seed(baked, cache)
    assert (cache / "a.json").read_text() == "newer"


def test_nothing_baked_leaves_an_empty_cache(tmp_path: Path) -> None:
    seed(tmp_path / "absent", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"HEARTH_CACHE_DIR: .*/file/cache cannot be filled: .*Not a directory"):
        seed(tmp_path / "absent", tmp_path / "file/cache")
