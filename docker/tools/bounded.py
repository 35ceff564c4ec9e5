#!/usr/bin/python3 -I
"""bounded.py -c COMMAND: a shell whose command ends, with everything it started, after HEARTH_COMMAND_TIMEOUT seconds.

A process group would not do: `setsid` leaves it. As the subreaper this process inherits whatever the command orphans,
so that all of it stays among its descendants. Nothing outlives the call, however that ends. Exit code: the command's,
124 after the time limit, 143 when told to stop.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections import defaultdict
from typing import NoReturn

PR_SET_CHILD_SUBREAPER = 36


def descendants(root: int) -> set[int]:
    """Living processes below `root`, by /proc."""
    children: dict[int, list[int]] = defaultdict(list)
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it ended meanwhile
        if state != "Z":
            children[int(parent)].append(int(name))
    found: set[int] = set()
    waiting = [root]
    while waiting:
        below = children[waiting.pop()]
        found.update(below)
        waiting += below
    return found


def send(number: signal.Signals, pids: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.kill(pid, number)


def end_all() -> None:
    """Stops every descendant before it kills them: one that runs could fork faster than it is found."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stopped: set[int] = set()
    while new := descendants(os.getpid()) - stopped:
        send(signal.SIGSTOP, new)
        stopped |= new
    with contextlib.suppress(ChildProcessError):  # none is left, dead ones included: they would keep their process ids
        while True:
            send(signal.SIGKILL, descendants(os.getpid()))
            os.waitpid(-1, 0)


def told_to_stop(*_: object) -> NoReturn:
    sys.exit(143)


def main() -> int:
    seconds = float(os.environ["HEARTH_COMMAND_TIMEOUT"])
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, told_to_stop)
    try:
        command = subprocess.Popen(["/bin/bash", *sys.argv[1:]], start_new_session=True)  # noqa: S603 (its purpose)
        code = command.wait(timeout=seconds)
        return code if code >= 0 else 128 - code
    except subprocess.TimeoutExpired:
        print(f"killed: still running after {seconds:g} s", file=sys.stderr)
        return 124
    finally:
        end_all()


if __name__ == "__main__":
    sys.exit(main())
