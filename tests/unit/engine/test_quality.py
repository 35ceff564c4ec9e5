"""Reports as tables."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hearth_engine import cli
from hearth_engine.quality import ReportError, load, show

RULES: list[dict[str, Any]] = [
    {"name": "kl_ratio", "title": "KL / KL of rounding", "measured": 0.349, "limit": 0.6, "rule": "at most"},
    {"name": "top1", "title": "same top token", "measured": 0.9461, "limit": 0.9, "rule": "at least"},
]
GATES = [rule | {"passed": True, "advice": "more calibration rows"} for rule in RULES]
QUALITY: dict[str, Any] = {
    "schema": 1,
    "model": "tiny",
    "backend": "gptqmodel",
    "passed": True,
    "device": "cpu",
    "precision": "float32",
    "text_rows": 64,
    "text_tokens": 20000,
    "tool_prompts": {"en": 100, "zh": 100},
    "metrics": {
        "fp": {"perplexity": 9.876, "kl_mean": 0, "kl_p999": 0, "top1": 1, "tool_match": 0.9765},
        "int4": {"perplexity": 9.912, "kl_mean": 0.00381, "kl_p999": 0.1, "top1": 0.9461, "tool_match": 0.9735},
        "rtn": {"perplexity": 10.01, "kl_mean": 0.01093, "kl_p999": 0.3, "top1": 0.9113, "tool_match": 0.947},
    },
    "tools": {"en": {"fp": 0.982, "int4": 0.978, "rtn": 0.95}, "zh": {"fp": 0.971, "int4": 0.969, "rtn": 0.944}},
    "tools_by_kind": {},
    "tool_difference": {"all": {"mean": -0.003, "low": -0.01, "high": 0.01}, "by_language": {}},
    "layers": [0.001, 0.002],
    "positions": [],
    "histogram": {"edges": [], "int4": [], "rtn": []},
    "worst_text": [],
    "worst_tools": [],
    "gates": GATES,
    "versions": {},
}
ENGINE = {
    "schema": 1, "prompts": [0.0031, 0.0027], "mean": 0.0029, "worst": 0.0121, "tokens": 126, "share_of_limit": 0.06,
    "kernels": ["CPUWNA16LinearKernel"], "kv_cache": "bfloat16", "versions": {"vllm": "0.32.0", "torch": "2.13.0+cpu"},
}  # fmt: skip


def folder(path: Path, engine: dict[str, Any] | None = ENGINE, **changes: Any) -> Path:
    path.mkdir()
    (path / "quality.json").write_text(json.dumps(QUALITY | changes))
    if engine:
        (path / "engine.json").write_text(json.dumps(engine))
    return path


def printed(*folders: Path) -> tuple[bool, str]:
    output = io.StringIO()
    passed = show([load(folder) for folder in folders], Console(file=output))
    return passed, output.getvalue()


def test_one_report(tmp_path: Path) -> None:
    passed, text = printed(folder(tmp_path / "a"))
    assert passed
    for part in ("tiny, gptqmodel", "0.00381", "tool calls right, zh", "0.969", "pass 0.349 (at most 0.6)",
                 "pass 0.9461 (at least 0.9)",
                 "0.0029 of 126 tokens", "0.0121", "CPUWNA16LinearKernel", "vllm 0.32.0"):  # fmt: skip
        assert part in text, part
    assert max(map(len, text.splitlines())) <= 140
    assert "more calibration rows" not in text


def test_two_reports_stand_side_by_side_and_a_failed_gate_says_what_to_try(tmp_path: Path) -> None:
    gates = [GATES[0] | {"measured": 0.71, "passed": False}]
    other = folder(tmp_path / "b", engine=None, backend="auto-gptq", gates=gates, tools={})
    passed, text = printed(folder(tmp_path / "a"), other)
    assert not passed
    (row,) = [line for line in text.splitlines() if line.startswith("│ KL / KL of rounding")]
    assert "pass 0.349" in row
    assert "fail 0.71" in row
    assert "tiny, auto-gptq: KL / KL of rounding: more calibration rows" in text
    assert "at start only" in text


def test_what_is_no_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"quality\.json: cannot be read: No such file"):
        load(tmp_path)
    (tmp_path / "quality.json").write_text(json.dumps({key: QUALITY[key] for key in QUALITY if key != "backend"}))
    with pytest.raises(ReportError, match=r"quality\.json: is not a report of this version: backend: Field required"):
        load(tmp_path)


def test_the_command_refuses_and_passes_by_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*folders: Path) -> None:
        monkeypatch.setattr(sys, "argv", ["hearth-engine", "quality", *map(str, folders)])
        cli.main()

    run(folder(tmp_path / "good"))
    assert "gates" in capsys.readouterr().out
    failed = [gate | {"passed": False} for gate in GATES]
    with pytest.raises(SystemExit) as status:
        run(folder(tmp_path / "bad", gates=failed))
    assert status.value.code == 1
    with pytest.raises(SystemExit, match=r"hearth-engine: .*quality\.json: cannot be read"):
        run(tmp_path)
