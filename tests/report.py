"""What tests measured, in reports/NAME.json, from which docs/benchmarks.md has its figures. None of it is asserted."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPORTS = Path(__file__).parents[1] / "reports"


def add(name: str, measured: Mapping[str, Any]) -> None:
    """Beside what an earlier run measured."""
    path = REPORTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | dict(measured), indent=1) + "\n")


@contextmanager
def report(name: str) -> Iterator[dict[str, Any]]:
    """Takes figures by name and is written at the end."""
    measured: dict[str, Any] = {}
    yield measured
    add(name, measured)
