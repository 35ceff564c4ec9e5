"""docker/roll.sh: what goes wrong is said."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
# A stack of which the old engine does not end.
DOCKER = """#!/bin/bash
case "$*" in
    *" ps "*) echo 0123;;
    *" exec "*metrics*) echo 0;;
    *" up "*) echo "cannot stop container: 0123" >&2; exit 1;;
    *" logs "*) echo "its last line";;
esac
"""


def test_why_an_engine_was_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "COMPOSE_PROFILES": "cpu,scale"}
    done = subprocess.run([ROOT / "docker/roll.sh"], env=env, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-3:-1] == ["its last line", "cannot stop container: 0123"]
    assert "engine-cpu does not start" in done.stderr
