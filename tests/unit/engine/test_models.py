"""The table of `make models`."""

import io
from pathlib import Path

from rich.console import Console

from hearth_engine import models
from hearth_quantizer.manifest import Manifest
from hearth_quantizer.quality import Gate, Interval, Metrics, Scores, Summary


def judged(manifest: Manifest, passed: bool = True) -> Manifest:
    gate = Gate(name="top1", title="same top token", measured=0.9, limit=0.9, rule="at least", passed=passed, advice="")
    metrics = Metrics(
        fp=Scores(perplexity=10, kl_mean=0, kl_p999=0, top1=1, tool_match=0.98),
        int4=Scores(perplexity=10.1, kl_mean=0.004, kl_p999=0.1, top1=0.946, tool_match=0.975),
        rtn=Scores(perplexity=10.4, kl_mean=0.016, kl_p999=0.3, top1=0.91, tool_match=0.95),
    )
    summary = Summary(passed=passed, metrics=metrics, tool_difference=Interval(mean=0, low=0, high=0), gates=(gate,))
    return manifest.model_copy(update={"quality": summary})


def printed(*lines: str) -> str:
    out = io.StringIO()
    models.show(*models.read([f"{line}\n" for line in lines]), Console(file=out))
    return out.getvalue()


def saved(manifest: Manifest, folder: Path) -> Path:
    folder.mkdir()
    manifest.save(folder)
    return folder


def test_what_the_manifest_says_of_a_model(qwen3_4b: Manifest, tmp_path: Path) -> None:
    folder = saved(judged(qwen3_4b), tmp_path / "made")
    table = printed(f"qwen3-4b\tserving, 0.1.0, cuda\t10.4GB\t{folder}", "tiny\trecipe\t\t")
    for figure in (
        "serving, 0.1.0, cuda",
        "2026-01-01",
        "2.67 GB",
        "10.4GB",
        "0.0040",
        "0.25 ×",
        "+1.00%",
        "94.6%",
        "97.5%",
    ):
        assert figure in table, table
    assert "tiny" in table


def test_a_model_that_missed_its_gates_or_was_never_judged_says_so(tiny: Manifest, tmp_path: Path) -> None:
    missed = saved(judged(tiny, passed=False), tmp_path / "missed")
    assert "gates missed" in printed(f"tiny\timage\t1GB\t{missed}")
    assert "not judged" in printed(f"tiny\timage\t1GB\t{saved(tiny, tmp_path / 'plain')}")


def test_a_manifest_that_cannot_be_read_is_named_and_the_others_are_shown(tiny: Manifest, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/hearth.json").write_text('{"format": 2}')
    table = printed(f"new\timage\t1GB\t{tmp_path}/other", f"tiny\timage\t1GB\t{saved(tiny, tmp_path / 'plain')}")
    assert "new: " in table
    assert "is not a manifest of this version" in table
    assert "not judged" in table
