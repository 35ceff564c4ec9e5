"""docker/runtimes.sh: a runtime's image is named by what it is made from, and by nothing else."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RUNTIMES = {"node", "gateway", "commands", "browser", "search", "egress", "cpu", "cuda"}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "docker", tmp_path / "docker", ignore=shutil.ignore_patterns("node_modules"))
    return tmp_path


def names(root: Path) -> dict[str, str]:
    script = (
        '. docker/runtimes.sh; for name in "${runtimes[@]}"; do echo "$name $(runtime "$name" example.org/me/)"; done'
    )
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return dict(line.split() for line in done.stdout.splitlines())


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def renamed(root: Path, before: dict[str, str]) -> set[str]:
    after = names(root)
    return {name for name in before if after[name] != before[name]}


def test_each_has_a_name_of_its_own(copy: Path) -> None:
    found = names(copy)
    assert found.keys() == RUNTIMES
    assert len(set(found.values())) == len(RUNTIMES)
    assert all(image.startswith(f"example.org/me/hearth-runtime:{name}-") for name, image in found.items())


@pytest.mark.parametrize(
    ("file", "old", "new", "touched"),
    [
        ("Dockerfile", "# --- The gateway.", "# --- The door.", set()),
        ("Dockerfile", 'ENTRYPOINT ["hearth-engine"]', 'ENTRYPOINT ["hearth-engine", "-v"]', set()),
        ("Dockerfile", "FROM runtime-cuda AS engine-cuda", "FROM runtime-cuda AS engine-cuda\nENV A=b", set()),
        ("tools/serve.cjs", "\n", "\n\n", set()),
        ("requirements/uv.txt", "\n", "\n\n", set()),
        ("requirements/gateway.txt", "\n", "\n\n", {"gateway"}),
        ("requirements/engine-cuda.txt", "\n", "\n\n", {"cuda"}),
        ("requirements/torch-cpu.txt", "\n", "\n\n", {"cpu"}),
        ("tools/package-lock.json", "\n", "\n\n", {"node", "commands", "browser"}),
        ("Dockerfile", "chromium-headless-shell >", "chromium-headless-shell fonts-noto >", {"browser"}),
        ("Dockerfile", "FROM debian:bookworm-slim", "FROM debian:trixie-slim", RUNTIMES),
    ],
)
def test_a_change_renames_what_is_made_from_it(copy: Path, file: str, old: str, new: str, touched: set[str]) -> None:
    before = names(copy)
    edit(copy / "docker" / file, old, new)
    assert renamed(copy, before) == touched
