"""Starts one variant, says where the seconds of its start went, and ends it."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hearth_engine import watch
from hearth_engine.bench.figures import Stage, Start
from hearth_engine.bench.variants import PORT, Variant

URL = f"http://127.0.0.1:{PORT}"
GIVE_UP = 600.0  # seconds; a first start on a GPU compiles
# What vLLM, or the launcher before it, says once a part of the start is over; in this order, none is sure to come.
MARKS = (
    ("verify the artifact", r"verified \d+ files"),
    ("import", r"vLLM API server version|non-default args"),
    ("configure, start the engine process", r"Initializing a V1 LLM engine"),
    ("load the weights", r"Loading weights took"),
    ("compile, profile", r"KV cache size"),
    ("capture graphs", r"Graph capturing finished"),
    ("warm up", r"init engine .*took"),
    ("start the server", r"Application startup complete"),
)
LAST = "first token"


class EngineError(RuntimeError):
    """A variant did not start or ended early; the text ends with the end of its log."""


def stages(lines: Sequence[tuple[float, str]], first_token: float) -> list[Stage]:
    """The parts of a start, whose seconds add up to `first_token`, from (seconds since the start, line of the log)."""
    found, since, at = [], 0.0, 0
    for name, pattern in MARKS:
        hit = next((n for n in range(at, len(lines)) if re.search(pattern, lines[n][1])), None)
        if hit is not None and lines[hit][0] <= first_token:
            found.append(Stage(name=name, seconds=lines[hit][0] - since))
            since, at = lines[hit][0], hit + 1
    return [*found, Stage(name=LAST, seconds=first_token - since)]


class Engine:
    """A running variant: `pid` is the leader of its session."""

    def __init__(self, variant: Variant, environment: Mapping[str, str]) -> None:
        self._began = time.monotonic()
        self._lines: list[tuple[float, str]] = []
        self._child = subprocess.Popen(  # noqa: S603
            variant.command, env={**environment, **variant.environment}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        self._server = watch.Engine(URL, variant.served_name, self._child.pid)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def log(self) -> str:
        return "\n".join(line for _, line in self._lines)

    def wait(self) -> Start:
        """Returns with the first token. Raises EngineError."""
        while not self._server.token(within=60):
            if self._child.poll() is not None:
                raise self._error(f"ended with status {self._child.returncode} before its first token")
            if time.monotonic() - self._began > GIVE_UP:
                raise self._error(f"gave no token within {GIVE_UP:.0f} s")
            time.sleep(0.05)
        ready = time.monotonic() - self._began
        return Start(ready_s=ready, stages=stages(self._lines, ready))

    def stop(self) -> None:
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(30)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()

    def _read(self) -> None:
        assert self._child.stdout
        for line in self._child.stdout:
            self._lines.append((time.monotonic() - self._began, line.rstrip()))

    def _error(self, problem: str) -> EngineError:
        self._reader.join(5)
        end = "\n".join(line for _, line in self._lines[-30:])
        return EngineError(f"{problem}; its log ends with:\n{end}")


@contextlib.contextmanager
def running(variant: Variant, environment: Mapping[str, str], logs: Path) -> Iterator[Engine]:
    """A variant that is being started, and ended on the way out; its log lies in `logs` afterwards."""
    engine = Engine(variant, environment)
    try:
        yield engine
    finally:
        engine.stop()
        (logs / f"{variant.name}.log").write_text(engine.log, "utf-8")
