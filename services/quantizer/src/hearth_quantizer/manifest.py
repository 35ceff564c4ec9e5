"""The manifest (hearth.json): what an artifact is, where it came from, and a hash of every file in it."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from hearth_quantizer import tensors
from hearth_quantizer.artifact import ArtifactError, Check, Model, read_json, read_tensors, sha256
from hearth_quantizer.quality import Summary
from hearth_quantizer.recipe import Recipe
from hearth_quantizer.refusal import Refusal
from hearth_quantizer.tensors import Tensor, TensorFileError

MANIFEST = "hearth.json"

__all__ = ["MANIFEST", "ArtifactError", "FileEntry", "Manifest", "ManifestError", "SourceRecord", "build", "verify"]


class ManifestError(Refusal, ValueError):
    """There is no manifest, or it cannot be read."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceRecord(_Part):
    """The model that was quantized: its kind, the hub's commit where there is one, and the sha256 of its files.

    `warning` says what the model is not good for, and is shown wherever it is served.
    """

    kind: Literal["hub", "folder", "synthetic"]
    revision: str | None
    warning: str | None = None
    files: dict[str, str]


class FileEntry(_Part):
    sha256: str
    bytes: int


class Canary(_Part):
    """What the artifact computes: logprobs[i][j] = ln p(prompts[i][j + 1] | prompts[i][: j + 1]), by transformers from
    the dequantized weights. The engine's may differ by `limits`: the mean |Δ ln p| of each prompt.
    """

    prompts: tuple[tuple[int, ...], ...] = Field(min_length=1)
    logprobs: tuple[tuple[float, ...], ...]
    limits: tuple[float, ...]


class Manifest(_Part):
    """The whole manifest.

    `files` has every file of the artifact but the manifest itself, by its name relative to the folder; `tensors` every
    tensor of every safetensors file, from the headers. Sizes are bytes; `kv_bytes_per_token` is at 16 bit. `quality`
    and `canary` are absent where the recipe has no evaluation.
    """

    format: Literal[1] = 1
    key: str
    created: AwareDatetime
    recipe: Recipe
    source: SourceRecord
    versions: dict[str, str]
    files: dict[str, FileEntry]
    tensors: dict[str, Tensor]
    model: Model
    weights_bytes: int
    kv_bytes_per_token: int
    check: Check
    canary: Canary | None = None
    quality: Summary | None = None

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Read the folder's manifest. Raises ManifestError where it is missing or is not one."""
        path = folder / MANIFEST
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise ManifestError(f"{path}: is not a manifest of this version: {where}: {first['msg']}") from None

    def save(self, folder: Path) -> None:
        (folder / MANIFEST).write_text(self.model_dump_json(indent=2) + "\n", "utf-8")


def build(
    folder: Path,
    *,
    key: str,
    recipe: Recipe,
    source: SourceRecord,
    versions: Mapping[str, str],
    found: Check,
    quality: Summary | None = None,
    canary: Canary | None = None,
) -> Manifest:
    """Describe a checked folder. `key` identifies the run's inputs: equal keys mean equal artifacts."""
    model = Model.from_config(read_json(folder / "config.json"))
    held = read_tensors(folder)
    names = _names(folder)
    return Manifest(
        key=key,
        created=datetime.now(UTC).replace(microsecond=0),
        recipe=recipe,
        source=source,
        versions=dict(versions),
        files={
            name: FileEntry(sha256=digest, bytes=(folder / name).stat().st_size)
            for name, digest in _digests(folder, names).items()
        },
        tensors=held,
        model=model,
        weights_bytes=sum(tensor.bytes for tensor in held.values()),
        kv_bytes_per_token=model.kv_bytes_per_token,
        check=found,
        quality=quality,
        canary=canary,
    )


def verify(folder: Path) -> Manifest:
    """Compare a folder with its manifest.

    Raises ManifestError without a readable manifest, ArtifactError that names every changed, missing, extra or
    unreadable file, and within a changed or missing safetensors file every missing, extra or reshaped tensor.
    """
    manifest = Manifest.load(folder)
    present, listed = set(_names(folder)), manifest.files.keys()
    problems = [f"{name}: is missing" for name in sorted(listed - present)]
    problems += [f"{name}: is not in the manifest" for name in sorted(present - listed)]
    locked = {name for name in listed & present if not os.access(folder / name, os.R_OK)}
    problems += [f"{name}: may not be read by user {os.getuid()}" for name in sorted(locked)]
    readable = (listed & present) - locked
    resized = {name for name in readable if (folder / name).stat().st_size != manifest.files[name].bytes}
    digests = _digests(folder, sorted(readable - resized))
    changed = resized | {name for name, digest in digests.items() if digest != manifest.files[name].sha256}
    problems += [f"{name}: has changed" for name in sorted(changed)]
    for name in sorted(changed | (listed - present)):
        if name.endswith(".safetensors"):
            problems += _tensor_problems(folder / name, manifest)
    if problems:
        raise ArtifactError(folder, problems)
    return manifest


def _tensor_problems(path: Path, manifest: Manifest) -> list[str]:
    listed = {name: tensor for name, tensor in manifest.tensors.items() if tensor.file == path.name}
    try:
        held = tensors.header(path) if path.is_file() else {}
    except TensorFileError as error:
        return [str(error)]
    return [
        *(f"{name}: tensor is missing from {path.name}" for name in sorted(listed.keys() - held)),
        *(f"{name}: tensor in {path.name} is not in the manifest" for name in sorted(held.keys() - listed)),
        *(
            f"{name}: tensor in {path.name} is {held[name].dtype}{list(held[name].shape)}, "
            f"the manifest says {listed[name].dtype}{list(listed[name].shape)}"
            for name in sorted(held.keys() & listed)
            if held[name] != listed[name]
        ),
    ]


def _names(folder: Path) -> list[str]:
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return sorted(name for name in paths if name != MANIFEST)


def _digests(folder: Path, names: list[str]) -> dict[str, str]:
    """sha256 by name; hashlib lets go of the interpreter lock, so threads read shards side by side."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return dict(zip(names, pool.map(lambda name: sha256(folder / name), names), strict=True))
