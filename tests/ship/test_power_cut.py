"""The power fails while one model takes another's place: what starts by itself serves, and `make up` tidies up."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import VERSION, engine_client, images, wait_until  # noqa: F401 - fixtures among them
from tests.ship.engine import SecondEngine, second_engine
from tests.ship.machine import FIRST, IMAGE, SECOND, Machine, checkout, two_models  # noqa: F401 - a fixture among them

GATEWAY = f"hearth-gateway:{VERSION}"
ASK = """
import sys, urllib.request as u
request = u.Request(sys.argv[1] + "/v1/chat/completions", sys.argv[2].encode(), {"content-type": "application/json"})
print(u.urlopen(request, timeout=30).read().decode())
"""


class PoweredMachine(Machine):
    """One whose Docker engine can lose its power."""

    def __init__(self, folder: Path, engine: SecondEngine) -> None:
        super().__init__(folder)
        self.engine = engine

    def run(self, *command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        path = {"PATH": env.pop("PATH")} if "PATH" in env else {}
        words = [f"{name}={value}" for name, value in path.items()]
        return super().run(*self.engine.command("env", *words, *command), check=check, **env)

    def ask(self, text: str = "What is the capital of France?", timeout: float = 120) -> str:
        body = {"model": "qwen3-4b-gptq", "messages": [{"role": "user", "content": text}]}
        answer = self.run(sys.executable, "-c", ASK, self.url, json.dumps(body)).stdout
        content = str(json.loads(answer)["choices"][0]["message"]["content"])
        assert content, answer
        return content

    def serves(self) -> bool:
        body = json.dumps({"model": "qwen3-4b-gptq", "messages": [{"role": "user", "content": "Hello!"}]})
        return self.run(sys.executable, "-c", ASK, self.url, body, check=False).returncode == 0


@pytest.fixture(scope="module")
def powered(
    two_models: None,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[PoweredMachine]:
    folder = tmp_path_factory.mktemp("powered")
    with second_engine(folder / "engine") as engine:
        save = subprocess.Popen(
            ["docker", "save", IMAGE.format(FIRST), IMAGE.format(SECOND), GATEWAY], stdout=subprocess.PIPE
        )
        subprocess.run(engine.command("docker", "load", "--quiet"), stdin=save.stdout, check=True)
        assert save.wait() == 0
        powered = PoweredMachine(checkout(folder), engine)
        powered.up()
        yield powered


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("way", "after"),
    [
        ("beside", "docker network connect --alias*"),  # the new one is fit, and not chosen yet
        ("beside", "mv *"),
        ("beside", "*route --to*"),
        ("after", "docker stop *"),  # the old one is down, the new one not up
        ("after", "mv *"),
    ],
)
def test_after_a_power_cut(powered: PoweredMachine, tmp_path: Path, way: str, after: str) -> None:
    powered.is_whole()
    before = powered.chosen()
    other = SECOND if before == IMAGE.format(FIRST) else FIRST
    done = powered.use_and_die(other, tmp_path, HEARTH_SWAP=way, KILL_AFTER=after)
    assert done.returncode != 0
    powered.engine.crash()

    powered.engine.start()
    wait_until(powered.serves, "nothing serves after the power cut", 240)
    assert powered.chosen() == (before if after[:2] not in ("mv", "*r") else IMAGE.format(other))
    powered.up()
    powered.is_whole()
