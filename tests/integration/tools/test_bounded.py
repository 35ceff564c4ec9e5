"""bounded.py, the shell of the commands' sandbox: real processes, which all end."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

SHELL = Path(__file__).parents[3] / "docker/tools/bounded.py"


def run(command: str, seconds: float = 60, **options) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"HEARTH_COMMAND_TIMEOUT": str(seconds)}
    return subprocess.run([SHELL, "-c", command], env=env, capture_output=True, text=True, timeout=60, **options)


def alive(pid: int) -> bool:
    """Whether it runs: one that is dead and not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_output_input_and_exit_code_are_the_commands() -> None:
    done = run("cat; echo error >&2; exit 3", input="in")
    assert (done.stdout, done.stderr, done.returncode) == ("in", "error\n", 3)


def test_a_signals_exit_code_is_the_shells() -> None:
    assert run("kill -SEGV $$").returncode == 128 + signal.SIGSEGV


@pytest.mark.parametrize(
    "command",
    [
        "sleep 999 & echo $!; wait",
        "setsid sleep 999 & echo $!; wait",  # a session and a process group of its own
        "(setsid nohup sleep 999 >/dev/null 2>&1 & echo $!); sleep 998",  # an orphan
        "bash -c 'trap \"\" TERM INT HUP; echo $$; while :; do sleep 0.1; done'",  # deaf to signals
    ],
)
def test_the_time_limit_ends_everything(command: str) -> None:
    done = run(command, seconds=1)
    assert done.returncode == 124
    assert "killed: still running after 1 s" in done.stderr
    assert not alive(int(done.stdout.split()[0]))


def test_nothing_outlives_a_command_that_ended() -> None:
    done = run("setsid sleep 999 >/dev/null 2>&1 & echo $!")
    assert done.returncode == 0
    assert not alive(int(done.stdout))


def test_being_told_to_stop_ends_everything() -> None:
    env = os.environ | {"HEARTH_COMMAND_TIMEOUT": "60"}
    process = subprocess.Popen(
        [SHELL, "-c", "setsid sleep 999 & echo $!; wait"], env=env, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert alive(pid)
    process.terminate()
    assert process.wait(60) == 143
    assert not alive(pid)


def test_what_forks_all_the_time_is_ended() -> None:
    """Chains of processes, each of which starts the next and dies, so that no list of them is ever right."""
    chain = "chain() { echo $BASHPID; sleep 0.01; chain & }; for i in 1 2 3 4; do chain & done; sleep 999"
    done = run(chain, seconds=1)
    assert done.returncode == 124
    pids = [int(line) for line in done.stdout.split()]
    assert len(pids) > 8  # it did fork
    assert not any(alive(pid) for pid in pids)
