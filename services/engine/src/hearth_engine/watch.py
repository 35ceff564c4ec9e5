"""Runs vLLM as a child and turns a hang into an exit, which the container's restart policy heals as it heals a crash.

vLLM notices by itself when one of its processes ends. It does not notice one that stands still: its HTTP server goes on
to answer, with counters that no longer move.
"""

import contextlib
import http.client
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from hearth_engine.lean import PERMISSION

ALIVE = Path(tempfile.gettempdir()) / "hearth-engine.alive"  # its time is that of the last sign of life
LOOK_EVERY = 10.0  # seconds; an idle engine is asked for a token as often
FIRST_TOKEN = 4  # times as much patience until there is one: kernels may be compiled for it
ANSWER_WITHIN = 4.0  # seconds, for counters as for one token of an engine that has nothing else to do
# What moves with each step. The last does while a long prompt alone is computed, when the others stand still.
_COUNTED = (
    "vllm:iteration_tokens_total_count",
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:kv_cache_usage_perc",
)
# The control group's count of processes ended for want of memory, version 2 or 1.
_OOM_EVENTS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")


@dataclass(frozen=True)
class Look:
    """What one look found: steps and tokens that vLLM counts (None: it did not answer), CPU seconds that its processes
    have used, and whether a token came that was asked for."""

    counted: float | None
    cpu: float
    token: bool


def works(before: Look, after: Look, *, on_cpu: bool) -> bool:
    """Whether there is a sign of work between two looks.

    A step on the CPU may take longer than any patience; a process that computes does not stand still, so there CPU time
    counts as well.
    """
    if after.token or (on_cpu and after.cpu - before.cpu >= 1):
        return True
    return None not in (before.counted, after.counted) and after.counted != before.counted


def run(
    command: list[str], environment: dict[str, str], *, port: int, model: str, on_cpu: bool, patience: float,
    permit: Callable[[], object] = lambda: None, at_first_token: Callable[[], object] = lambda: None,
) -> int:  # fmt: skip
    """Run vLLM until it ends; the status to exit with. `patience`: seconds without a sign of work; 0 waits for ever.

    `permit` runs while vLLM is being imported, and vLLM reads no model before it has returned. What it or
    `at_first_token` raises ends vLLM. SIGTERM and SIGINT go on to vLLM, which then ends by itself.
    """
    ALIVE.unlink(missing_ok=True)
    kills = _oom_kills()
    waits, permission = os.pipe()
    child = subprocess.Popen(  # noqa: S603
        command, env=environment | {PERMISSION: str(waits)}, pass_fds=(waits,), start_new_session=True
    )
    os.close(waits)
    told_to_end = False

    def pass_on(number: int, _frame: FrameType | None) -> None:
        nonlocal told_to_end
        told_to_end = True
        child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    engine = Engine(f"http://127.0.0.1:{port}", model, child.pid)
    try:
        permit()
        with contextlib.suppress(BrokenPipeError):  # it has ended; why is told below
            os.write(permission, b"1")
        hung = _watch(
            child, engine, on_cpu, lambda: math.inf if told_to_end or not patience else patience, at_first_token
        )
    finally:
        os.close(permission)
        ALIVE.unlink(missing_ok=True)
        _end_session(child.pid)
    status = child.wait()
    if hung:
        _say(f"no token, no step for {hung:.0f} s: vLLM stands still and is ended (HEARTH_HANG_SECONDS)")
        return 128 + signal.SIGKILL
    if status < 0:
        memory = ", out of memory: see the container's limit" if _oom_kills() > kills else ""
        _say(f"vLLM was ended by {signal.Signals(-status).name}{memory}")
        return 128 - status
    return status


def health() -> None:
    """Ends with status 1 unless the engine has given a sign of life lately, the first one a token."""
    try:
        age = time.time() - ALIVE.stat().st_mtime
    except FileNotFoundError:
        sys.exit("hearth-engine: no token yet")
    if age > 3 * LOOK_EVERY:
        sys.exit(f"hearth-engine: no sign of life for {age:.0f} s")


def _watch(
    child: subprocess.Popen[bytes], engine: "Engine", on_cpu: bool, patience: Callable[[], float],
    at_first_token: Callable[[], object],
) -> float:  # fmt: skip
    """Returns when the child has ended (0), or has stood still for too long (for how many seconds)."""
    last, seen, due = Look(None, 0, False), 0.0, 0.0
    before, served = last, 0.0  # until the first token: from when it serves, it has no reason to stand still
    while child.poll() is None:
        time.sleep(0.1)
        if time.monotonic() < due:
            continue
        look = engine.look(last)
        now = time.monotonic()
        if look.token or (seen and works(last, look, on_cpu=on_cpu)):
            if not seen:
                at_first_token()
            ALIVE.touch()
            last, seen, due = look, now, now + LOOK_EVERY
            continue
        if seen and now - seen > patience():
            return now - seen
        if not seen and (served or look.counted is not None):
            if not served or works(before, look, on_cpu=on_cpu):
                served = now
            elif now - served > FIRST_TOKEN * patience():
                return now - served
            before = look
        due = now + 1
    return 0


@dataclass(frozen=True)
class Engine:
    """vLLM's HTTP server and its processes, as one looks at them."""

    url: str
    model: str
    session: int

    def look(self, last: Look) -> Look:
        """Ask for the counters, and for a token where they stand still: a busy engine gets no extra work.

        Of several processes that answer, one may be stopped while the others go on: then nothing moves.
        """
        cpu, stopped = _processes(self.session)
        if stopped:
            return Look(last.counted, last.cpu, False)
        counted, token = None, False
        try:
            counted = self._counted()
            if last.counted in (None, counted) and self.token():
                counted, token = self._counted(), True  # so that the next look does not take this token for work
        except (OSError, ValueError, http.client.HTTPException):
            pass
        return Look(counted, cpu, token)

    def _counted(self) -> float:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=ANSWER_WITHIN) as answer:  # noqa: S310
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(_COUNTED))

    def token(self, within: float = ANSWER_WITHIN) -> bool:
        """Whether a token comes, within so many seconds."""
        body = json.dumps({"model": self.model, "prompt": [0], "max_tokens": 1}).encode()
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/v1/completions", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=within) as answer:  # noqa: S310
                return bool(answer.read())
        except (OSError, http.client.HTTPException):
            return False


def _processes(session: int) -> tuple[float, bool]:
    """CPU seconds of all processes of a session, and whether one is stopped by a signal.

    proc(5): fields 3, 6, 14 and 15 of stat; times are in clock ticks.
    """
    ticks, stopped = 0, False
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                ticks += int(fields[11]) + int(fields[12])
                stopped |= fields[0] == "T"
    return ticks / os.sysconf("SC_CLK_TCK"), stopped


def _oom_kills() -> int:
    text = "\n".join(Path(path).read_text() for path in _OOM_EVENTS if Path(path).is_file())
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _end_session(leader: int) -> None:
    """Kill what is left of vLLM: helpers that outlive it would keep its memory and its port."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _say(text: str) -> None:
    print(f"hearth-engine: {text}", file=sys.stderr, flush=True)
