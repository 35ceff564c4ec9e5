"""One model takes another's place, under load, in memory for two or one; whatever goes wrong, one of them serves."""

import itertools
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
import requests
from openai import OpenAI
from tests.e2e.conftest import VERSION, engine_client, images  # noqa: F401 - fixtures
from tests.ship.machine import FIRST, IMAGE, SECOND, Machine, checkout, two_models  # noqa: F401 - a fixture among them


@pytest.fixture(scope="module")
def machine(
    two_models: None,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Machine]:
    machine = Machine(checkout(tmp_path_factory.mktemp("machine")))
    machine.run("docker", "compose", "down", "--volumes", "--timeout", "5")
    try:
        machine.up()
        yield machine
    finally:
        machine.run("docker", "compose", "down", "--volumes", "--timeout", "5", "--remove-orphans", check=False)


class Load:
    """Clients that stream one answer after the other."""

    def __init__(self, machine: Machine, clients: int = 2) -> None:
        self._openai = OpenAI(base_url=f"{machine.url}/v1", api_key="none", max_retries=0, timeout=300)
        self._ends = threading.Event()
        self.answers: list[float] = []
        self.problems: list[str] = []
        self._threads = [threading.Thread(target=self._stream, args=(each,)) for each in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _stream(self, each: int) -> None:
        for turn in itertools.count():
            if self._ends.is_set():
                return
            try:
                stream = self._openai.chat.completions.create(
                    model="qwen3-4b-gptq", stream=True, max_tokens=60, extra_body={"ignore_eos": True},
                    messages=[{"role": "user", "content": f"{each}.{turn}: Tell me about the sea."}],
                )  # fmt: skip
                finishes = [chunk.choices[0].finish_reason for chunk in stream if chunk.choices]
                assert [finish for finish in finishes if finish] == ["length"], finishes
                self.answers.append(time.monotonic())
                time.sleep(0.2)  # the new engine starts on the same cores
            except Exception as error:  # every one of them is what must not be
                self.problems.append(f"{each}.{turn}: {error!r}")
                time.sleep(0.5)


@pytest.mark.parametrize("way", ["beside", "after"])
def test_a_swap_and_the_way_back_under_load(machine: Machine, way: str) -> None:
    machine.use(FIRST)
    machine.is_whole(FIRST)
    with Load(machine) as load:
        there = machine.use(SECOND, HEARTH_SWAP=way)
        assert there.returncode == 0, there.stderr[-4000:]
        machine.is_whole(SECOND)
        between = time.monotonic()
        back = machine.run("make", "rollback", HEARTH_SWAP=way)
        after = time.monotonic()
        time.sleep(3)
    assert load.problems == []
    assert any(at < between for at in load.answers)
    assert any(at > after for at in load.answers)
    assert f"starting {SECOND} beside {FIRST}" in there.stderr or way == "after"
    assert ("new requests wait" in back.stderr) == (way == "after")
    machine.is_whole(FIRST)


@pytest.fixture(scope="module")
def bad(engine_client: docker.DockerClient) -> Iterator[Callable[[str, str], str]]:  # noqa: F811
    """Makes the image of a model that is not what it should be."""
    made = set()

    def make(name: str, lines: str) -> str:
        dockerfile = f"FROM {IMAGE.format(FIRST)}\n{lines}\n"
        tag = IMAGE.format(name)
        subprocess.run(["docker", "build", "-q", "-t", tag, "-"], input=dockerfile, text=True, check=True)
        made.add(tag)
        return name

    yield make
    for tag in made:
        engine_client.images.remove(tag, force=True)


DAMAGED = """USER root
RUN printf X | dd of=$(ls /opt/hearth/model/*.safetensors | head -n 1) bs=1 seek=100000 conv=notrunc
USER 1000:1000"""
# It starts, and a tool's result does not fit. (Compose unsets what an image sets and the host does not.)
SHORT = 'ENTRYPOINT ["env", "HEARTH_CONTEXT_LENGTH=256", "hearth-engine"]\nCMD ["serve"]'


@pytest.mark.parametrize("way", ["beside", "after"])
@pytest.mark.parametrize(
    ("name", "lines", "said"),
    [("damaged", DAMAGED, "does not start"), ("short", SHORT, "fails the smoke test")],
    ids=["damaged", "short"],
)
def test_a_model_that_is_not_fit_leaves_the_old_one(
    machine: Machine, bad: Callable[[str, str], str], name: str, lines: str, said: str, way: str
) -> None:
    before = machine.chosen()
    with Load(machine) as load:
        done = machine.use(bad(name, lines), HEARTH_SWAP=way)
    assert done.returncode != 0
    assert said in done.stderr
    assert load.problems == []
    assert load.answers
    assert machine.chosen() == before
    machine.is_whole()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", ["beside", "after"])
def test_killed_at_each_step_it_serves_and_is_mended_by_make_up(machine: Machine, tmp_path: Path, way: str) -> None:
    for step in itertools.count(1):
        other = SECOND if machine.chosen() == IMAGE.format(FIRST) else FIRST
        done = machine.use_and_die(other, tmp_path, HEARTH_SWAP=way, KILL_AT=str(step))
        if done.returncode == 0:
            break
        print(f"killed at step {step}: {done.stderr.strip().splitlines()[-1:]}, {machine.chosen()}")
        if way == "beside":  # nobody has to do anything
            machine.ask()
        machine.up()
        machine.is_whole()
    assert step > 12, "the steps were not counted"
    machine.is_whole(other)


def test_make_models_says_which_is_served(machine: Machine) -> None:
    machine.use(FIRST)
    machine.use(SECOND)
    table = machine.run("make", "models").stdout
    print(table)
    (second,) = [line for line in table.splitlines() if f" {SECOND} " in line and VERSION in line]
    assert f"serving, {VERSION}, cpu" in second
    assert "auto-gptq" in second
    assert "%" in second
    (first,) = [line for line in table.splitlines() if f" {FIRST} " in line and VERSION in line]
    assert "before" in first
    assert "'make use' builds it" in table


@pytest.mark.parametrize(
    ("model", "said"),
    [("nothing", f"neither an image {IMAGE.format('nothing')} nor a recipe models/nothing.yaml"),
     ("../x", "MODEL=../x"), ("", "which model?")],
)  # fmt: skip
def test_a_name_that_is_none_is_refused(machine: Machine, model: str, said: str) -> None:
    done = machine.use(model)
    assert done.returncode != 0
    assert said in done.stderr
    machine.is_whole()


def test_an_override_of_the_users_own_is_not_touched(machine: Machine) -> None:
    override = machine.folder / "compose.override.yaml"
    chosen = override.read_bytes()
    try:
        override.write_text("services: {gateway: {mem_limit: 600m}}\n")
        done = machine.use(FIRST)
        assert done.returncode != 0
        assert "is not one that 'make use' wrote" in done.stderr
        assert override.read_text() == "services: {gateway: {mem_limit: 600m}}\n"
    finally:
        override.write_bytes(chosen)


def test_an_upgrade_and_a_downgrade_keep_the_choice_and_what_was_answered(
    machine: Machine,
    engine_client: docker.DockerClient,  # noqa: F811
) -> None:
    machine.use(SECOND)
    answer = requests.post(
        f"{machine.url}/v1/responses", json={"model": "qwen3-4b-gptq", "input": "Hello!"}, timeout=60
    ).json()
    for image in (IMAGE.format(SECOND), f"hearth-gateway:{VERSION}"):
        name, tag = image.split(":")
        engine_client.images.get(image).tag(name, tag.replace(VERSION, "0.2.0"))
    try:
        for version in ("0.2.0", VERSION):
            machine.run("docker/start.sh", HEARTH_VERSION=version)
            (engine,) = machine.engines()
            assert engine["Config"]["Image"] == f"hearth-engine:{version}-{SECOND}-cpu"
            kept = requests.get(f"{machine.url}/v1/responses/{answer['id']}", timeout=60)
            assert kept.json()["output"] == answer["output"], json.dumps(kept.json())
        machine.is_whole(SECOND)
    finally:
        for tag in (f"hearth-engine:0.2.0-{SECOND}-cpu", "hearth-gateway:0.2.0"):
            engine_client.images.remove(tag, force=True)


def test_a_backup_brings_everything_back_on_an_empty_machine(machine: Machine, tmp_path: Path) -> None:
    machine.use(SECOND)
    answer = requests.post(
        f"{machine.url}/v1/responses", json={"model": "qwen3-4b-gptq", "input": "Hello!"}, timeout=60
    ).json()
    settings = machine.folder / ".env"
    settings.write_text(settings.read_text() + "HEARTH_MAX_QUEUED=7\n")
    file = tmp_path / "backup.tar.gz"
    machine.run("make", "backup", f"BACKUP={file}")
    assert file.stat().st_mode & 0o077 == 0
    refused = machine.run("make", "restore", f"BACKUP={file}", check=False)
    assert "the stack is running" in refused.stderr

    machine.run("docker", "compose", "down", "--volumes", "--timeout", "5")
    settings.write_text("COMPOSE_PROFILES=gpu\n")
    (machine.folder / "compose.override.yaml").unlink()
    machine.run("make", "restore", f"BACKUP={file}")
    machine.up()
    assert settings.read_text().endswith("HEARTH_MAX_QUEUED=7\n")
    machine.is_whole(SECOND)
    kept = requests.get(f"{machine.url}/v1/responses/{answer['id']}", timeout=60)
    assert kept.json()["output"] == answer["output"]
    follows = requests.post(
        f"{machine.url}/v1/responses", timeout=60,
        json={"model": "qwen3-4b-gptq", "input": "And now?", "previous_response_id": answer["id"]},
    )  # fmt: skip
    assert follows.status_code == 200, follows.text


def test_what_is_no_backup_is_refused(machine: Machine, tmp_path: Path) -> None:
    missing = machine.run("make", "restore", "BACKUP=nothing", check=False)
    assert "BACKUP=nothing: no such file" in missing.stderr
