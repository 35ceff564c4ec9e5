"""The index over real folders: fresh, bounded, and never outside."""

import os
from pathlib import Path

import pytest

from hearth_search import index as index_module
from hearth_search.index import Index, Limits, extract

LIMITS = Limits(documents=100, file_bytes=10_000, characters=5_000)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "tea.md").write_text("# Tea prices\nLongjing costs 42 yuan.")
    (folder / "ai.txt").write_text("人工智能的发展趋势是小模型。")
    return folder


def paths(index: Index, query: str) -> list[str]:
    return [result.location for result in index.search(query, 10, 200).results]


@pytest.fixture
def index(workspace: Path, tmp_path: Path) -> Index:
    return Index(tmp_path / "index.sqlite", workspace, LIMITS)


def test_results_have_title_path_and_extract(index: Index) -> None:
    (result,) = index.search("longjing", 10, 200).results
    assert (result.title, result.location) == ("Tea prices", "tea.md")
    assert result.snippet == "# Tea prices Longjing costs 42 yuan."


def test_chinese_is_found(index: Index) -> None:
    assert paths(index, "人工智能发展趋势") == paths(index, "趋势") == ["ai.txt"]


def test_new_changed_and_deleted_files_count_at_once(index: Index, workspace: Path) -> None:
    assert paths(index, "sencha") == []
    (workspace / "deep/er").mkdir(parents=True)
    (workspace / "deep/er/sencha.txt").write_text("green")
    assert paths(index, "sencha") == ["deep/er/sencha.txt"]  # by its name
    (workspace / "tea.md").write_text("# Tea prices\nSencha costs 17 yuan, and it is out.")
    assert set(paths(index, "sencha")) == {"deep/er/sencha.txt", "tea.md"}
    assert paths(index, "longjing") == []
    (workspace / "tea.md").unlink()
    assert paths(index, "yuan") == []


def test_only_what_changed_is_read_again(index: Index, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = index_module.read
    monkeypatch.setattr(index_module, "read", lambda path, *rest: read.append(path) or original(path, *rest))
    paths(index, "tea")
    assert sorted(read) == ["ai.txt", "tea.md"]
    (workspace / "tea.md").write_text("changed: a longer text than it was before, by far")
    paths(index, "tea")
    assert read[2:] == ["tea.md"]


def test_the_index_outlives_the_process(index: Index, workspace: Path, tmp_path: Path, monkeypatch) -> None:
    paths(index, "tea")
    index.close()
    monkeypatch.setattr(index_module, "read", None)  # nothing may be read
    assert paths(Index(tmp_path / "index.sqlite", workspace, LIMITS), "tea") == ["tea.md"]


@pytest.mark.parametrize("left", [b"", b"not a database, but long enough to look like one" * 100])
def test_a_damaged_index_is_made_anew(workspace: Path, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "index.sqlite").write_bytes(left)
    assert paths(Index(tmp_path / "index.sqlite", workspace, LIMITS), "tea") == ["tea.md"]


def test_links_hidden_files_and_special_files_are_left_out(index: Index, workspace: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("the password is swordfish")
    (workspace / "link.txt").symlink_to(outside / "secret.txt")
    (workspace / "folder").symlink_to(outside, target_is_directory=True)
    (workspace / "inner.md").symlink_to(workspace / "tea.md")
    (workspace / ".git").mkdir()
    (workspace / ".git/config.txt").write_text("swordfish")
    (workspace / ".env").write_text("swordfish")
    os.mkfifo(workspace / "pipe.txt")
    (workspace / os.fsdecode(b"\xff.txt")).write_text("swordfish")
    assert paths(index, "swordfish password secret pipe inner") == []


def test_a_folder_that_becomes_a_link_meanwhile_is_not_followed(
    index: Index, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the listing and the reading."""
    (workspace / "folder").mkdir()
    (workspace / "folder/plan.txt").write_text("harmless")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/plan.txt").write_text("swordfish")
    original = Index._read

    def swapped(self: Index, file: index_module._File):
        if file.path == "folder/plan.txt":
            (workspace / "folder").rename(workspace / "moved")
            (workspace / "folder").symlink_to(tmp_path / "outside", target_is_directory=True)
        return original(self, file)

    monkeypatch.setattr(Index, "_read", swapped)
    assert paths(index, "swordfish") == []


def test_large_and_binary_files_are_found_by_name_only(index: Index, workspace: Path) -> None:
    (workspace / "large.txt").write_text("needle " * 10_000)
    (workspace / "photo.png").write_bytes(b"\0needle")
    assert paths(index, "needle") == []
    assert paths(index, "large") == ["large.txt"]
    assert paths(index, "photo") == ["photo.png"]


def test_no_more_documents_than_the_limit(workspace: Path, tmp_path: Path) -> None:
    for name in "abcd":
        (workspace / f"{name}.txt").write_text("needle")
    index = Index(tmp_path / "index.sqlite", workspace, Limits(documents=4, file_bytes=1000, characters=1000))
    assert sorted(paths(index, "needle")) == ["a.txt", "b.txt", "c.txt"]  # after ai.txt: those first in order


def test_a_search_that_would_read_for_too_long_says_what_is_missing(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "REFRESH_SECONDS", 0)
    answer = index.search("tea", 10, 200)
    assert answer.results == []
    assert "2 documents are not in it yet" in answer.note
    monkeypatch.setattr(index_module, "REFRESH_SECONDS", 60)
    assert index.search("tea", 10, 200).note == ""


def test_a_workspace_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Index(tmp_path / "index.sqlite", tmp_path / "none", LIMITS).search("tea", 1, 100)


@pytest.mark.parametrize(
    ("marked", "length", "expected"),
    [
        ("short \x02hit\x03 text", 100, "short hit text"),
        ("a " * 200 + "\x02needle\x03 in it" + " b" * 200, 40, "…a a a a a needle in it b b b b b b b b b…"),
        # two different hits close together are worth more than one alone, earlier
        ("\x02tea\x03 " + "x " * 100 + "\x02tea\x03 and \x02price\x03" + " y" * 100, 40, "…x x x x x tea and price y y y y y y y y…"),  # noqa: E501
        ("没有" * 100, 20, "没有" * 10 + "…"),
        ("一" * 100 + "\x02趋势\x03" + "二" * 100, 20, "…" + "一" * 5 + "趋势" + "二" * 13 + "…"),
        ("before " * 20 + "\x02hit\x03" + " after" * 20, 40, "…before hit after after after after…"),  # no half words
        ("0f" * 200, 40, "0f" * 20 + "…"),
        ("", 40, ""),
    ],
)  # fmt: skip
def test_the_extract_is_where_the_hits_are(marked: str, length: int, expected: str) -> None:
    assert extract(marked, length) == expected
