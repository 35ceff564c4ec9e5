"""hearth-gateway keys, as it is typed."""

import re
from pathlib import Path

import pytest

from hearth_gateway.auth import KeyFile, issue
from hearth_gateway.cli import main


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The key file that the environment names."""
    monkeypatch.delenv("HEARTH_SECRETS", raising=False)
    monkeypatch.setenv("HEARTH_API_KEYS_FILE", str(tmp_path / "keys"))
    return tmp_path / "keys"


def test_create_prints_the_key_once_alone_on_standard_output(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "alice"]) == 0
    printed = capsys.readouterr()
    key = printed.out.removesuffix("\n")
    assert KeyFile(file).check(f"Bearer {key}".encode()) == "alice"
    assert key not in printed.err
    assert key not in file.read_text()


def test_list_shows_what_there_is_and_no_secret(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(f"old:{'a' * 64}\n#until 2020-01-01T00:00:00Z late:{'b' * 64}\n")
    key = issue(file, "alice")
    assert main(["keys", "create", "bob", "--expires", "90d"]) == 0
    capsys.readouterr()
    assert main(["keys", "list"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["name", "id", "created", "expires"]
    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    for row, expected in zip(
        rows,
        (r"old +aaaaaaaa  unknown +never", r"late +bbbbbbbb  unknown +2020-01-01T00:00:00Z \(expired\)",
         rf"alice +[0-9a-f]{{8}}  {moment}  never", rf"bob +[0-9a-f]{{8}}  {moment}  {moment}"),
        strict=True,
    ):  # fmt: skip
        assert re.fullmatch(expected, row)
        assert key not in row


def test_revoke_takes_one_away(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    issue(file, "alice")
    issue(file, "bob")
    assert main(["keys", "revoke", "alice"]) == 0
    assert main(["keys", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["name", "bob"]


def test_the_folder_for_secrets_has_a_place_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEARTH_API_KEYS_FILE")
    monkeypatch.setenv("HEARTH_SECRETS", str(tmp_path))
    assert main(["keys", "create", "alice"]) == 0
    assert (tmp_path / "api_keys").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["create", "a b"], "not allowed"),
        (["create", "a", "--file", "/nowhere/x"], "/nowhere/x: No such file"),
        (["list"], "keys: No such file"),
        (["revoke", "alice"], "keys: No such file"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", *arguments]) == 2
    assert complaint in capsys.readouterr().err


def test_without_a_file_it_says_which_settings_name_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEARTH_API_KEYS_FILE")
    assert main(["keys", "list"]) == 2
    assert re.search("--file.*HEARTH_API_KEYS_FILE.*HEARTH_SECRETS", capsys.readouterr().err)


@pytest.mark.parametrize("time", ["0d", "-1d", "90", "d", "1y", "4000d", "1 d", "9999999w"])
def test_a_time_that_is_none_is_refused_with_what_is_allowed(
    file: Path, time: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["keys", "create", "alice", f"--expires={time}"])
    assert re.search(r"12h, 90d, 52w|at most 3660d", capsys.readouterr().err)
    assert not file.exists()


def test_the_former_way_to_make_a_key_is_answered_with_the_new_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["keys", "alice"])
    assert "create" in capsys.readouterr().err
