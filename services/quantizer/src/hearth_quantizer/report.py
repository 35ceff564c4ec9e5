"""A report as files: quality.json for programs, quality.html for people, which holds its plots and needs no network."""

import io
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hearth_quantizer.quality import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DATA, PAGE = "quality.json", "quality.html"
COLOURS = {"fp": "#8a8f98", "int4": "#2a8f8a", "rtn": "#d9822b"}
NAMES = {"fp": "16 bit source", "int4": "GPTQ INT4", "rtn": "rounded INT4"}
_INK = "#123456"  # replaced by the page's own text colour, so that a plot is legible on dark and light
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "hearth",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.titlesize": 11,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}


def write(report: Report, folder: Path) -> None:
    """Both files into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DATA).write_text(report.model_dump_json(indent=2, by_alias=True) + "\n", "utf-8")
    (folder / PAGE).write_text(html(report), "utf-8")


def html(report: Report) -> str:
    """The page. Whatever the held-out data and the model say is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("hearth_quantizer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plots = {
        "KL divergence, mean (nats a token)": _plot(lambda axes: _divergence(axes, report)),
        "Perplexity": _plot(lambda axes: _perplexity(axes, report)),
        "Tool calls right, by language": _plot(lambda axes: _tools(axes, report)),
        "KL divergence, one layer quantized": _plot(lambda axes: _layers(axes, report)),
        "Same top token, by position in the row": _plot(lambda axes: _positions(axes, report)),
        "Tokens by their KL divergence": _plot(lambda axes: _histogram(axes, report)),
    }
    return pages.get_template("quality.html.jinja").render(report=report, plots=plots, names=NAMES, colours=COLOURS)


def _plot(draw: Callable[["Axes"], None]) -> Any:
    """An SVG element in the page's text colour."""
    import matplotlib
    from markupsafe import Markup
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it announces its font cache
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type] # its stubs ask for a literal type of each key
        figure = Figure(figsize=(4.6, 2.8), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        draw(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    return Markup(re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL))  # noqa: S704 - drawn from numbers


def _divergence(axes: "Axes", report: Report) -> None:
    _bars(axes, {"int4": report.metrics.int4.kl_mean, "rtn": report.metrics.rtn.kl_mean}, "{:.4g}".format)


def _perplexity(axes: "Axes", report: Report) -> None:
    fp = report.metrics.fp.perplexity
    values = {"fp": fp, "int4": report.metrics.int4.perplexity, "rtn": report.metrics.rtn.perplexity}
    _bars(axes, values, lambda value: f"{value:.4g}" if value == fp else f"{value:.4g} ({value / fp - 1:+.2%})")


def _bars(axes: "Axes", values: dict[str, float], label: Callable[[float], str]) -> None:
    bars = axes.bar([NAMES[name] for name in values], list(values.values()), color=[COLOURS[name] for name in values])
    axes.bar_label(bars, [label(value) for value in values.values()], padding=2, color=_INK, fontsize=9)
    axes.margins(y=0.15)


def _tools(axes: "Axes", report: Report) -> None:
    for offset, variant in enumerate(("fp", "int4", "rtn")):
        places = [index + (offset - 1) * 0.27 for index in range(len(report.tools))]
        values = [100 * shares[variant] for shares in report.tools.values()]
        bars = axes.bar(places, values, width=0.25, color=COLOURS[variant], label=NAMES[variant])
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=7, color=_INK)
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
