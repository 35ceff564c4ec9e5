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


def test_it_says_what_the_start_will_find(tmp_path: Path) -> None:
    baked, cache = tmp_path / "baked", tmp_path / "cache"
    assert seed(baked, cache) == f"0 compiled kernels are in {cache}"
    for name in ("a", "b"):
        (baked / "triton" / name).mkdir(parents=True)
        (baked / "triton" / name / "kernel.cubin").write_text("")
    assert seed(baked, cache) == f"2 compiled kernels come with the image, 0 more from {cache}"
    (cache / "triton/c").mkdir()
    (cache / "triton/c/kernel.cubin").write_text("")
    assert seed(baked, cache) == f"2 compiled kernels come with the image, 1 more from {cache}"
    assert seed(tmp_path / "absent", cache) == f"3 compiled kernels are in {cache}"
