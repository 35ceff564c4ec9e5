"""`make notes`: what a release says of itself, in Markdown, on standard output. Commits come on standard input."""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hearth_engine import quality
from hearth_engine.bench.figures import Report

ROOT = Path(__file__).parents[1]


class NotesError(RuntimeError):
    """Something that the notes need is missing; the message names it."""


@dataclass(frozen=True)
class Engine:
    """An engine's image by its tag, and the reports in it."""

    name: str
    reports: quality.Reports


@dataclass(frozen=True)
class Notes:
    """All that is in them. `images` are names with sizes in bytes, `verify` is Markdown, `last` the release before."""

    version: str
    last: str
    images: Sequence[tuple[str, int]]
    engines: Sequence[Engine]
    bench: Report | None
    verify: str
    commits: Sequence[str]


def section(page: Path, heading: str, source: str = "", version: str = "") -> str:
    """The text below a heading of the second level, without what stands below the next.

    Links to other pages lead into the repository at `source`, where that is known. Raises NotesError.
    """
    text = page.read_text("utf-8") if page.exists() else ""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise NotesError(f"{page.relative_to(ROOT) if page.is_relative_to(ROOT) else page}: has no section {heading}")
    base = f"{source}/blob/{version}/docs/" if source else ""
    absolute = re.sub(
        r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)", lambda link: f"]({base}{link[1] or page.name}{link[2] or ''})", found[1]
    )
    return absolute.strip()


def render(notes: Notes) -> str:
    """The same notes give the same text."""
    environment = Environment(  # noqa: S701 - Markdown
        loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined,
        keep_trailing_newline=True,
    )  # fmt: skip
    gates = dict.fromkeys(gate.title for engine in notes.engines for gate in engine.reports.quality.gates)
    metrics = {name: title for name, title in quality.METRICS.items() if name != "kl_p999"}
    return environment.get_template("notes.md.jinja").render(
        vars(notes), metrics=metrics, gates=list(gates), gate=_gate, figure=_figure
    )


def _gate(engine: Engine, title: str) -> str:
    found = next((gate for gate in engine.reports.quality.gates if gate.title == title), None)
    if found is None:
        return ""
    return f"{'pass' if found.passed else '**fail**'}: {_figure(found.measured)} ({found.rule} {_figure(found.limit)})"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="ci.notes", description=__doc__)
    parser.add_argument("version")
    parser.add_argument("--last", default="", help="the release before")
    parser.add_argument("--source", default="", help="https address of the repository, for links")
    parser.add_argument("--image", nargs=2, action="append", default=[], metavar=("NAME", "BYTES"))
    parser.add_argument("--reports", nargs=2, action="append", default=[], metavar=("TAG", "FOLDER"))
    parser.add_argument("--bench", type=Path, metavar="JSON")
    args = parser.parse_args()
    try:
        print(render(Notes(
            version=args.version, last=args.last, images=[(name, int(size)) for name, size in args.image],
            engines=[Engine(name, quality.load(Path(folder))) for name, folder in args.reports],
            bench=Report.model_validate_json(args.bench.read_bytes()) if args.bench else None,
            verify=section(ROOT / "docs/release.md", "Verify", args.source, args.version),
            commits=sys.stdin.read().splitlines(),
        )), end="")  # fmt: skip
    except (NotesError, quality.ReportError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
