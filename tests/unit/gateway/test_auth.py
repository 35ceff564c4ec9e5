"""API keys and their file."""

import logging
import os
import re
import signal
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hearth_gateway.auth import KeyFile, KeyFileError, digest, issue, parse, read, revoke
from hearth_gateway.errors import Problem
from hearth_gateway.settings import Settings

HASH = digest(b"key").decode()
DAY = timedelta(days=1)


def test_a_key_file_is_names_and_hashes() -> None:
    keys = parse(f"# people\n\nalice:{HASH}\n  bob-2:{HASH}\n")
    assert {name: key.hash.decode() for name, key in keys.items()} == {"alice": HASH, "bob-2": HASH}
    assert not any(key.created or key.expires for key in keys.values())


@pytest.mark.parametrize(
    "line",
    ["alice", "alice:", f"alice:{HASH[:-1]}", f":{HASH}", f"a b:{HASH}", "alice:secret", "#until tomorrow alice:secret",
     f"#until 2027-02-30T00:00:00Z alice:{HASH}", f"#until  alice:{HASH}"],
)  # fmt: skip
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


def opens(file: KeyFile, key: str) -> bool:
    try:
        file.check(f"Bearer {key}".encode())
    except Problem:
        return False
    return True


class TestExpiry:
    def test_a_key_opens_until_its_time_and_is_then_told_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "keys"
        before = datetime.now(UTC).replace(microsecond=0)
        key = issue(file, "alice", 90 * DAY)
        (alice,) = read(file)
        assert alice.created is not None
        assert alice.expires == alice.created + 90 * DAY
        assert before <= alice.created <= datetime.now(UTC)
        running = KeyFile(file)
        for seconds, opened in ((-1, True), (0, False), (1, False)):
            moment = alice.expires.timestamp() + seconds
            monkeypatch.setattr(time, "time", lambda moment=moment: moment)
            assert opens(running, key) is opened
        with pytest.raises(Problem, match="expired") as caught:
            running.check(f"Bearer {key}".encode())
        assert f"expired at {alice.expires:%Y-%m-%dT%H:%M:%SZ}." in caught.value.message
        assert caught.value.code == "expired_api_key"
        with pytest.raises(Problem, match="not known"):
            running.check(f"Bearer {key}x".encode())

    def test_a_gateway_that_does_not_know_of_it_refuses_the_key_and_takes_the_others(self, tmp_path: Path) -> None:
        """The rules of version 0.1.0: what begins with # is a comment, everything else is name:sha256."""
        file = tmp_path / "keys"
        issue(file, "ever")
        issue(file, "soon", DAY)
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}:[0-9a-f]{64}", line) for line in lines)
        assert [line.partition(":")[0] for line in lines] == ["ever"]


class TestRevoke:
    def test_a_revoked_key_is_refused_at_once_and_nothing_of_it_is_left(self, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        file.write_text(f"# by hand\nold:{HASH}\n")
        keys = {"ever": issue(file, "ever"), "soon": issue(file, "soon", DAY)}
        running = KeyFile(file)
        for name, key in keys.items():
            assert opens(running, key)
            revoke(file, name)
            assert not opens(running, key)
        assert file.read_text() == f"# by hand\nold:{HASH}\n"
        assert opens(running, "key")

    def test_the_last_ones_leaves_a_file_that_lets_nobody_in(self, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        key = issue(file, "alice")
        revoke(file, "alice")
        assert file.read_text() == ""
        assert not opens(KeyFile(file), key)

    def test_its_name_is_free_for_another(self, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        old = issue(file, "alice")
        running = KeyFile(file)
        revoke(file, "alice")
        new = issue(file, "alice")
        assert (opens(running, old), opens(running, new)) == (False, True)

    def test_rotation_has_both_keys_in_force_for_as_long_as_one_likes(self, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        running_keys = [issue(file, "app-1")]
        running = KeyFile(file)
        running_keys.append(issue(file, "app-2"))
        assert all(opens(running, key) for key in running_keys)
        revoke(file, "app-1")
        assert [opens(running, key) for key in running_keys] == [False, True]

    def test_where_there_are_no_keys_the_attempt_leaves_nothing_behind(self, tmp_path: Path) -> None:
        with pytest.raises(KeyFileError, match="keys: No such file"):
            revoke(tmp_path / "keys", "alice")
        assert list(tmp_path.iterdir()) == []

    def test_an_unknown_name_is_refused_with_those_there_are(self, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        issue(file, "alice")
        with pytest.raises(KeyFileError, match="no key named bob; it has: alice"):
            revoke(file, "bob")


class TestHowARunningGatewaySeesAChange:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "keys"

    def test_however_it_is_made(self, file: Path) -> None:
        """In place, of the same length and without a new time; or by a file put in its place."""
        other = digest(b"other").decode()
        file.write_text(f"a:{HASH}\n")
        running = KeyFile(file)
        assert opens(running, "key")
        times = file.stat()
        file.write_text(f"a:{other}\n")
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert [opens(running, key) for key in ("key", "other")] == [False, True]
        replacement = file.with_name("replacement")
        replacement.write_text(f"a:{HASH}\n")
        replacement.replace(file)
        assert [opens(running, key) for key in ("key", "other")] == [True, False]

    def test_it_is_logged_by_names(self, file: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        issue(file, "alice")
        issue(file, "carol")
        running = KeyFile(file)
        revoke(file, "alice")
        key = issue(file, "bob")
        for _ in range(3):
            assert opens(running, key)
        assert caplog.messages == [f"{file} was read again: new ['bob']; gone ['alice']"]

    def test_a_file_that_breaks_is_reported_once_and_again_when_it_breaks_anew(
        self, file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        key = issue(file, "alice")
        good, running = file.read_text(), KeyFile(file)
        for _ in range(2):
            file.write_text("half a line")
            assert all(opens(running, key) for _ in range(3))
            file.write_text(good)
            assert opens(running, key)
        assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
        assert "line 1 is not name:sha256" in caplog.text


class TestTheFolderForSecrets:
    """Without a file that the settings name: `api_keys` there, whenever it comes."""

    def of(self, folder: Path) -> KeyFile:
        file = KeyFile.of(Settings(secrets=folder))
        assert file is not None
        return file

    def test_without_either_setting_there_is_no_file(self) -> None:
        assert KeyFile.of(Settings()) is None

    def test_a_named_file_wins(self, tmp_path: Path) -> None:
        issue(tmp_path / "api_keys", "alice")
        key = issue(tmp_path / "others", "bob")
        file = KeyFile.of(Settings(secrets=tmp_path, api_keys_file=tmp_path / "others"))
        assert file is not None
        assert file.check(f"Bearer {key}".encode()) == "bob"

    def test_everyone_may_ask_until_the_first_key_is_made_and_nobody_without_one_after_it(self, tmp_path: Path) -> None:
        running = self.of(tmp_path)
        assert running.check(None) == ""
        key = issue(tmp_path / "api_keys", "alice")
        assert running.check(f"Bearer {key}".encode()) == "alice"
        with pytest.raises(Problem, match="is needed"):
            running.check(None)
        revoke(tmp_path / "api_keys", "alice")
        assert not opens(running, key)

    def test_a_first_file_that_is_broken_lets_nobody_in(self, tmp_path: Path) -> None:
        running = self.of(tmp_path)
        (tmp_path / "api_keys").write_text("half a line")
        assert not opens(running, "")

    def test_where_the_file_is_gone_it_goes_on_with_the_last_keys_and_does_not_start_again(
        self, tmp_path: Path
    ) -> None:
        key = issue(tmp_path / "api_keys", "alice")
        running = self.of(tmp_path)
        (tmp_path / "api_keys").unlink()
        assert [opens(running, given) for given in (key, "")] == [True, False]
        with pytest.raises(KeyFileError, match="api_keys: is gone, and there were keys"):
            self.of(tmp_path)

    def test_what_cannot_be_looked_at_stops_the_start(self, tmp_path: Path) -> None:
        (tmp_path / "api_keys").symlink_to("api_keys")
        with pytest.raises(KeyFileError, match="api_keys: Too many levels of symbolic links"):
            self.of(tmp_path)


MANY = """
import sys
from pathlib import Path
from hearth_gateway.auth import issue, revoke
file, me = Path(sys.argv[1]), sys.argv[2]
for number in range(8):
    issue(file, f"{me}-{number}")
    if number % 2:
        revoke(file, f"{me}-{number - 1}")
"""
KILLED = """
import os, sys
from pathlib import Path
from hearth_gateway import auth
def die(*given, **named):
    os.kill(os.getpid(), 9)
if sys.argv[2] == "replace":
    Path.replace = die
else:
    setattr(os, sys.argv[2], die)
auth.issue(Path(sys.argv[1]), "bob")
"""


class TestWriters:
    def test_of_many_at_once_none_undoes_what_another_did(self, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        issue(file, "first")
        writers = [subprocess.Popen([sys.executable, "-c", MANY, file, f"w{number}"]) for number in range(4)]
        while any(writer.poll() is None for writer in writers):
            assert "first" in [key.name for key in read(file)]  # whole at every moment
        assert [writer.returncode for writer in writers] == [0] * 4
        left = {f"w{writer}-{number}" for writer in range(4) for number in (1, 3, 5, 7)}
        assert {key.name for key in read(file)} == left | {"first"}

    @pytest.mark.parametrize("step", ["fsync", "replace"])
    def test_one_that_is_killed_leaves_the_file_whole_and_the_next_one_in(self, tmp_path: Path, step: str) -> None:
        file = tmp_path / "keys"
        key = issue(file, "alice")
        before = file.read_bytes()
        assert subprocess.run([sys.executable, "-c", KILLED, file, step]).returncode == -signal.SIGKILL
        assert file.read_bytes() == before
        issue(file, "carol")
        assert [entry.name for entry in read(file)] == ["alice", "carol"]
        assert opens(KeyFile(file), key)
        assert {entry.name for entry in tmp_path.iterdir()} == {"keys", ".keys.lock"}

    def test_a_new_file_is_for_its_owner_alone_and_an_old_ones_mode_stays(self, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        issue(file, "alice")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        file.chmod(0o640)
        issue(file, "bob")
        assert stat.S_IMODE(file.stat().st_mode) == 0o640

    def test_a_link_stays_one(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        link = tmp_path / "keys"
        link.symlink_to("elsewhere/keys")
        issue(link, "alice")
        assert link.is_symlink()
        assert [key.name for key in read(tmp_path / "elsewhere/keys")] == ["alice"]

    def test_a_file_that_cannot_be_read_is_not_written(self, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        file.write_text("half a line")
        with pytest.raises(KeyFileError, match="line 1"):
            issue(file, "alice")
        assert file.read_text() == "half a line"
