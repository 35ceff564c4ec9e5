"""What counts as a regression, and what cannot be compared."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hearth_engine import cli
from hearth_engine.bench import compare
from hearth_engine.bench.figures import Load, Report, Run, Start

LOAD = Load(
    concurrency=1, requests=8, prompt_tokens=256, answer_tokens=256, ttft_ms=40, ttft_p99_ms=50, tpot_ms=4,
    tpot_p99_ms=5, tokens_per_s=250, joules_per_token=0.5,
)  # fmt: skip
RUN = Run(
    name="hearth", title="INT4, hearth", weights_bytes=2**30, start=Start(ready_s=10, stages=[]),
    memory_ready=5 * 2**30, memory_loaded=5 * 2**30, loads=[LOAD], prompts=[LOAD], turn=LOAD,
)  # fmt: skip


def report(run: Run | None = RUN, **changes: Any) -> Report:
    base = Report(
        date="2026-01-01", model="m", hardware="H", device="cuda", context=32768, versions={}, runs=[run] if run else []
    )
    return base.model_copy(update=changes)


def of_load(**changes: Any) -> Report:
    return report(RUN.model_copy(update={"loads": [LOAD.model_copy(update=changes)]}))


def regressed(before: Report, after: Report) -> list[str]:
    return [one.where.rpartition(": ")[2] for one in compare.compare(before, after) if one.regressed]


def test_a_report_beside_itself_has_no_regression_and_leaves_no_figure_out() -> None:
    found = compare.compare(report(), report())
    assert len(found) == len(compare.OF_RUNS) + 3 * len(compare.OF_LOADS)
    assert {one.worse for one in found} == {0}


@pytest.mark.parametrize(
    ("changes", "figures"),
    [
        ({"tpot_ms": 4.19}, []),
        ({"tpot_ms": 4.21}, ["tpot_ms"]),
        ({"ttft_ms": 45.9}, []),
        ({"ttft_ms": 46.1}, ["ttft_ms"]),
        ({"tokens_per_s": 231}, []),
        ({"tokens_per_s": 229}, ["tokens_per_s"]),
        ({"joules_per_token": 0.56}, ["joules_per_token"]),
        ({"joules_per_token": None}, []),
        ({"tpot_p99_ms": 50}, []),
        ({"tpot_ms": 1, "ttft_ms": 1, "tokens_per_s": 1000}, []),
    ],
)
def test_worse_than_runs_differ_by_is_a_regression(changes: dict[str, Any], figures: list[str]) -> None:
    assert regressed(of_load(), of_load(**changes)) == figures


@pytest.mark.parametrize(
    ("changes", "figures"),
    [
        ({"memory_ready": int(5.05 * 2**30)}, []),
        ({"memory_loaded": int(5.15 * 2**30)}, ["memory_loaded"]),
        ({"weights_bytes": int(1.01 * 2**30)}, ["weights_bytes"]),
        ({"start": Start(ready_s=12, stages=[])}, []),
        ({"start": Start(ready_s=13, stages=[])}, ["start.ready_s"]),
    ],
)
def test_so_it_is_with_what_is_measured_once_a_run(changes: dict[str, Any], figures: list[str]) -> None:
    assert regressed(report(), report(RUN.model_copy(update=changes))) == figures


@pytest.mark.parametrize(("before", "after", "figures"), [(0.0, 0.0, ["tpot_ms"]), (0.03, 0.0, []), (0.01, 0.02, [])])
def test_the_noise_of_either_report_excuses_as_much_more(before: float, after: float, figures: list[str]) -> None:
    noisy = of_load(noise={"tpot_ms": before}), of_load(tpot_ms=4.3, noise={"tpot_ms": after})
    assert regressed(*noisy) == figures


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "other"}, "the model differs: m before, other now"),
        ({"hardware": "other"}, "the hardware differs: H before, other now"),
        ({"device": "cpu"}, "the device differs"),
        ({"context": 4096}, "the context differs: 32768 before, 4096 now"),
        ({"runs": []}, "has no run named hearth"),
        ({"runs": [RUN.model_copy(update={"prompts": []})]}, "the loads differ"),
        ({"runs": [RUN.model_copy(update={"turn": LOAD.model_copy(update={"requests": 3})})]}, "the loads differ"),
    ],
)
def test_what_says_nothing_about_each_other_is_not_compared(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(compare.IncomparableError, match=message):
        compare.compare(report(), report(**changes))


def test_stock_vllm_is_not_judged() -> None:
    stock = RUN.model_copy(update={"name": "int4", "memory_ready": 9 * 2**30})
    assert regressed(report(), report(runs=[stock, RUN])) == []


def test_the_table_ends_with_the_worst() -> None:
    out = io.StringIO()
    assert not compare.show(compare.compare(of_load(), of_load(tpot_ms=8.0)), Console(file=out))
    rows = [line for line in out.getvalue().splitlines() if "hearth" in line]
    assert "tpot_ms" in rows[-1]
    assert "+100.0%" in rows[-1]
    assert "regression" in rows[-1]
    assert "16 figures, 1 regressed" in out.getvalue()


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        (of_load().model_dump_json(by_alias=True), None, ""),
        (of_load(tpot_ms=8.0).model_dump_json(by_alias=True), 1, ""),
        (report(hardware="other").model_dump_json(by_alias=True), 2, "the hardware differs: H before, other now"),
        ('{"schema": 1, "runs": []}', 2, "is of schema 1, this version compares schema 2"),
        ('{"schema": 2, "runs": []}', 2, "date: Field required"),
        ("[]", 2, "is no benchmark's JSON"),
        (None, 2, "cannot be read: No such file or directory"),
    ],
)
def test_the_command_says_which_by_its_status(
    text: str | None,
    status: int | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base, now = tmp_path / "base.json", tmp_path / "now.json"
    base.write_text(report().model_dump_json(by_alias=True))
    if text is not None:
        now.write_text(text)
    monkeypatch.setattr("sys.argv", ["hearth-engine", "bench-compare", str(base), str(now)])
    if status is None:
        cli.main()
    else:
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == status
    assert message in capsys.readouterr().err
