"""The threat model's claims name tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/threat-model.md").read_text("utf-8")
ROWS = [
    line for line in TEXT.partition("## What guards what")[2].partition("## ")[0].splitlines() if line.startswith("| ")
][1:]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_what_shows_a_claim_is_there(row: str) -> None:
    shown_by = row.rsplit("|", 2)[1]
    named = re.findall(r"`([^`]+)`", shown_by)
    files = [name for name in named if name.endswith(".py")]
    if not files:
        assert all((ROOT / name).exists() for name in named)
        return
    texts = "".join((ROOT / "tests" / name).read_text("utf-8") for name in files)
    for name in named:
        if name not in files:
            kind = "class " if name.startswith("Test") else "def test_"
            assert kind + name.rstrip("…") in texts, name
