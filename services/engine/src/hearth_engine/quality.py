"""The reports that lie in the image, as tables: quality.json (the gates' figures) and engine.json (vLLM's own scoring).

Several folders of reports stand side by side, one column each, so that back ends or versions can be compared.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table

from hearth_engine.score import REPORT
from hearth_quantizer.quality import Gate, Metrics, Report
from hearth_quantizer.report import DATA

METRICS = {
    "perplexity": "perplexity",
    "kl_mean": "KL divergence, mean",
    "kl_p999": "KL divergence, 99.9 %",
    "top1": "same top token",
    "tool_match": "tool calls right",
}


class ReportError(RuntimeError):
    """A folder holds no report, or one that is none; the message names the file."""


class Scoring(BaseModel):
    """As `score` writes it: |Δ ln p| between vLLM and the reference, over the canary's tokens."""

    mean: float
    worst: float
    share_of_limit: float
    tokens: int
    kernels: tuple[str, ...]
    kv_cache: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Reports:
    """One folder. `scoring` is missing where the build could not run vLLM: on a machine without the hardware for it."""

    quality: Report
    scoring: Scoring | None

    @property
    def title(self) -> str:
        return f"{self.quality.model}, {self.quality.backend}"


_File = TypeVar("_File", bound=BaseModel)


def load(folder: Path) -> Reports:
    """Raises ReportError."""
    scoring = folder / REPORT
    return Reports(_read(folder / DATA, Report), _read(scoring, Scoring) if scoring.exists() else None)


def _read(path: Path, model: type[_File]) -> _File:
    try:
        return model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ReportError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ReportError(f"{path}: is not a report of this version: {where}: {first['msg']}") from None


def show(reports: list[Reports], console: Console | None = None) -> bool:
    """Print them side by side; whether every gate of every one passed."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=140)
    for table in (_metrics(reports), _gates(reports), _scoring(reports)):
        console.print(table)
    missed = [(each.title, gate) for each in reports for gate in each.quality.gates if not gate.passed]
    for title, gate in missed:
        console.print(f"{title}: {gate.title}: {gate.advice}", markup=False, highlight=False, soft_wrap=True)
    return not missed


def _metrics(reports: list[Reports]) -> Table:
    columns = [(each, variant) for each in reports for variant in Metrics.model_fields]
    table = _table("quality on held-out text and tools", "", *(f"{each.title}\n{variant}" for each, variant in columns))
    scores = [getattr(each.quality.metrics, variant) for each, variant in columns]
    for name, what in METRICS.items():
        table.add_row(what, *(_figure(getattr(of_one, name)) for of_one in scores))
    for language in _union(each.quality.tools for each in reports):
        row = (_figure(each.quality.tools.get(language, {}).get(variant)) for each, variant in columns)
        table.add_row(f"tool calls right, {language}", *row)
    return table


def _gates(reports: list[Reports]) -> Table:
    table = _table("gates", "", *(each.title for each in reports))
    gates = [{gate.title: gate for gate in each.quality.gates} for each in reports]
    for title in _union(gates):
        found = (of_one.get(title) for of_one in gates)
        table.add_row(title, *(_verdict(gate) if gate else "" for gate in found))
    return table


def _verdict(gate: Gate) -> str:
    outcome = "[green]pass[/]" if gate.passed else "[red]fail[/]"
    return f"{outcome} {_figure(gate.measured)} ({gate.rule} {_figure(gate.limit)})"


def _scoring(reports: list[Reports]) -> Table:
    table = _table("vLLM beside transformers, |Δ ln p| of the canary's tokens", "", *(r.title for r in reports))
    rows: dict[str, Callable[[Scoring], str]] = {
        "mean": lambda s: f"{_figure(s.mean)} of {s.tokens} tokens ({s.share_of_limit:.0%} of a prompt's limit)",
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
