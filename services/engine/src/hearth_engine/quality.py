"""The reports that lie in the image, as tables: quality.json (the gates' figures) and engine.json (vLLM's own scoring).

Several folders of reports stand side by side, one column each, so that back ends or versions can be compared.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console
from rich.table import Table

from hearth_engine.score import REPORT

QUALITY = "quality.json"


class ReportError(RuntimeError):
    """A folder holds no report, or one that is none; the message names the file."""


class _Part(BaseModel):
    """Keys that are not shown here are the reports' own business."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Gate(_Part):
    name: str
    measured: float
    limit: float
    passed: bool
    advice: str = ""


class Quality(_Part):
    """`metrics`: variant (fp, int4, rtn) → metric → value; `tools`: language → variant → share of exact matches."""

    model: str
    backend: str
    metrics: dict[str, dict[str, float | None]]
    gates: tuple[Gate, ...]
    tools: dict[str, dict[str, float | None]] = {}


class Scoring(_Part):
    """As `score` writes it: |Δ ln p| between vLLM and the reference, over the canary's tokens."""

    mean: float
    worst: float
    limit: float
    tokens: int
    kernels: tuple[str, ...]
    kv_cache: str
    versions: dict[str, str]


class Report(_Part):
    """One folder. `scoring` is missing where the build could not run vLLM: on a machine without the hardware for it."""

    quality: Quality
    scoring: Scoring | None

    @property
    def title(self) -> str:
        return f"{self.quality.model}, {self.quality.backend}"


_File = TypeVar("_File", bound=BaseModel)


def load(folder: Path) -> Report:
    """Raises ReportError."""
    scoring = folder / REPORT
    return Report(
        quality=_read(folder / QUALITY, Quality), scoring=_read(scoring, Scoring) if scoring.exists() else None
    )


def _read(path: Path, model: type[_File]) -> _File:
    try:
        return model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ReportError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ReportError(f"{path}: is not a report of this version: {where}: {first['msg']}") from None


def show(reports: list[Report], console: Console | None = None) -> bool:
    """Print every report, side by side; whether every gate of every one passed."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=140)
    for table in (_metrics(reports), _gates(reports), _scoring(reports)):
        console.print(table)
    failed = [(report, gate) for report in reports for gate in report.quality.gates if not gate.passed]
    for report, gate in failed:
        console.print(f"{report.title}: {gate.name}: {gate.advice}", markup=False, highlight=False, soft_wrap=True)
    return not failed


def _metrics(reports: list[Report]) -> Table:
    columns = [(report, variant) for report in reports for variant in report.quality.metrics]
    table = _table("quality on held-out text and tools", "", *(f"{r.title}\n{v}" for r, v in columns))
    for name in _union(values for report in reports for values in report.quality.metrics.values()):
        table.add_row(name, *(_figure(r.quality.metrics[v].get(name)) for r, v in columns))
    for language in _union(report.quality.tools for report in reports):
        row = (_figure(r.quality.tools.get(language, {}).get(v)) for r, v in columns)
        table.add_row(f"tool calls, {language}", *row)
    return table


def _gates(reports: list[Report]) -> Table:
    table = _table("gates", "", *(report.title for report in reports))
    gates = [{gate.name: gate for gate in report.quality.gates} for report in reports]
    for name in _union(gates):
        found = (of_one.get(name) for of_one in gates)
        table.add_row(name, *(_verdict(gate) if gate else "" for gate in found))
    return table


def _verdict(gate: Gate) -> str:
    outcome = "[green]pass[/]" if gate.passed else "[red]fail[/]"
    return f"{outcome} {_figure(gate.measured)} (limit {_figure(gate.limit)})"


def _scoring(reports: list[Report]) -> Table:
    table = _table("vLLM beside transformers, |Δ ln p| of the canary's tokens", "", *(r.title for r in reports))
    rows: dict[str, Callable[[Scoring], str]] = {
        "mean": lambda s: f"{_figure(s.mean)} of {s.tokens} tokens (limit of a prompt {_figure(s.limit)})",
        "worst": lambda s: _figure(s.worst),
        "kernel": lambda s: ", ".join(s.kernels),
        "KV cache": lambda s: s.kv_cache,
        "versions": lambda s: ", ".join(f"{name} {version}" for name, version in s.versions.items()),
    }
    for name, value in rows.items():
        table.add_row(name, *(value(r.scoring) if r.scoring else "at start only" for r in reports))
    return table


def _union(mappings: Iterable[Mapping[str, object]]) -> list[str]:
    """All keys, in the order of their first appearance."""
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
