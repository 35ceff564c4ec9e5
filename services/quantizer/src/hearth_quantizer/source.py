"""Where models come from. Whatever the kind, what follows sees a local folder of 16 bit weights and tokenizer files."""

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hearth_quantizer import scratch
from hearth_quantizer.artifact import CHAT_TEMPLATE, sha256
from hearth_quantizer.log import Advance, Log
from hearth_quantizer.manifest import SourceRecord
from hearth_quantizer.recipe import FolderSource, HubSource, ScratchSource, Source
from hearth_quantizer.refusal import Refusal
from hearth_quantizer.steps import Workshop

TOKEN_FILE = Path("/run/secrets/hf_token")
PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "merges.txt", "vocab.txt", "LICENSE*"]


class SourceError(Refusal):
    """The model cannot be had, and why."""


def versions() -> dict[str, str]:
    """The libraries, and the code here, that shape what any back end gets; a light installation lacks some."""
    found = {}
    for package in ("torch", "transformers", "tokenizers", "safetensors", "hearth-quantizer"):
        try:
            found[package.replace("-", "_")] = version(package)
        except PackageNotFoundError:
            continue
    # A step's result depends on these modules: a change in one must not find the result of the code before it.
    code = "".join(sha256(Path(__file__).with_name(f"{name}.py")) for name in ("scratch", "calibration"))
    return found | {"code": hashlib.sha256(code.encode()).hexdigest()[:12]}


def identity(source: Source, root: Path) -> dict[str, Any]:
    """Everything that decides what the source yields: its settings, and the hashes of the local files it names."""
    match source:
        case HubSource():
            files: dict[str, str] = {}
        case FolderSource():
            files = hashes(_folder(source, root))
        case ScratchSource():
            paths = (*source.tokenizer_text, source.chat_template)
            files = {str(path): file_hash(root / path) for path in paths}
    settings = source.model_dump(mode="json")
    return {"source": settings, "files": files, "versions": versions() if source.kind == "scratch" else {}}


def fetch(source: Source, root: Path, shop: Workshop) -> Path:
    """The model's folder. Raises SourceError."""
    match source:
        case FolderSource():
            return _folder(source, root)  # used where it is: a copy of billions of parameters gains nothing
        case HubSource():
            return shop.step(
                "fetch", identity(source, root), lambda out: _download(source, out, shop.log), resumes=True
            )
        case ScratchSource():
            shop.log.say("fetch", f"from scratch: {source.architecture.layers} layers, seed {source.seed}")
            return shop.step("fetch", identity(source, root), lambda out: scratch.build(source, root, out))


def record(source: Source, folder: Path) -> SourceRecord:
    revision = source.revision if isinstance(source, HubSource) else None
    return SourceRecord(kind=source.kind, revision=revision, files=hashes(folder))


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of each file of a model folder, by name."""
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}


def file_hash(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from None


def _folder(source: FolderSource, root: Path) -> Path:
    folder = root / source.path
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    if not any(folder.glob("*.safetensors")):
        missing.append("*.safetensors")
    if missing:
        raise SourceError(f"source.path: {folder} is not a model folder: {', '.join(missing)} missing")
    return folder


def _download(source: HubSource, out: Path, log: Log) -> None:
    """Download one commit; what an earlier run finished is kept, weights are checked against the hub's hash."""
    os.environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}  # read on import
    from huggingface_hub import HfApi, errors, snapshot_download

    token = _token()
    try:
        listing = HfApi(token=token).model_info(source.id, revision=source.revision, files_metadata=True).siblings or []
        wanted = [file for file in listing if any(fnmatch(file.rfilename, pattern) for pattern in PATTERNS)]
        total = sum(file.size or 0 for file in wanted)
        if (free := shutil.disk_usage(out).free) < total:
            raise SourceError(f"{out}: {total / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
        log.say("fetch", f"{source.id} at {source.revision[:12]}: {len(wanted)} files, {total / 1e9:.2f} GB")
        with log.progress("fetch", max(1, total >> 20), "MiB") as advance, _watched(out, advance):
            snapshot_download(source.id, revision=source.revision, local_dir=out, allow_patterns=PATTERNS, token=token)
    except errors.GatedRepoError:
        raise SourceError(
            f"{source.id}: needs its licence accepted on the hub and a token in HF_TOKEN or {TOKEN_FILE}"
        ) from None
    except errors.RevisionNotFoundError:
        raise SourceError(f"{source.id}: has no commit {source.revision}") from None
    except errors.RepositoryNotFoundError:
        raise SourceError(f"{source.id}: is not on the hub, or needs a token in HF_TOKEN or {TOKEN_FILE}") from None
    except Refusal:
        raise
    except Exception as error:  # whatever its HTTP client raises: the library's versions differ in that
        reason = " ".join(str(error).split())
        raise SourceError(f"{source.id}: could not be fetched: {type(error).__name__}: {reason}") from error
    shutil.rmtree(out / ".cache", ignore_errors=True)
    for file in wanted:
        path = out / file.rfilename
        if not path.is_file():  # the library is content with what it has once the hub fails it midway
            raise SourceError(f"{source.id}: {file.rfilename} did not arrive; run again to fetch the rest")
        if file.lfs and sha256(path) != file.lfs.sha256:
            path.unlink()
            raise SourceError(f"{source.id}: {file.rfilename} arrived damaged; run again to fetch it anew")
    _split_template(out)


def _split_template(folder: Path) -> None:
    """Give the chat template its own file, as newer repositories and vLLM have it, where only the config holds it."""
    path = folder / "tokenizer_config.json"
    if (folder / CHAT_TEMPLATE).is_file() or not path.is_file():
        return
    template = json.loads(path.read_text("utf-8")).get("chat_template")
    if isinstance(template, str):
        (folder / CHAT_TEMPLATE).write_text(template, "utf-8")


def _token() -> str | bool:
    """The hub token; False keeps the library from looking for one elsewhere. Never logged, never stored."""
    if token := os.environ.get("HF_TOKEN", "").strip():
        return token
    try:
        return TOKEN_FILE.read_text("utf-8").strip() or False
    except OSError:
        return False


@contextmanager
def _watched(folder: Path, advance: Advance) -> Iterator[None]:
    """Report how many MiB a folder holds while something else fills it."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(1.0):
            files = (path for path in folder.rglob("*") if path.is_file())
            with suppress(FileNotFoundError):  # a file was renamed while being looked at
                advance(sum(path.stat().st_size for path in files) >> 20)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
