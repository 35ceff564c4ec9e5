"""A checkout of its own with a stack that runs, as an operator has it, and the two models that it can serve."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.e2e.conftest import ROOT, VERSION, free_port, host, wait_until

PROJECT = "hearth-swap"
FIRST, SECOND = "tiny", "tiny-auto-gptq"
IMAGE = f"hearth-engine:{VERSION}-{{}}-cpu"
# Instead of docker and mv: does as they do, and after the Nth call that changes something, or the first that looks as
# given, kills who called.
DEADLY = """#!/bin/bash
real=$(PATH=${{PATH#*:}} command -v {name})
"$real" "$@"; status=$?
case "{name} $*" in
    mv*compose.override.yaml | *" create "* | *" update "* | *" start "* | *" stop "* | *" rm "* | *" run "* | \
    *" network "* | *" route "*)
        calls=$(($(cat "$CALLS" 2>/dev/null) + 1)); echo $calls >"$CALLS"
        [ $calls != "$KILL_AT" ] && [[ "{name} $*" != $KILL_AFTER ]] || kill -9 -- -$(ps -o pgid= $$ | tr -d " ") ;;
esac
exit $status
"""


class Machine:
    """A checkout of its own with a stack that runs, as an operator has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        bind = f"127.0.0.1:{free_port()}"
        self.url = f"http://{bind}"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("HEARTH_", "COMPOSE_"))}
        self.env = clean | {"COMPOSE_PROFILES": "cpu", "COMPOSE_PROJECT_NAME": PROJECT, "HEARTH_BIND": bind}
        self.env["HEARTH_VERSION"] = VERSION

    def run(self, *command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=self.folder, env=self.env | env, capture_output=True, text=True, timeout=600,
            start_new_session=True,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
        return done

    def use_and_die(self, model: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
        """`make use`, killed at step KILL_AT or after the command that KILL_AFTER is a pattern of."""
        for name in ("docker", "mv"):
            (folder / name).write_text(DEADLY.format(name=name))
            (folder / name).chmod(0o755)
        (folder / "calls").unlink(missing_ok=True)
        path = {"CALLS": str(folder / "calls"), "PATH": f"{folder}:{self.env['PATH']}"}
        return self.use(model, **{"KILL_AT": "never", "KILL_AFTER": "never"} | env | path)

    def use(self, model: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run("make", "use", f"MODEL={model}", check=False, **env)

    def up(self) -> None:
        self.run("docker/start.sh")

    def engines(self) -> list[dict[str, Any]]:
        ids = self.run("docker", "compose", "ps", "--all", "--quiet", "engine-cpu").stdout.split()
        return list(json.loads(self.run("docker", "inspect", *ids).stdout)) if ids else []

    def gateway(self, *arguments: str) -> str:
        return self.run("docker", "compose", "exec", "-T", "gateway", "hearth-gateway", *arguments).stdout

    def chosen(self) -> str:
        """The engine's image, as Compose reads it from the files."""
        return self.run("docker", "compose", "config", "--images", "engine-cpu").stdout.strip()

    def ask(self, text: str = "What is the capital of France?", timeout: float = 120) -> str:
        body = {"model": "qwen3-4b-gptq", "messages": [{"role": "user", "content": text}], "temperature": 0}
        answer = requests.post(f"{self.url}/v1/chat/completions", json=body, timeout=timeout)
        assert answer.status_code == 200, answer.text
        content = str(answer.json()["choices"][0]["message"]["content"])
        assert content, answer.text
        return content

    def is_whole(self, model: str | None = None) -> None:
        """One engine, the one that was chosen, as if nothing had happened."""
        (engine,) = self.engines()
        assert engine["Config"]["Image"] == self.chosen()
        assert model is None or self.chosen() == IMAGE.format(model)
        assert engine["State"]["Health"]["Status"] == "healthy"
        assert engine["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        # What was asked under the new engine's own name, just after a change, is answered there.
        whole = "http://engine:8000, 0 unanswered elsewhere\n"
        wait_until(
            lambda: self.gateway("route") == whole, f"not all requests go to the engine: {self.gateway('route')}"
        )
        assert not (self.folder / "compose.override.yaml.next").exists()
        assert self.run("docker", "ps", "--all", "--quiet", "--filter", "label=hearth.trial").stdout == ""
        self.ask()


def checkout(folder: Path) -> Path:
    ignored = shutil.ignore_patterns(".git", ".venv", ".tools", "weights", "dist", "*cache*", "compose.override*")
    return shutil.copytree(ROOT, folder / "hearth", ignore=ignored)


@pytest.fixture(scope="session")
def two_models(images: dict[str, str]) -> None:
    """Their images, in the machine's own engine."""
    host("bake engine-cpu", {"COMPOSE_PROFILES": "cpu", "HEARTH_PROGRESS": "plain", "HEARTH_BACKEND": "auto-gptq"})
