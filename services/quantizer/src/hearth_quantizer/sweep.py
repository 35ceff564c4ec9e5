"""A small search: the changes to a recipe that helped elsewhere, one at a time, then the best of them together."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from hearth_quantizer import calibration, evaluate, pipeline, quality, source, steps
from hearth_quantizer.log import Log
from hearth_quantizer.quality import TextScores
from hearth_quantizer.recipe import ENOUGH_SAMPLES, GptqmodelQuantization, Recipe
from hearth_quantizer.refusal import Refusal
from hearth_quantizer.steps import Workshop

# Values that lowered the KL divergence of one model or another; those a recipe has already are not tried.
OPTIONS: dict[str, tuple[Any, ...]] = {
    "mse": (0.0, 2.4),
    "damp_percent": (0.01, 0.05, 0.1),
    "act_group_aware": (True, False),
    "gptaq_alpha": (0.0, 0.25),
}
SAMPLES = (ENOUGH_SAMPLES, 256, 512, 1024)


class SweepError(Refusal):
    """The recipe leaves nothing to try."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Change(_Part):
    """A key of the recipe's `section` (quantization.options or calibration), and its value."""

    section: str
    key: str
    value: int | float | bool

    def __str__(self) -> str:
        return f"{self.key} {str(self.value).lower()}"


class Tried(_Part):
    changes: tuple[Change, ...]
    scores: TextScores

    def __str__(self) -> str:
        return ", ".join(map(str, self.changes)) or "the recipe as it is"


Score = Callable[[tuple[Change, ...]], TextScores]


def changes(recipe: Recipe, rows: int) -> list[Change]:
    """What differs from the recipe by one value; `rows` is how many calibration rows there are."""
    options = recipe.quantization.options
    found = [
        Change(section="options", key=key, value=value)
        for key, values in OPTIONS.items()
        for value in values
        if value != getattr(options, key)
    ]
    return found + [
        Change(section="calibration", key="samples", value=samples)
        for samples in SAMPLES
        if samples <= rows and samples != recipe.calibration.samples
    ]


def apply(recipe: Recipe, wanted: Sequence[Change]) -> Recipe:
    data = recipe.model_dump()
    sections = {"options": data["quantization"]["options"], "calibration": data["calibration"]}
    for change in wanted:
        sections[change.section][change.key] = change.value
    return Recipe.model_validate(data)


def search(candidates: Sequence[Change], score: Score) -> list[Tried]:
    """Everything that was tried, best first: nothing, each change, and then greedily the changes that helped.

    A key is in a combination once, with its best value.
    """
    tried = [Tried(changes=(), scores=score(()))]
    base = tried[0].scores.kl_mean
    for change in candidates:
        tried.append(Tried(changes=(change,), scores=score((change,))))
    helpful: dict[str, Tried] = {}
    for one in sorted(tried[1:], key=_kl):
        if _kl(one) < base:
            helpful.setdefault(one.changes[0].key, one)
    best, *others = list(helpful.values()) or tried[:1]
    for one in others:
        together = (*best.changes, *one.changes)
        combined = Tried(changes=together, scores=score(together))
        tried.append(combined)
        best = min(best, combined, key=_kl)
    return sorted(tried, key=_kl)


def table(tried: Sequence[Tried], rounding: TextScores) -> str:
    """Aligned plain text, best first; rounding to nearest is the yardstick at the end."""
    width = max(len("rounding to nearest"), *(len(str(one)) for one in tried))
    lines = [f"{'':{width}}  {'KL mean':>9}  {'KL p99.9':>9}  {'top-1':>7}  {'ppl':>9}"]
    for name, found in [*((str(one), one.scores) for one in tried), ("rounding to nearest", rounding)]:
        lines.append(
            f"{name:{width}}  {found.kl_mean:9.5f}  {found.kl_p999:9.4f}  {found.top1:7.2%}  {found.perplexity:9.4f}"
        )
    return "\n".join(lines)


def run(recipe: Recipe, root: Path, work: Path, log: Log, *, device_memory: float | None = None) -> Recipe:
    """The variant of the recipe with the lowest KL divergence on its held-out text. Raises SweepError."""
    if not isinstance(recipe.quantization, GptqmodelQuantization):
        raise SweepError(f"--sweep: {recipe.quantization.backend} has no options to try; it needs backend gptqmodel")
    if not recipe.evaluation.text:
        raise SweepError("--sweep: the recipe has no evaluation.text to compare variants on")
    rows = len(calibration.read(root / path for path in recipe.calibration.files))
    candidates = changes(recipe, rows)
    with steps.workshop(work, log) as shop:

        def score(wanted: tuple[Change, ...]) -> TextScores:
            log.say("sweep", str(Tried.model_construct(changes=wanted)))
            folder, quantized = pipeline.make(apply(recipe, wanted), root, shop, device_memory)
            return _score(recipe, root, folder, quantized, shop, device_memory)

        tried = search(candidates, score)
        folder, _ = pipeline.make(recipe, root, shop, device_memory)
        rounding = _score(recipe, root, folder, None, shop, device_memory)
    for line in table(tried, rounding).splitlines():
        log.say("sweep", line)
    return apply(recipe, tried[0].changes)


def _score(
    recipe: Recipe, root: Path, folder: Path, quantized: Path | None, shop: Workshop, device_memory: float | None
) -> TextScores:
    def make(out: Path) -> None:
        rows, _ = evaluate.read(recipe.evaluation, (root / path for path in recipe.calibration.files), root)
        held = evaluate.encode(rows, [], folder, quantized or folder, recipe.evaluation)
        own, other = evaluate.divergence(folder, quantized, recipe.quantization.group_size, held.text, device_memory)
        (out / "scores.json").write_text(quality.text_scores(other, own).model_dump_json(), "utf-8")

    inputs = {
        **pipeline.evaluation_inputs(recipe, root),
        "source": source.identity(recipe.source, root),
        "quantized": quantized.name if quantized else f"rounded {recipe.quantization.group_size}",
        "versions": source.versions(),
    }
    return TextScores.model_validate_json((shop.step("score", inputs, make) / "scores.json").read_bytes())


def _kl(one: Tried) -> float:
    return one.scores.kl_mean
