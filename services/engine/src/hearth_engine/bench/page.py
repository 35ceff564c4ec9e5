"""bench.html: the figures of a report with their plots, for people."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hearth_engine.bench.figures import Load, Report, Run, verdicts
from hearth_engine.bench.variants import Name
from hearth_engine.memory import GIB, MIB
from hearth_quantizer import page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: dict[Name, str] = {"bf16": "#8a8f98", "int4": "#d9822b", "hearth": "#2a8f8a", "hearth-roomy": "#5b7fd1"}
_STAGES = ("#b9c0c9", "#6c8ebf", "#82b366", "#d79b00", "#b85450", "#9673a6", "#23979c", "#c9a66b", "#2a8f8a")


def html(report: Report) -> str:
    """The page. It holds its plots and loads nothing."""
    plots = _plots(report) if report.runs else {}
    verdict = verdicts(report)
    return page.render(
        "hearth_engine", "bench.html.jinja", report=report, verdicts=verdict, plots=plots, colours=COLOURS
    )


def _plots(report: Report) -> dict[str, Any]:
    return {
        "Memory, GiB": page.plot(
            lambda axes: _each(axes, report, lambda run: run.memory_loaded / GIB, "{:.2f}".format)
        ),
        "Weights on disk, GiB" if _large(report) else "Weights on disk, MiB": page.plot(
            lambda axes: _each(
                axes, report, lambda run: run.weights_bytes / (GIB if _large(report) else MIB), "{:.2f}".format
            )
        ),
        "Output tokens a second": page.plot(lambda axes: _by_streams(axes, report, lambda load: load.tokens_per_s)),
        "Time per output token at p50, ms": page.plot(
            lambda axes: _by_streams(axes, report, lambda load: load.tpot_ms)
        ),
        "Time to first token at p50, ms": page.plot(lambda axes: _first_tokens(axes, report)),
        "Start, seconds": page.plot(lambda axes: _starts(axes, report)),
    }


def _large(report: Report) -> bool:
    return any(run.weights_bytes > GIB for run in report.runs)


def _each(axes: "Axes", report: Report, value: Callable[[Run], float], label: Callable[[float], str]) -> None:
    names = [_short(run) for run in report.runs]
    page.bars(axes, names, [value(run) for run in report.runs], [COLOURS[run.name] for run in report.runs], label)


def _by_streams(axes: "Axes", report: Report, value: Callable[[Load], float]) -> None:
    for run in report.runs:
        streams = [load.concurrency for load in run.loads]
        axes.plot(
            streams, [value(load) for load in run.loads], marker="o", ms=4, color=COLOURS[run.name], label=_short(run)
        )
    axes.set_xscale("log", base=2)
    streams = sorted({load.concurrency for run in report.runs for load in run.loads})
    axes.set_xticks(streams, [str(count) for count in streams])
    axes.set_xlabel("requests at a time")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


def _first_tokens(axes: "Axes", report: Report) -> None:
    for offset, run in enumerate(report.runs):
        loads = _prompts(run)
        places = [index + (offset - (len(report.runs) - 1) / 2) * 0.8 / len(report.runs) for index in range(len(loads))]
        drawn = axes.bar(
            places,
            [load.ttft_ms for load in loads],
            width=0.75 / len(report.runs),
            color=COLOURS[run.name],
            label=_short(run),
        )
        axes.bar_label(drawn, fmt="%.0f", padding=2, fontsize=7, color=page.INK)
    if report.runs:
        names = [f"{load.prompt_tokens}" for load in _prompts(report.runs[0])[:-1]]
        axes.set_xticks(range(len(names) + 1), [*names, "fifth turn"])
    axes.set_xlabel("tokens of prompt")
    axes.set_yscale("log")
    axes.margins(y=0.2)
    axes.legend(fontsize=8)


def _prompts(run: Run) -> Sequence[Load]:
    return [run.single, *run.prompts, run.turn]


def _starts(axes: "Axes", report: Report) -> None:
    """One bar a variant, its stages from left to right."""
    stages = list(dict.fromkeys(stage.name for run in report.runs for stage in run.start.stages))
    order = sorted(stages, key=lambda name: max(_place(run, name) for run in report.runs))
    colours = dict(zip(order, _STAGES, strict=False))
    shown = set[str]()
    for run in report.runs:
        left = 0.0
        for stage in run.start.stages:
            label = stage.name if stage.name not in shown else None
            shown.add(stage.name)
            axes.barh(_short(run), stage.seconds, left=left, color=colours[stage.name], label=label, height=0.6)
            left += stage.seconds
        axes.annotate(f" {left:.1f}", (left, _short(run)), va="center", fontsize=8, color=page.INK)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.legend(fontsize=6, ncols=2, loc="upper center", bbox_to_anchor=(0.45, -0.12))


def _place(run: Run, stage: str) -> int:
    names = [one.name for one in run.start.stages]
    return names.index(stage) if stage in names else -1


def _short(run: Run) -> str:
    return {"bf16": "16 bit", "int4": "INT4, stock", "hearth": "hearth", "hearth-roomy": "hearth, roomy"}[run.name]
