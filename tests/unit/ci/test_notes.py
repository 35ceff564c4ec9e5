"""The release notes, to the letter. `UPDATE_GOLDEN=1 pytest tests/unit/ci` writes them anew.

recorded/reports is what an engine image of `tiny` held."""

import os
from pathlib import Path

import pytest
from ci import notes

from hearth_engine import quality
from hearth_engine.bench.figures import Load, Report, Run, Start

HERE = Path(__file__).parent
GOLDEN = HERE / "golden/notes.md"
LOAD = Load(
    concurrency=1, requests=8, prompt_tokens=256, answer_tokens=256, ttft_ms=40, ttft_p99_ms=50, tpot_ms=4,
    tpot_p99_ms=5, tokens_per_s=250,
)  # fmt: skip
RUN = Run(
    name="hearth", title="INT4, hearth", weights_bytes=2**31, start=Start(ready_s=10.04, stages=[]),
    memory_ready=5 * 2**30, memory_loaded=6 * 2**30, turn=LOAD,
    loads=[LOAD, LOAD.model_copy(update={"concurrency": 16, "tokens_per_s": 3017.4})],
    prompts=[LOAD.model_copy(update={"prompt_tokens": 2048})],
)  # fmt: skip
PAGE = """# Releases

## Verify
With [cosign](https://docs.sigstore.dev/), see [gates](models.md#quality-gates) and [below](#update).

    cosign verify NAME

## Update
Not in the notes.
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "release.md"
    path.write_text(PAGE, "utf-8")
    return path


def test_a_release_is_described_to_the_letter(page: Path) -> None:
    bf16 = RUN.model_copy(update={"name": "bf16", "title": "16 bit, stock vLLM", "weights_bytes": 2**33})
    text = notes.render(notes.Notes(
        version="1.2.0", last="1.1.0",
        images=[("hearth-engine:1.2.0-tiny-cpu", 2_390_000_000), ("hearth-gateway:1.2.0", 181_000_000)],
        engines=[notes.Engine("1.2.0-tiny-cpu", quality.load(HERE / "recorded/reports"))],
        bench=Report(
            date="2026-01-01", model="m", hardware="H100, 80 GiB", device="cuda", context=32768,
            versions={"torch": "2.13.0", "vllm": "0.32.0"}, runs=[bf16, RUN],
        ),
        verify=notes.section(page, "Verify", "https://example.com/me/hearth", "1.2.0"),
        commits=["0123456 Gates: the same verdict on every CPU", "89abcde Plan: a context that nobody chose"],
    ))  # fmt: skip
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, "utf-8")
    assert text == GOLDEN.read_text("utf-8")


def test_what_is_not_at_hand_leaves_no_empty_table() -> None:
    text = notes.render(notes.Notes("1.0.0", "", [("hearth-gateway:1.0.0", 1)], [], None, "text", ["0123456 First"]))
    assert "## Quality" not in text
    assert "## Speed" not in text
    assert "## Changes since the beginning\n- 0123456 First\n" in text


def test_links_of_the_page_lead_into_the_repository_of_that_version(page: Path) -> None:
    found = notes.section(page, "Verify", "https://example.com/me/hearth", "1.2.0")
    base = "https://example.com/me/hearth/blob/1.2.0/docs"
    assert f"[gates]({base}/models.md#quality-gates)" in found
    assert f"[below]({base}/release.md#update)" in found
    assert "[cosign](https://docs.sigstore.dev/)" in found
    assert "Not in the notes" not in found


def test_a_page_without_the_section_is_named(page: Path) -> None:
    with pytest.raises(notes.NotesError, match=r"release\.md: has no section Signatures"):
        notes.section(page, "Signatures")
    with pytest.raises(notes.NotesError, match=r"gone\.md: has no section Verify"):
        notes.section(page.with_name("gone.md"), "Verify")
