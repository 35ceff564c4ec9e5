"""What the ways of shipping hearth are tested with: an engine beside the machine's own, and a small image to put in.

Nothing here is asserted of time. What was measured goes to reports/ship.json, from which docs/benchmarks.md has it.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.report import report

from .engine import SecondEngine, second_engine

BASE = "debian:bookworm-slim"


@pytest.fixture(scope="session")
def base_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`docker save` of the base image, which docker/provide-base.sh makes sure of."""
    archive = tmp_path_factory.mktemp("base") / "base.tar"
    subprocess.run(["docker", "save", "--output", archive, BASE], check=True)
    return archive


@pytest.fixture(scope="session")
def figures() -> Iterator[dict[str, Any]]:
    with report("ship") as measured:
        yield measured


@pytest.fixture
def empty_engine(tmp_path: Path) -> Iterator[SecondEngine]:
    with second_engine(tmp_path / "engine") as engine:
        yield engine
