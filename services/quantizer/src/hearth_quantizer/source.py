"""Where models come from. Whatever the kind, what follows sees a local folder of 16 bit weights and tokenizer files."""

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hearth_quantizer import calibration, synthetic
from hearth_quantizer.artifact import CHAT_TEMPLATE, SOURCE_FILES, sha256
from hearth_quantizer.log import Advance, Log
from hearth_quantizer.manifest import SourceRecord
from hearth_quantizer.recipe import FolderSource, HubSource, Source, SyntheticSource
from hearth_quantizer.refusal import Refusal
from hearth_quantizer.steps import Workshop

TOKEN_FILE = Path("/run/secrets/hf_token")
PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "merges.txt", "vocab.txt", "LICENSE*"]


_STREAMS = 4  # files fetched side by side


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
    # A step's result depends on this module: a change in it must not find the result of the code before it.
    return found | {"code": sha256(Path(calibration.__file__))[:12]}


def identity(source: Source, root: Path) -> dict[str, Any]:
    """Everything that decides what the source yields: its settings, and the hashes of the local files it names."""
    match source:
        case HubSource():
            files: dict[str, str] = {}
        case FolderSource():
            files = hashes(_folder(source, root))
        case SyntheticSource():
            folder = root / source.tokenizer
            files = {name: sha256(folder / name) for name in SOURCE_FILES if (folder / name).is_file()}
            files["code"] = sha256(Path(synthetic.__file__))
    return {"source": source.model_dump(mode="json"), "files": files}


def fetch(source: Source, root: Path, shop: Workshop) -> Path:
    """The model's folder. Raises SourceError."""
    match source:
        case FolderSource():
            return _folder(source, root)  # used where it is: a copy of billions of parameters gains nothing
        case HubSource():
            return shop.step(
                "fetch", identity(source, root), lambda out: _download(source, out, shop.log), resumes=True
            )
        case SyntheticSource():
            return shop.step("fetch", identity(source, root), lambda out: _synthesize(source, root, out, shop.log))


def record(source: Source, folder: Path) -> SourceRecord:
    revision = source.revision if isinstance(source, HubSource) else None
    warning = synthetic.WARNING if isinstance(source, SyntheticSource) else None
    return SourceRecord(kind=source.kind, revision=revision, warning=warning, files=hashes(folder))


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


def _synthesize(source: SyntheticSource, root: Path, out: Path, log: Log) -> None:
    size = synthetic.mebibytes(source)
    log.say("fetch", f"{synthetic.WARNING}: {source.architecture.layers} layers, seed {source.seed}, {size} MiB")
    with log.progress("fetch", size, "MiB") as advance:
        synthetic.build(source, root, out, advance)


def _download(source: HubSource, out: Path, log: Log) -> None:
    """Download one commit. What earlier runs fetched is kept, to the byte; every file is checked against its hash."""
    os.environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}  # read on import
    from huggingface_hub import HfApi, errors

    token = _token()
    parts = out / ".parts"
    parts.mkdir(exist_ok=True)
    try:
        listing = HfApi(token=token).model_info(source.id, revision=source.revision, files_metadata=True).siblings or []
        wanted = [file for file in listing if _is_wanted(file.rfilename)]
        total = sum(file.size or 0 for file in wanted)
        held = _bytes(out)
        if (free := shutil.disk_usage(out).free) < total - held:
            raise SourceError(f"{out}: {(total - held) / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
        kept = f", {held / 1e9:.2f} GB of them here" if held else ""
        log.say("fetch", f"{source.id} at {source.revision[:12]}: {len(wanted)} files, {total / 1e9:.2f} GB{kept}")
        pool = ThreadPoolExecutor(_STREAMS)
        with log.progress("fetch", max(1, total >> 20), "MiB") as advance, _watched(out, advance):
            try:
                for done in [pool.submit(_fetch_file, source, file, out, parts, token) for file in wanted]:
                    done.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)  # an interrupted run does not wait for gigabytes
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
        raise SourceError(
            f"{source.id}: could not be fetched: {type(error).__name__}: {reason}; run again to go on from there"
        ) from error
    shutil.rmtree(parts)
    _split_template(out)


def _is_wanted(name: str) -> bool:
    return "/" not in name and any(fnmatch(name, pattern) for pattern in PATTERNS)


def _fetch_file(source: HubSource, file: Any, out: Path, parts: Path, token: str | bool) -> None:
    """Fetch one file, from where an earlier run broke off: a file under its own name is whole and checked.

    The library's own download begins each file anew in every process, so only its transfer is used: that repeats a
    broken connection from where it stopped, and starts over where a server does not know ranges.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get

    name = file.rfilename
    if (out / name).is_file():
        return
    part = parts / name
    headers = {"Accept-Encoding": "identity"}  # a range is one of the file itself
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if part.exists() and part.stat().st_size > file.size:
        part.unlink()  # not what the hub holds, and no range beyond its end can be asked for
    with part.open("ab") as written:
        http_get(
            hf_hub_url(source.id, name, revision=source.revision),
            written,
            resume_size=written.tell(),
            headers=headers,
            expected_size=file.size,
        )
    if not _is_intact(part, file):
        part.unlink()
        raise SourceError(f"{source.id}: {name} arrived damaged; run again to fetch it anew")
    part.rename(out / name)


def _is_intact(path: Path, file: Any) -> bool:
    """By sha256 where the hub stores the file itself, by git's own hash of small files otherwise."""
    if file.lfs:
        return sha256(path) == str(file.lfs.sha256)
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == str(file.blob_id)


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


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def _watched(folder: Path, advance: Advance) -> Iterator[None]:
    """Report how many MiB a folder holds while something else fills it."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(1.0):
            with suppress(FileNotFoundError):  # a file was renamed while being looked at
                advance(_bytes(folder) >> 20)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
