"""A child that serves as vLLM does, ends, is killed or stands still, and what becomes of the one that watches it.

The child is a process of its own with a server of the standard library; the times are cut to fractions of a second.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hearth_engine import watch
from hearth_engine.lean import PERMISSION
from hearth_engine.watch import Look, works

# argv: port, then what it does. `busy` answers no token request and counts on, `prefill` fills its cache meanwhile and
# counts nothing; `deaf` does neither, `mute` not even give a first token.
VLLM = """
import http.server, itertools, os, signal, subprocess, sys, threading, time
port, mode = int(sys.argv[1]), sys.argv[2]
steps = itertools.count(1)
tokens = []
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, text):
        self.send_response(200); self.end_headers(); self.wfile.write(text.encode())
    def do_GET(self):
        count = next(steps) if mode == "busy" and tokens else len(tokens)
        filled = next(steps) / 1e4 if mode == "prefill" else 0
        self.answer(f'# HELP\\nvllm:iteration_tokens_total_count{{engine="0"}} {count}.0\\nvllm:other 7\\n'
                    f'vllm:kv_cache_usage_perc{{engine="0"}} {filled}\\n')
    def do_POST(self):
        if mode == "mute" or (tokens and mode in ("busy", "deaf", "prefill")):
            time.sleep(60)
        tokens.append(1)
        if mode == "crash" and len(tokens) > 2:
            os._exit(4)
        if mode == "killed" and len(tokens) > 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "stopped" and len(tokens) > 2:
            os.kill(os.getpid(), signal.SIGSTOP)
        if mode == "maimed" and len(tokens) > 2:  # and the rest of it goes on
            os.kill(part.pid, signal.SIGSTOP)
        self.answer("{}")
        if mode == "burns":  # from its first token on it computes and answers nothing
            threading.Timer(0.2, lambda: (server.shutdown(), burn())).start()
    def log_message(self, *_): pass
if mode == "maimed":
    part = subprocess.Popen(["sleep", "60"])
if mode == "helper":
    helper = subprocess.Popen(["sleep", "60"])
    print(helper.pid, file=open(sys.argv[3], "w"), flush=True)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
def burn():
    while True: pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
server.serve_forever()
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(watch, "ANSWER_WITHIN", 0.3)
    monkeypatch.setattr(watch, "ALIVE", tmp_path / "alive")
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def run() -> Callable[..., int]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = int(s.getsockname()[1])

    def run(mode: str, *more: str, on_cpu: bool = False, patience: float = 1, **asked: Callable[[], object]) -> int:
        command = [sys.executable, "-c", VLLM, str(port), mode, *more]
        return watch.run(command, dict(os.environ), port=port, model="m", on_cpu=on_cpu, patience=patience, **asked)

    return run


def after(condition: Callable[[], bool], act: Callable[[], object]) -> threading.Thread:
    """Acts in a thread of its own as soon as the condition holds."""

    def wait() -> None:
        while not condition():
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_its_status_is_passed_on(run: Callable[..., int]) -> None:
    assert run("crash") == 4
    assert not watch.ALIVE.exists()


def test_a_kill_is_named(run: Callable[..., int], capfd: pytest.CaptureFixture[str]) -> None:
    assert run("killed") == 128 + signal.SIGKILL
    assert "vLLM was ended by SIGKILL\n" in capfd.readouterr().err


def test_a_kill_for_want_of_memory_is_named(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    events = tmp_path / "memory.events"
    events.write_text("oom 1\noom_kill 1\n")
    monkeypatch.setattr(watch, "_OOM_EVENTS", (str(events), str(tmp_path / "absent")))
    after(watch.ALIVE.exists, lambda: events.write_text("oom 2\noom_kill 2\n"))
    run("killed")
    assert "SIGKILL, out of memory" in capfd.readouterr().err


@pytest.mark.parametrize("mode", ["stopped", "deaf", "maimed"])
@pytest.mark.parametrize("on_cpu", [False, True])
def test_one_that_stands_still_is_ended(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str], mode: str, on_cpu: bool
) -> None:
    """Whether its whole process stands still, only what computes, or one process of several."""
    assert run(mode, on_cpu=on_cpu) == 128 + signal.SIGKILL
    assert "stands still and is ended (HEARTH_HANG_SECONDS)" in capfd.readouterr().err
    assert not watch.ALIVE.exists()


def stop_after(seconds: float) -> None:
    """Tells this process to end, some time after the child's first token."""
    after(watch.ALIVE.exists, lambda: (time.sleep(seconds), os.kill(os.getpid(), signal.SIGTERM)))


@pytest.mark.parametrize("on_cpu", [False, True])
def test_one_that_serves_and_gives_no_first_token_is_ended(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str], on_cpu: bool
) -> None:
    told: list[None] = []
    assert run("mute", on_cpu=on_cpu, patience=0.4, at_first_token=lambda: told.append(None)) == 128 + signal.SIGKILL
    assert "stands still and is ended" in capfd.readouterr().err
    assert told == []


@pytest.mark.parametrize("mode", ["busy", "prefill"])
def test_a_busy_one_that_answers_no_token_goes_on(run: Callable[..., int], mode: str) -> None:
    """A long prompt alone moves no counter of tokens until it is computed."""
    stop_after(2.5)
    assert run(mode) == 0


def test_one_that_computes_goes_on_where_it_is_the_cpu(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY", 1.2)  # a second of it must fit between two looks
    stop_after(4)
    assert run("burns", on_cpu=True, patience=2.5) == 0
    assert capfd.readouterr().err == ""


def test_without_patience_nothing_is_ended(run: Callable[..., int]) -> None:
    stop_after(2)
    assert run("deaf", patience=0) == 0


def test_a_signal_is_passed_on_and_nothing_is_left(run: Callable[..., int], tmp_path: Path) -> None:
    stop_after(0)
    assert run("helper", str(tmp_path / "helper")) == 0
    helper = int((tmp_path / "helper").read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{helper}").exists() and "Z" not in Path(f"/proc/{helper}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_look_counts_its_own_token_at_once(run: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The next look would take it for work, and a hang would be noticed one look later."""
    looks = []
    monkeypatch.setattr(
        watch.Engine, "look", lambda engine, last, look=watch.Engine.look: looks.append(look(engine, last)) or looks[-1]
    )
    stop_after(1)
    assert run("idle") == 0
    found = [look for look in looks if look.token]
    assert len(found) > 2
    assert [look.counted for look in found] == [number + 1 for number in range(len(found))]


def test_health_says_since_when_there_is_none() -> None:
    with pytest.raises(SystemExit, match="no token yet"):
        watch.health()
    watch.ALIVE.touch()
    watch.health()
    os.utime(watch.ALIVE, (time.time() - 100, time.time() - 100))
    with pytest.raises(SystemExit, match="no sign of life for 100 s"):
        watch.health()


@pytest.mark.parametrize(
    ("before", "found", "on_cpu", "expected"),
    [
        (Look(5, 1, True), Look(6, 1, False), False, True),  # it stepped
        (Look(5, 1, True), Look(5, 1, True), False, True),  # it had nothing to do, and answered
        (Look(5, 1, True), Look(5, 9, False), False, False),  # a GPU's engine that only burns CPU time
        (Look(5, 1, True), Look(5, 9, False), True, True),
        (Look(5, 1, True), Look(None, 9, False), True, True),  # one long step, during which it answers nothing
        (Look(5, 1, True), Look(None, 1.5, False), True, False),
        (Look(None, 0, False), Look(5, 0, False), False, False),  # counters alone are no proof of a token
    ],
)
def test_signs_of_work(before: Look, found: Look, on_cpu: bool, expected: bool) -> None:
    assert works(before, found, on_cpu=on_cpu) is expected


WAITS = """
import sys
from hearth_engine.lean import wait_for_permission
wait_for_permission()
sys.exit(9)
"""


def test_nothing_is_read_before_it_is_permitted() -> None:
    asked = []

    def permit() -> None:
        time.sleep(0.5)
        asked.append("permitted")

    command = [sys.executable, "-c", WAITS]
    assert watch.run(command, dict(os.environ), port=1, model="m", on_cpu=True, patience=0, permit=permit) == 9
    assert asked == ["permitted"]


def test_a_refusal_ends_it() -> None:
    class RefusedError(Exception):
        pass

    def refuse() -> None:
        raise RefusedError

    command = [sys.executable, "-c", WAITS]
    with pytest.raises(RefusedError):
        watch.run(command, dict(os.environ), port=1, model="m", on_cpu=True, patience=0, permit=refuse)


def test_one_that_is_left_alone_does_not_go_on() -> None:
    """The launcher was killed while it verified."""
    read, write = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", WAITS], env=os.environ | {PERMISSION: str(read)}, pass_fds=(read,)
    )  # fmt: skip
    os.close(read)
    os.close(write)
    assert child.wait(30) == 1


def test_the_first_token_is_told_once_and_may_end_it(run: Callable[..., int]) -> None:
    told = []

    def tell() -> None:
        told.append("token")
        raise RuntimeError("over budget")

    with pytest.raises(RuntimeError, match="over budget"):
        run("serve", at_first_token=tell)
    assert told == ["token"]
    assert not watch.ALIVE.exists()
