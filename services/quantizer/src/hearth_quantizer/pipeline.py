"""Recipe in, checked and measured artifact out: fetch, calibrate, quantize, check, evaluate, manifest."""

import json
import platform
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hearth_quantizer import artifact, calibration, evaluate, manifest, quality, report, source, steps
from hearth_quantizer.artifact import Check, Model, read_json
from hearth_quantizer.backends import BACKENDS
from hearth_quantizer.log import Log
from hearth_quantizer.manifest import MANIFEST, Canary, Manifest, SourceRecord
from hearth_quantizer.quality import Measured, Report
from hearth_quantizer.recipe import Recipe
from hearth_quantizer.refusal import Refusal
from hearth_quantizer.steps import PARTIAL, Workshop

REPORTS = "reports"


class OutputError(Refusal):
    """The output folder is taken, and by what."""


class QualityError(Refusal):
    """The artifact lost more than its recipe allows; the text is the table of the gates."""


class Evaluated(BaseModel):
    """What the evaluation step leaves: figures without a verdict, so that new limits need no new measurement."""

    measured: Measured
    canary: Canary


def run(
    recipe: Recipe,
    root: Path,
    out: Path,
    work: Path,
    log: Log,
    *,
    force: bool = False,
    device_memory: float | None = None,
) -> Manifest:
    """Make the artifact of a recipe whose paths are relative to `root`; `out` appears whole or not at all.

    An artifact made of the same inputs is left as it is. Anything else at `out` is an OutputError, unless `force`
    replaces it; a folder that holds no artifact is never replaced. An artifact that lost too much is a QualityError.
    `device_memory`, in GiB, limits what is used of a GPU: it makes a run slower, and its artifact no worse.
    """
    key = steps.key(
        {
            "recipe": recipe.model_dump(mode="json"),
            "fetched": source.identity(recipe.source, root),
            "data": _hashes(recipe.calibration.files, root),
            "evaluation": evaluation_inputs(recipe, root),
            "versions": _versions(recipe),
        }
    )
    if done := _existing(out, key, force):
        log.say("done", f"{out} is up to date")
        return done
    with steps.workshop(work, log) as shop:
        folder, quantized = make(recipe, root, shop, device_memory)
        origin = source.record(recipe.source, folder)
        found = _check(quantized, origin, log)
        passed = None
        if recipe.evaluation.text:
            evaluated = _evaluate(recipe, root, folder, quantized, shop, device_memory)
            passed = _pass(recipe, evaluated.measured, work, log), evaluated.canary
        return _publish(recipe, quantized, origin, found, passed, out, key, log)


def make(recipe: Recipe, root: Path, shop: Workshop, device_memory: float | None = None) -> tuple[Path, Path]:
    """Fetch, calibrate, quantize: the 16 bit model's folder and the quantized one, complete but for its manifest."""
    fetched = source.identity(recipe.source, root)
    folder = source.fetch(recipe.source, root, shop)
    model = Model.from_config(read_json(folder / "config.json"))
    sequences = _calibrate(recipe, root, folder, fetched, _hashes(recipe.calibration.files, root), shop)
    return folder, _quantize(recipe, folder, model.layers, sequences, fetched, shop, device_memory)


def judge(
    recipe: Recipe, root: Path, folder: Path, work: Path, log: Log, *, device_memory: float | None = None
) -> Report:
    """Measure an artifact that is there already against the recipe's source and limits.

    Where it has a manifest with a canary, its weights must be the ones that were evaluated; hashes are not compared.
    Raises ArtifactError, QualityError.
    """
    artifact.check(folder)
    with steps.workshop(work, log) as shop:
        original = source.fetch(recipe.source, root, shop)
        if (folder / MANIFEST).is_file() and (canary := Manifest.load(folder).canary):
            with log.capture(work / "canary.log"):
                computed = evaluate.logprobs(original, folder, canary.prompts, device_memory)
            _same(canary, computed)
        with log.capture(work / "evaluate.log"):
            evaluated = _measure(recipe, root, original, folder, log, device_memory)
        return _pass(recipe, evaluated.measured, work, log)


def _versions(recipe: Recipe) -> dict[str, str]:
    return source.versions() | BACKENDS[recipe.quantization.backend].versions()


def _existing(out: Path, key: str, force: bool) -> Manifest | None:
    """The manifest at `out` where it is up to date; None where `out` may be written."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / MANIFEST).is_file():
        raise OutputError(f"{out}: holds something that is not an artifact; name another folder")
    try:
        found = manifest.verify(out)
    except Refusal as error:
        if force:
            return None
        raise OutputError(f"{error}\n{out}: is damaged; --force replaces it") from None
    if found.key == key:
        return found
    if force:
        return None
    raise OutputError(f"{out}: holds an artifact of other inputs (recipe, data or versions); --force replaces it")


def _calibrate(
    recipe: Recipe, root: Path, folder: Path, fetched: Any, data: dict[str, str], shop: Workshop
) -> list[list[int]]:
    """Calibration rows as token sequences."""
    settings = recipe.calibration

    def make(out: Path) -> None:
        rows = calibration.read(root / path for path in settings.files)
        with shop.log.progress("calibrate", settings.samples, "rows") as advance:
            sequences = calibration.sample(rows, settings, calibration.encoder(folder), advance)
        (out / "sequences.json").write_text(json.dumps(sequences), "utf-8")

    inputs = {"fetched": fetched, "calibration": settings.model_dump(mode="json"), "data": data}
    made = shop.step("calibrate", {**inputs, "versions": source.versions()}, make)
    sequences: list[list[int]] = json.loads((made / "sequences.json").read_text("utf-8"))
    shop.log.say("calibrate", f"{len(sequences)} rows, {sum(map(len, sequences))} tokens")
    return sequences


def _quantize(
    recipe: Recipe,
    folder: Path,
    layers: int,
    sequences: list[list[int]],
    fetched: Any,
    shop: Workshop,
    device_memory: float | None,
) -> Path:
    """The quantized folder, complete but for its manifest."""
    settings = recipe.quantization

    def make(out: Path) -> None:
        shop.log.say("quantize", f"{settings.backend}, {settings.bits} bit, groups of {settings.group_size}")
        with shop.log.progress("quantize", layers, "layers") as advance:
            BACKENDS[settings.backend].quantize(folder, sequences, settings, out, advance, device_memory)
        for name in artifact.SOURCE_FILES:  # byte for byte the source's, whatever the backend made of them
            (out / name).unlink(missing_ok=True)
            if (folder / name).is_file():
                shutil.copyfile(folder / name, out / name)

    inputs = {
        "fetched": fetched,
        "sequences": sequences,
        "quantization": settings.model_dump(mode="json"),
        "versions": _versions(recipe),
    }
    return shop.step("quantize", inputs, make)


def _check(quantized: Path, origin: SourceRecord, log: Log) -> Check:
    found = artifact.check(quantized, origin.files)
    scales = f"scales {found.scale_min:.2g} to {found.scale_max:.2g}"
    log.say("check", f"{found.tensors} tensors, {found.quantized_linears} quantized linears, {scales}")
    for warning in found.warnings:
        log.say("check", f"warning: {warning}")
    return found


def _evaluate(
    recipe: Recipe, root: Path, folder: Path, quantized: Path, shop: Workshop, device_memory: float | None
) -> Evaluated:
    def make(out: Path) -> None:
        evaluated = _measure(recipe, root, folder, quantized, shop.log, device_memory)
        (out / "evaluated.json").write_text(evaluated.model_dump_json(), "utf-8")

    inputs = {**evaluation_inputs(recipe, root), "quantized": quantized.name, "versions": source.versions()}
    made = shop.step("evaluate", inputs, make)
    return Evaluated.model_validate_json((made / "evaluated.json").read_bytes())


def _measure(
    recipe: Recipe, root: Path, folder: Path, quantized: Path, log: Log, device_memory: float | None
) -> Evaluated:
    rows, prompts = evaluate.read(recipe.evaluation, (root / path for path in recipe.calibration.files), root)
    held = evaluate.encode(rows, prompts, folder, quantized, recipe.evaluation)
    measured, canary = evaluate.measure(folder, quantized, held, recipe.evaluation, log, device_memory)
    return Evaluated(measured=measured, canary=canary)


def _same(canary: Canary, computed: Sequence[Sequence[float]]) -> None:
    differences = quality.canary_differences(canary.logprobs, computed)
    for index, (difference, limit) in enumerate(zip(differences, canary.limits, strict=True)):
        if not difference <= limit:  # NaN is above every limit
            raise QualityError(
                f"canary prompt {index}: log-probabilities differ by {difference:.4f} from the manifest's, at most "
                f"{limit:g} is allowed: these are not the weights that were evaluated"
            )


def evaluation_inputs(recipe: Recipe, root: Path) -> dict[str, Any]:
    """What decides the figures, beside the two models; the limits do not."""
    settings = recipe.evaluation
    return {
        "evaluation": settings.model_dump(mode="json", exclude={"limits"}),
        "held out": _hashes((*settings.text, *settings.tools), root),
        "code": steps.code("evaluate", "int4", "quality", "toolcalls"),
    }


def _pass(recipe: Recipe, measured: Measured, work: Path, log: Log) -> Report:
    """The report, where every gate was passed. Raises QualityError with the table, and leaves the report in `work`."""
    found = quality.report(
        measured,
        recipe.evaluation.limits,
        model=recipe.name,
        backend=recipe.quantization.backend,
        versions=_versions(recipe),
    )
    table = quality.table(found.model, found.gates)
    if not found.passed:
        report.write(found, work / REPORTS)
        raise QualityError(f"{table}\nthe whole report: {work / REPORTS / report.PAGE}")
    for line in table.splitlines():
        log.say("evaluate", line)
    return found


def _hashes(files: Iterable[Path], root: Path) -> dict[str, str]:
    return {str(path): source.file_hash(root / path) for path in files}


def _publish(
    recipe: Recipe,
    quantized: Path,
    origin: SourceRecord,
    found: Check,
    passed: tuple[Report, Canary] | None,
    out: Path,
    key: str,
    log: Log,
) -> Manifest:
    """Describe the quantized folder, and let it appear at `out` by one rename."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(quantized, partial)
        for path in partial.rglob("*"):  # safetensors come for their owner's eyes only, and the engine is another user
            path.chmod(0o755 if path.is_dir() else 0o644)
        versions = {"python": platform.python_version(), **_versions(recipe)}
        if passed:
            report.write(passed[0], partial / REPORTS)
        made = manifest.build(
            partial,
            key=key,
            recipe=recipe,
            source=origin,
            versions=versions,
            found=found,
            quality=quality.summary(passed[0]) if passed else None,
            canary=passed[1] if passed else None,
        )
        made.save(partial)
        old = out.with_name(out.name + ".old" + PARTIAL)
        shutil.rmtree(old, ignore_errors=True)
        if out.exists():
            out.rename(old)
        partial.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    log.say(
        "manifest",
        f"{out}: {made.weights_bytes / 2**20:.1f} MiB of weights, {made.kv_bytes_per_token} KV bytes a token",
    )
    return made
