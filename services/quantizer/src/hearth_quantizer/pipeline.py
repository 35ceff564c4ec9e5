"""Recipe in, checked artifact out: fetch, calibrate, quantize, check, manifest."""

import json
import platform
import shutil
from pathlib import Path
from typing import Any

from hearth_quantizer import artifact, calibration, manifest, source, steps
from hearth_quantizer.artifact import Model, read_json
from hearth_quantizer.backends import BACKENDS
from hearth_quantizer.log import Log
from hearth_quantizer.manifest import MANIFEST, Manifest
from hearth_quantizer.recipe import Recipe
from hearth_quantizer.refusal import Refusal
from hearth_quantizer.steps import PARTIAL, Workshop


class OutputError(Refusal):
    """The output folder is taken, and by what."""


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
    replaces it; a folder that holds no artifact is never replaced. `device_memory`, in GiB, limits what is used of a
    GPU: it makes a run slower, and its artifact no worse.
    """
    fetched = source.identity(recipe.source, root)
    data = {str(path): source.file_hash(root / path) for path in recipe.calibration.files}
    inputs = {"recipe": recipe.model_dump(mode="json"), "fetched": fetched, "data": data, "versions": _versions(recipe)}
    key = steps.key(inputs)
    if done := _existing(out, key, force):
        log.say("done", f"{out} is up to date")
        return done
    with steps.workshop(work, log) as shop:
        folder = source.fetch(recipe.source, root, shop)
        model = Model.from_config(read_json(folder / "config.json"))
        sequences = _calibrate(recipe, root, folder, fetched, data, shop)
        quantized = _quantize(recipe, folder, model.layers, sequences, fetched, shop, device_memory)
        return _publish(recipe, folder, quantized, out, key, log)


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


def _publish(recipe: Recipe, folder: Path, quantized: Path, out: Path, key: str, log: Log) -> Manifest:
    """Check the quantized folder, describe it, and let it appear at `out` by one rename."""
    origin = source.record(recipe.source, folder)
    found = artifact.check(quantized, origin.files)
    scales = f"scales {found.scale_min:.2g} to {found.scale_max:.2g}"
    log.say("check", f"{found.tensors} tensors, {found.quantized_linears} quantized linears, {scales}")
    for warning in found.warnings:
        log.say("check", f"warning: {warning}")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(quantized, partial)
        versions = {"python": platform.python_version(), **_versions(recipe)}
        made = manifest.build(partial, key=key, recipe=recipe, source=origin, versions=versions, found=found)
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
