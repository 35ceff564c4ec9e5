"""Is a benchmark worse than an earlier one? Both of the same model on the same card, hearth's own runs only.

A figure may be worse by what repeats within either run differ by, and by what one run differs from the next: a card's
temperature and clock, where memory lies. The second is in no report, so it stands here, with the figures that it was
read from (docs/benchmarks.md). A 99th percentile of so few requests is about their maximum, and is not judged.
"""

import json
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from hearth_engine.bench.figures import SCHEMA, Report, Run
from hearth_engine.bench.variants import Name
from hearth_engine.memory import MIB

OURS: tuple[Name, ...] = ("hearth", "hearth-roomy")


class IncomparableError(RuntimeError):
    """The two reports say nothing about each other; the message says why."""


@dataclass(frozen=True)
class Figure:
    """`name` is where a run or a load has it, `between` the share that runs may differ by; `show` adds the unit."""

    name: str
    between: float
    show: Callable[[float], str]
    more_is_better: bool = False


OF_RUNS = (
    # The same recipe packs the same tensors; a thousandth is a longer config.json.
    Figure("weights_bytes", 0.001, lambda value: f"{value / MIB:.1f} MiB"),
    # Measured once a run, and much of it is the disk's: `make up` of one image has taken 17 to 21 s.
    Figure("start.ready_s", 0.25, "{:.1f} s".format),
    # A plan is held to 1.6 % once its caches are warm.
    Figure("memory_ready", 0.02, lambda value: f"{value / MIB:.0f} MiB"),
    Figure("memory_loaded", 0.02, lambda value: f"{value / MIB:.0f} MiB"),
)
OF_LOADS = (
    # One start and the next: 37.9 and 34.0 ms.
    Figure("ttft_ms", 0.15, "{:.1f} ms".format),
    # 3.87 and 3.85 ms alone, 4.14 and 4.14 at 16 streams; kernels decide it, so 5 % is a different kernel.
    Figure("tpot_ms", 0.05, "{:.2f} ms".format),
    # 2868 and 3017 at 16 streams: the TTFT is in it.
    Figure("tokens_per_s", 0.08, "{:.0f} tokens/s".format, more_is_better=True),
    Figure("joules_per_token", 0.1, "{:.2f} J a token".format),
)


@dataclass(frozen=True)
class Comparison:
    """One figure of both. `worse` and `allowed` are shares of the earlier value; below 0 is better."""

    where: str
    before: str
    after: str
    worse: float
    allowed: float

    @property
    def regressed(self) -> bool:
        return self.worse > self.allowed


def load(path: Path) -> Report:
    """Raises IncomparableError."""
    try:
        text = path.read_bytes()
        schema = json.loads(text).get("schema")
        if schema != SCHEMA:
            raise IncomparableError(f"{path}: is of schema {schema}, this version compares schema {SCHEMA}")
        return Report.model_validate_json(text)
    except OSError as error:
        raise IncomparableError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise IncomparableError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (ValueError, AttributeError):
        raise IncomparableError(f"{path}: is no benchmark's JSON") from None


def compare(base: Report, report: Report) -> list[Comparison]:
    """Every figure of hearth's own runs that both have. Raises IncomparableError."""
    for what in ("model", "hardware", "device", "context"):
        before, after = getattr(base, what), getattr(report, what)
        if before != after:
            raise IncomparableError(f"the {what} differs: {before} before, {after} now")
    runs = [(before, after) for name in OURS if (before := base.run(name)) and (after := report.run(name))]
    if not any(before.name == "hearth" for before, _ in runs):
        raise IncomparableError("a report has no run named hearth")
    return [found for before, after in runs for found in _run(before, after)]


def _run(before: Run, after: Run) -> Iterator[Comparison]:
    for figure in OF_RUNS:
        value = operator.attrgetter(figure.name)
        yield _compared(figure, after.title, value(before), value(after), 0.0)
    loads = [[*run.loads, *run.prompts, run.turn] for run in (before, after)]
    shapes = [[(load.concurrency, load.requests, load.answer_tokens) for load in of_one] for of_one in loads]
    if shapes[0] != shapes[1]:
        raise IncomparableError("the loads differ: one of the two was made by another version of the benchmark")
    for old, new in zip(*loads, strict=True):
        where = f"{after.title}, {new.concurrency} at a time, {new.prompt_tokens} + {new.answer_tokens} tokens"
        for figure in OF_LOADS:
            values = getattr(old, figure.name), getattr(new, figure.name)
            if None not in values:
                noise = old.noise.get(figure.name, 0.0) + new.noise.get(figure.name, 0.0)
                yield _compared(figure, where, *values, noise)


def _compared(figure: Figure, where: str, before: float, after: float, noise: float) -> Comparison:
    more = (after - before) / before if before else float(after > before)
    return Comparison(
        where=f"{where}: {figure.name}", before=figure.show(before), after=figure.show(after),
        worse=-more if figure.more_is_better else more, allowed=figure.between + noise,
    )  # fmt: skip


def show(found: Sequence[Comparison], console: Console | None = None) -> bool:
    """Print them, the worst last; whether none regressed."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=140)
    table = Table(title="benchmark, before and now", title_justify="left")
    for column in ("figure", "before", "now", "worse by", "allowed", ""):
        table.add_column(column, overflow="fold")
    for one in sorted(found, key=lambda one: one.worse - one.allowed):
        verdict = "[red]regression[/]" if one.regressed else "[green]ok[/]"
        table.add_row(one.where, one.before, one.after, f"{one.worse:+.1%}", f"{one.allowed:.1%}", verdict)
    console.print(table)
    regressed = sum(one.regressed for one in found)
    console.print(f"{len(found)} figures, {regressed} regressed", highlight=False)
    return not regressed
