"""The models of a machine as a table: what their manifests say of how, when and how well they were made."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hearth_quantizer.manifest import Manifest, ManifestError


@dataclass(frozen=True)
class Entry:
    """`where`: serving, in an image, or only a folder or recipe. `size`: of the image, as Docker tells it. `manifest`:
    None where nothing was made yet."""

    name: str
    where: str
    size: str
    manifest: Manifest | None


def parse(line: str) -> Entry:
    """From `name<TAB>where<TAB>size<TAB>folder`, the folder of a manifest or empty. Raises ManifestError."""
    name, where, size, folder = line.rstrip("\n").split("\t")
    return Entry(name, where, size, Manifest.load(Path(folder)) if folder else None)


def read(lines: list[str]) -> tuple[list[Entry], list[str]]:
    """The entries, and what is wrong with those that are shown without their figures."""
    entries, problems = [], []
    for line in lines:
        try:
            entries.append(parse(line))
        except ManifestError as error:
            name, where, size, _ = line.rstrip("\n").split("\t")
            entries.append(Entry(name, f"{where}, unreadable", size, None))
            problems.append(f"{name}: {error}")
    return entries, problems


def show(entries: list[Entry], problems: list[str], console: Console | None = None) -> None:
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=200)
    table = Table()
    for column in ("model", "where", "recipe", "made", "weights", "image"):
        table.add_column(column)
    for column in ("KL", "of rounding", "perplexity", "top token", "tool calls"):
        table.add_column(column, justify="right")
    for entry in entries:
        table.add_row(entry.name, entry.where, *_made(entry), entry.size, *_quality(entry.manifest))
    console.print(table)
    for problem in problems:
        console.print(problem, markup=False, highlight=False, soft_wrap=True)


def _made(entry: Entry) -> tuple[str, str, str]:
    if (manifest := entry.manifest) is None:
        return "", "", ""
    recipe = manifest.recipe
    how = f"{recipe.name}, {recipe.quantization.backend}"
    size = manifest.weights_bytes
    weights = f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
    return how, f"{manifest.created:%Y-%m-%d}", weights


def _quality(manifest: Manifest | None) -> tuple[str, ...]:
    if manifest is None:
        return ("",) * 5
    if manifest.quality is None:
        return ("not judged", "", "", "", "")
    source, made, rounded = (getattr(manifest.quality.metrics, variant) for variant in ("fp", "int4", "rtn"))
    increase = made.perplexity / source.perplexity - 1
    ratio = f"{made.kl_mean / rounded.kl_mean:.2f} ×" if rounded.kl_mean else ""
    verdict = "" if manifest.quality.passed else " (gates missed)"
    return f"{made.kl_mean:.4f}{verdict}", ratio, f"{increase:+.2%}", f"{made.top1:.1%}", f"{made.tool_match:.1%}"
