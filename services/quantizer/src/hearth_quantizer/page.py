"""Pages for people: one look, plots that are part of the page, nothing loaded from elsewhere."""

import io
import logging
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#123456"  # replaced by the page's own text colour, so that a plot is legible on dark and light
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "hearth",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def render(package: str, template: str, **values: Any) -> str:
    """A page of a package's templates, which may extend this package's `page.html.jinja`. Values are escaped."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("hearth_quantizer")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return pages.get_template(template).render(**values)


def plot(draw: Callable[["Axes"], None]) -> Any:
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
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    return Markup(re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL))  # noqa: S704 - drawn from numbers


def bars(
    axes: "Axes", names: Sequence[str], values: Sequence[float], colours: Sequence[str], label: Callable[[float], str]
) -> None:
    """Bars with their values above them."""
    drawn = axes.bar(names, values, color=colours)
    axes.bar_label(drawn, [label(value) for value in values], padding=2, color=INK, fontsize=9)
    axes.margins(y=0.15)
