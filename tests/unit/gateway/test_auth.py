"""API keys and their file."""

from pathlib import Path

import pytest

from hearth_gateway.auth import KeyFile, KeyFileError, digest, issue, parse
from hearth_gateway.cli import main
from hearth_gateway.errors import Problem

HASH = digest(b"key").decode()


def test_a_key_file_is_names_and_hashes() -> None:
    assert parse(f"# people\n\nalice:{HASH}\n  bob-2:{HASH}\n") == {"alice": HASH.encode(), "bob-2": HASH.encode()}


@pytest.mark.parametrize("line", ["alice", "alice:", f"alice:{HASH[:-1]}", f":{HASH}", f"a b:{HASH}", "alice:secret"])
def test_a_bad_line_is_named_by_its_number_and_not_shown(line: str) -> None:
    with pytest.raises(KeyFileError, match="line 2") as caught:
        parse(f"bob:{HASH}\n{line}\n")
    assert "secret" not in str(caught.value)


def test_a_name_stands_once() -> None:
    with pytest.raises(KeyFileError, match="alice is there twice"):
        parse(f"alice:{HASH}\nalice:{HASH}\n")


def test_an_issued_key_opens_and_the_file_does_not_hold_it(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    key = issue(file, "alice")
    assert KeyFile(file).check(f"Bearer {key}".encode()) == "alice"
    assert key not in file.read_text()
    assert len(key) > 40


def test_each_key_is_its_own(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"first:{HASH}")  # as an editor may leave it: without a newline at the end
    keys = {name: issue(file, name) for name in ("alice", "bob")}
    assert len(set(keys.values())) == 2
    for name, key in keys.items():
        assert KeyFile(file).check(b"bearer " + key.encode()) == name
    assert KeyFile(file).check(b"Bearer key") == "first"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "-a", "x" * 65, "a\nb"])
def test_names_that_would_break_the_file_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyFileError, match="not allowed"):
        issue(tmp_path / "keys", name)
    assert not (tmp_path / "keys").exists()


def test_a_taken_name_is_refused(tmp_path: Path) -> None:
    issue(tmp_path / "keys", "alice")
    with pytest.raises(KeyFileError, match="already has a key named alice"):
        issue(tmp_path / "keys", "alice")


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="keys"):
        KeyFile(tmp_path / "keys")


@pytest.mark.parametrize("header", [None, b"", b"Bearer ", b"Basic key", b"key", b"Bearer ke", b"Bearer \xff"])
def test_anything_else_is_401(tmp_path: Path, header: bytes | None) -> None:
    file = tmp_path / "keys"
    file.write_text(f"alice:{HASH}")
    with pytest.raises(Problem) as caught:
        KeyFile(file).check(header)
    assert caught.value.status == 401


class TestCommand:
    def test_it_prints_the_key_once_alone_on_standard_output(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = tmp_path / "keys"
        assert main(["keys", "alice", "--file", str(file)]) == 0
        key = capsys.readouterr().out.strip()
        assert KeyFile(file).check(f"Bearer {key}".encode()) == "alice"

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["alice"], "give --file"),
            (["a b", "--file", "x"], "not allowed"),
            (["a", "--file", "/nowhere/x"], "/nowhere"),
        ],
    )
    def test_what_is_wrong_is_said(
        self, arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("HEARTH_API_KEYS_FILE", raising=False)
        assert main(["keys", *arguments]) == 2
        assert complaint in capsys.readouterr().err
