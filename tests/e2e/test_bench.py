"""`make bench PROFILE=cpu`, as a user runs it: real engines one after the other, vLLM's own load on each."""

import subprocess
from pathlib import Path

import pytest

from hearth_engine.bench.figures import Report, verdicts

from .conftest import HAS_INT4_KERNEL, ROOT


@pytest.mark.timeout(1500)  # a CPU without AVX-512 takes twice as long
def test_the_bench_measures_16_bit_stock_and_ours_and_writes_its_report(engine_client: object) -> None:
    done = subprocess.run(
        ["make", "bench", "PROFILE=cpu", "HEARTH_PROGRESS=plain"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    report = Report.model_validate_json(Path(ROOT / "reports/bench.json").read_text())
    # Stock vLLM has no way to serve INT4 on a CPU without the kernel; the report says so and the others are measured.
    assert set(report.missing) == (set() if HAS_INT4_KERNEL else {"int4"})
    assert [run.name for run in report.runs] == ["bf16", *(["int4"] if HAS_INT4_KERNEL else []), "hearth"]
    bf16, *_, ours = report.runs
    assert ours.weights_bytes < bf16.weights_bytes / 2
    assert 0 < ours.memory_ready < bf16.memory_loaded + 2**30
    for run in report.runs:
        assert [load.concurrency for load in run.loads] == [1, 4, 16]
        assert all(load.tokens_per_s > 0 and load.tpot_ms > 0 for load in run.loads)
        assert all(prompt.ttft_ms > 0 for prompt in (*run.prompts, run.turn))
        assert len(run.start.stages) >= 4
    assert set(ours.single.noise) >= {"ttft_ms", "tpot_ms", "tokens_per_s"}  # repeated, for comparisons
    same = subprocess.run(["make", "compare", "BASE=reports/bench.json"], cwd=ROOT, capture_output=True, text=True)
    assert (same.returncode, "0 regressed" in same.stdout) == (0, True), same.stdout + same.stderr
    assert len(verdicts(report)) == 3
    html = (ROOT / "reports/bench.html").read_text()
    assert all(run.title in html for run in report.runs)
