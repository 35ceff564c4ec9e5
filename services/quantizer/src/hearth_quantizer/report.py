"""A report as files: quality.json for programs, quality.html for people, which holds its plots and needs no network."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hearth_quantizer import page
from hearth_quantizer.quality import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DATA, PAGE = "quality.json", "quality.html"
COLOURS = {"fp": "#8a8f98", "int4": "#2a8f8a", "rtn": "#d9822b"}
NAMES = {"fp": "16 bit source", "int4": "GPTQ INT4", "rtn": "rounded INT4"}


def write(report: Report, folder: Path) -> None:
    """Both files into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DATA).write_text(report.model_dump_json(indent=2, by_alias=True) + "\n", "utf-8")
    (folder / PAGE).write_text(html(report), "utf-8")


def html(report: Report) -> str:
    """The page. Whatever the held-out data and the model say is escaped."""
    plots = {
        "KL divergence, mean (nats a token)": page.plot(lambda axes: _divergence(axes, report)),
        "Perplexity": page.plot(lambda axes: _perplexity(axes, report)),
        "Tool calls right, by language": page.plot(lambda axes: _tools(axes, report)),
        "KL divergence, one layer quantized": page.plot(lambda axes: _layers(axes, report)),
        "Same top token, by position in the row": page.plot(lambda axes: _positions(axes, report)),
        "Tokens by their KL divergence": page.plot(lambda axes: _histogram(axes, report)),
    }
    shown = {"report": report, "plots": plots, "names": NAMES, "colours": COLOURS}
    return page.render("hearth_quantizer", "quality.html.jinja", **shown)


def _divergence(axes: "Axes", report: Report) -> None:
    _bars(axes, {"int4": report.metrics.int4.kl_mean, "rtn": report.metrics.rtn.kl_mean}, "{:.4g}".format)


def _perplexity(axes: "Axes", report: Report) -> None:
    fp = report.metrics.fp.perplexity
    values = {"fp": fp, "int4": report.metrics.int4.perplexity, "rtn": report.metrics.rtn.perplexity}
    _bars(axes, values, lambda value: f"{value:.4g}" if value == fp else f"{value:.4g} ({value / fp - 1:+.2%})")


def _bars(axes: "Axes", values: dict[str, float], label: Callable[[float], str]) -> None:
    page.bars(axes, [NAMES[name] for name in values], list(values.values()), [COLOURS[name] for name in values], label)


def _tools(axes: "Axes", report: Report) -> None:
    for offset, variant in enumerate(("fp", "int4", "rtn")):
        places = [index + (offset - 1) * 0.27 for index in range(len(report.tools))]
        values = [100 * shares[variant] for shares in report.tools.values()]
        bars = axes.bar(places, values, width=0.25, color=COLOURS[variant], label=NAMES[variant])
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=7, color=page.INK)
    axes.set_xticks(range(len(report.tools)), list(report.tools))
    axes.set_ylabel("%")
    axes.set_ylim(0, 130)  # room for the legend
    axes.set_yticks(range(0, 101, 25))
    axes.legend(loc="upper center", ncols=3, fontsize=8)


def _layers(axes: "Axes", report: Report) -> None:
    axes.bar(range(len(report.layers)), report.layers, color=COLOURS["int4"], width=0.7)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("layer")
    axes.set_ylabel("nats a token")


def _positions(axes: "Axes", report: Report) -> None:
    for variant in ("int4", "rtn"):
        values = [100 * getattr(position, variant) for position in report.positions]
        axes.plot(range(len(values)), values, marker="o", ms=4, color=COLOURS[variant], label=NAMES[variant])
    axes.set_xticks(range(len(report.positions)), [f"{position.start}+" for position in report.positions])
    axes.set_xlabel("position, tokens")
    axes.set_ylabel("%")
    axes.margins(y=0.15)
    axes.legend(fontsize=8)


def _histogram(axes: "Axes", report: Report) -> None:
    for variant in ("rtn", "int4"):
        counts, edges = getattr(report.histogram, variant), report.histogram.edges
        axes.stairs(counts, edges, color=COLOURS[variant], fill=True, alpha=0.35)
        axes.stairs(counts, edges, color=COLOURS[variant], label=NAMES[variant])
    axes.set_xlabel("log10 of nats")
    axes.set_ylabel("tokens")
    axes.legend(loc="upper left", fontsize=8)
