"""Writes the bundle: images, compose file and installer for a box without a network, in one archive.

    write.py [--out FOLDER] [--split SIZE]     called by `make bundle` with docker/host.sh's environment

Layers are taken out of `docker save` one by one, compressed, and kept in FOLDER/.work under their digests: none is
written twice however many images share it, a run that was killed goes on at the layer where it was, and the next
version's bundle compresses only what is new. The same images and files give the same archive, byte for byte.
"""

import argparse
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NoReturn, cast

import yaml
import zstandard

ROOT = Path(__file__).parents[2]
CHUNK = 1 << 20
# On a layer of vLLM a third of the CPU time of gzip -1 and a quarter smaller. Every engine that is new enough reads it.
LEVEL = 3
MTIME = 946_684_800  # 2000-01-01: the same in each bundle, and not so early that tar would warn
TELL_EVERY = 10  # seconds
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}  # decimal: 4G fits on FAT32
# As they are, from the repository to DIR.
FILES = [
    "config/hearth.tools.yaml", "secrets/.gitignore", "docker/lib.sh", "docker/bring-up.sh", "docker/print-usage.sh",
    "docs/settings.md",
]  # fmt: skip
HEAD = (
    "# Made by `make bundle`: this version's images, by name. Settings go to .env, changes to compose.override.yaml.\n"
)


def say(text: str) -> None:
    print(f"\033[1m==>\033[0m {text}", file=sys.stderr, flush=True)


def die(text: str) -> NoReturn:
    sys.exit(f"error: {text}")


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


@contextmanager
def told(describe: Callable[[], str]) -> Iterator[None]:
    """Says every few seconds how far it is."""
    done = threading.Event()

    def tell() -> None:
        while not done.wait(TELL_EVERY):
            say(describe())

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def docker(*command: str) -> str:
    done = subprocess.run(["docker", *command], cwd=ROOT, capture_output=True, text=True)  # noqa: S603, S607
    if done.returncode:
        die(f"docker {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Hashed:
    """A file that is hashed and counted on its way."""

    def __init__(self, file: IO[bytes]):
        self.file, self.sha256, self.size = file, hashlib.sha256(), 0

    def _count(self, data: bytes) -> bytes:
        self.sha256.update(data)
        self.size += len(data)
        return data

    def read(self, size: int = -1) -> bytes:
        return self._count(self.file.read(size))

    def write(self, data: bytes | memoryview) -> int:
        return self.file.write(self._count(bytes(data)))


@contextmanager
def finished(path: Path) -> Iterator[IO[bytes]]:
    """A file that has its name when it is whole and on the disk, and not before."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def write_text(path: Path, text: str) -> None:
    with finished(path) as file:
        file.write(text.encode())


@dataclass(frozen=True)
class Image:
    """A saved image. `layers` in the order of the config; `size` in bytes, as `docker save` gives it: unpacked, unless
    the engine keeps layers packed."""

    config: str
    layers: list[str]
    size: int

    @property
    def blobs(self) -> list[str]:
        return sorted({self.config, *self.layers})


class Store:
    """Blobs by digest, compressed, each beside its file's checksum; and which image consists of which."""

    def __init__(self, folder: Path):
        self.blobs, self.images = folder / "blobs", folder / "images"
        self.doing: Callable[[], str] = str
        for made in (self.blobs, self.images):
            made.mkdir(parents=True, exist_ok=True)
            for partial in made.glob("*.partial"):
                partial.unlink()

    def has(self, digest: str) -> bool:
        return (self.blobs / digest).exists() and self._sum(digest).exists()

    def _sum(self, digest: str) -> Path:
        return self.blobs / f"{digest}.sha256"

    def sum(self, digest: str) -> str:
        return self._sum(digest).read_text()

    def size(self, digest: str) -> int:
        return (self.blobs / digest).stat().st_size

    def drop(self, digest: str) -> None:
        self._sum(digest).unlink(missing_ok=True)
        (self.blobs / digest).unlink(missing_ok=True)

    def prune(self, kept: set[str]) -> None:
        for path in self.blobs.iterdir():
            if path.stem not in kept:
                path.unlink()

    def keep(self, digest: str, data: io.BufferedReader, name: str, size: int) -> None:
        """Tars are compressed, the rest (configs, layers that are compressed) stays as it is. Raises SystemExit where
        the data does not have its digest."""
        source = Hashed(data)
        is_tar = data.peek(512)[257:262] == b"ustar"
        self.doing = lambda: f"{name}: {megabytes(source.size)} of a layer's {megabytes(size)}"
        with finished(self.blobs / digest) as file:
            out = Hashed(file)
            if is_tar:
                compressor = zstandard.ZstdCompressor(level=LEVEL, threads=-1)
                compressor.copy_stream(cast(IO[bytes], source), cast(IO[bytes], out), size, CHUNK, CHUNK)
            else:
                shutil.copyfileobj(source, out, CHUNK)
            if source.sha256.hexdigest() != digest:
                die(f"docker save gave other data for the blob {digest} of {name}")
            write_text(self._sum(digest), out.sha256.hexdigest())
        if size > 10 * CHUNK:
            say(f"{name}: a layer of {megabytes(size)} takes {megabytes(out.size)}")

    def save(self, name: str) -> Image:
        """The image, with every blob of it kept; what was kept by an earlier run is not read again."""
        image_id = docker("image", "inspect", "-f", "{{.Id}}", name).strip().removeprefix("sha256:")
        record = self.images / f"{image_id}.json"
        if record.exists():
            image = Image(**json.loads(record.read_text()))
            if all(map(self.has, image.blobs)):
                say(f"{name}: kept from an earlier run")
                return image
        image = self._read(name)
        write_text(record, json.dumps(asdict(image)))
        return image

    def _read(self, name: str) -> Image:
        say(f"{name}: docker save")
        self.doing = lambda: f"{name}: the engine makes a copy of its own first"
        sizes: dict[str, int] = {}
        manifest: list[dict[str, Any]] = []
        with subprocess.Popen(["docker", "save", name], stdout=subprocess.PIPE) as saving:  # noqa: S603, S607
            assert saving.stdout
            try:
                with (
                    told(lambda: self.doing()),
                    tarfile.open(fileobj=saving.stdout, mode="r|", bufsize=CHUNK) as stream,
                ):
                    for member in stream:
                        file = cast(io.BufferedReader, stream.extractfile(member))
                        if member.name == "manifest.json":
                            manifest = json.load(file)
                        elif blob := re.fullmatch("blobs/sha256/([0-9a-f]{64})", member.name):
                            sizes[blob[1]] = member.size
                            if not self.has(blob[1]):
                                self.keep(blob[1], file, name, member.size)
            except tarfile.ReadError as error:
                die(f"docker save {name}: {error}")
            except BaseException:
                saving.kill()
                raise
        if saving.returncode:
            die(f"docker save {name} ended with status {saving.returncode}")
        digests = [path.removeprefix("blobs/sha256/") for path in (manifest[0]["Config"], *manifest[0]["Layers"])]
        if not all(digest in sizes for digest in digests):
            die("docker save of this engine does not name layers by their digests: Docker 25 or newer is needed")
        return Image(digests[0], digests[1:], sum(sizes[layer] for layer in set(digests[1:])))


class Parts:
    """The archive, as one file or cut into parts of `split` bytes; no file has its name before all are whole."""

    def __init__(self, path: Path, split: int):
        self.path, self.split, self.made = path, split, list[tuple[str, str]]()
        self._file: Hashed | None = None
        for old in path.parent.glob(f"{path.name}*"):
            old.unlink()

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while view:
            if not self._file:
                name = f"{self.path.name}.part-{len(self.made):03}" if self.split else self.path.name
                self._file = Hashed(self.path.with_name(f"{name}.partial").open("wb"))
            room = self.split - self._file.size if self.split else len(view)
            self._file.write(view[:room])
            view = view[room:]
            if self._file.size == self.split:
                self._close()
        return len(data)

    def _close(self) -> None:
        assert self._file
        self._file.file.flush()
        os.fsync(self._file.file.fileno())
        self._file.file.close()
        self.made.append((Path(self._file.file.name).stem, self._file.sha256.hexdigest()))
        self._file = None

    def finish(self) -> list[Path]:
        """The archive's files; last, since it says that they are whole, the one with their checksums."""
        if self._file:
            self._close()
        paths = [self.path.with_name(name) for name, _ in self.made]
        for path in paths:
            path.with_name(f"{path.name}.partial").rename(path)
        sums = self.path.with_name(f"{self.path.name}.sha256")
        write_text(sums, "".join(f"{digest}  {name}\n" for name, digest in self.made))
        return [*paths, sums]


class Unaliased(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def pinned(compose: str, images: Mapping[str, str]) -> str:
    """The compose file of these services with their images by name: neither built nor pulled where it will run."""
    project = yaml.safe_load(compose)
    services = {}
    for name, image in images.items():
        service = {k: v for k, v in project["services"][name].items() if k != "build"}
        service |= {"image": image, "pull_policy": "never"}
        if "depends_on" in service:
            service["depends_on"] = {k: v for k, v in service["depends_on"].items() if k in images}
        services[name] = service
    used = {secret for service in services.values() for secret in service.get("secrets", ())}
    kept = {k: v for k, v in project.items() if not k.startswith("x-")} | {
        "services": services,
        "secrets": {k: v for k, v in project["secrets"].items() if k in used},
    }
    return HEAD + yaml.dump(kept, Dumper=Unaliased, sort_keys=False, width=120)


def settings(profiles: str) -> str:
    """The first .env of an installation: what docker/host.sh finds out for `make up`."""
    chosen = profiles.split(",")
    lines = ["# hearth's settings on this machine (docs/settings.md). install.sh keeps what stands here."]
    lines += [f"COMPOSE_PROFILES={profiles}"]
    if "cpu" in chosen:
        lines += ["HEARTH_MAX_IN_FLIGHT=${HEARTH_MAX_NUM_SEQS:-16}"]
    if "tools" in chosen:
        lines += ["HEARTH_TOOLS_FILE=config/hearth.tools.yaml"]
    return "\n".join(lines) + "\n"


def named(image: str) -> str:
    """An image's name as a loaded one can have it: without a digest, with a tag."""
    name = image.split("@")[0]
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def chosen_images() -> dict[str, str]:
    """The image of each service of the chosen profiles, as Compose reads its files and .env."""
    services = json.loads(docker("compose", "config", "--format", "json"))["services"]
    return {name: service["image"] for name, service in sorted(services.items())}


def contents(store: Store, services: Mapping[str, str], images: Mapping[str, Image]) -> dict[str, bytes]:
    """The bundle's small files by path, with the checksums of all; beside them come images/blobs/DIGEST."""
    readme = (ROOT / "docker/bundle/README.md").read_bytes()
    texts = {f"stack/{path}": (ROOT / path).read_bytes() for path in FILES} | {
        "README.md": readme,
        "install.sh": (ROOT / "docker/bundle/install.sh").read_bytes(),
        "stack/README.md": readme,
        "stack/compose.yaml": pinned((ROOT / "compose.yaml").read_text(), services).encode(),
        "stack/.env": settings(os.environ["COMPOSE_PROFILES"]).encode(),
    }
    listed = ""
    for name, image in images.items():
        folder = f"images/{image.config[:12]}"
        manifest = [{"Config": image.config, "RepoTags": [name], "Layers": image.layers}]
        texts[f"{folder}/manifest.json"] = json.dumps(manifest).encode()
        texts[f"{folder}/blobs"] = "".join(f"{digest}\n" for digest in image.blobs).encode()
        listed += f"{name} {image.config} {image.size} {sum(map(store.size, image.blobs))}\n"
    texts["images/list"] = listed.encode()
    sums = {path: hashlib.sha256(data).hexdigest() for path, data in texts.items()}
    sums |= {f"images/blobs/{digest}": store.sum(digest) for image in images.values() for digest in image.blobs}
    texts["SHA256SUMS"] = "".join(f"{digest}  {path}\n" for path, digest in sorted(sums.items())).encode()
    return texts


def archive(parts: Parts, name: str, texts: Mapping[str, bytes], store: Store, blobs: Sequence[str]) -> list[Path]:
    with tarfile.open(fileobj=cast(IO[bytes], parts), mode="w|", bufsize=CHUNK, format=tarfile.GNU_FORMAT) as tar:
        for path, data in sorted(texts.items()):
            add(tar, f"{name}/{path}", io.BytesIO(data), len(data), executable=path.endswith(".sh"))
        for digest in blobs:
            with (store.blobs / digest).open("rb") as file:
                blob = Hashed(file)
                add(tar, f"{name}/images/blobs/{digest}", cast(IO[bytes], blob), store.size(digest))
            if blob.sha256.hexdigest() != store.sum(digest):
                store.drop(digest)
                die(f"{store.blobs / digest} was damaged since it was written and is removed: run this again")
    return parts.finish()


def add(tar: tarfile.TarFile, path: str, file: IO[bytes], size: int, executable: bool = False) -> None:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mtime, entry.mode = size, MTIME, 0o755 if executable else 0o644
    tar.addfile(entry, file)


def write(out: Path, split: int) -> None:
    work = out / ".work"
    store = Store(work)
    chosen = chosen_images()
    services = {service: named(image) for service, image in chosen.items()}
    engine = next(image for service, image in services.items() if service.startswith("engine-"))
    name = f"hearth-{engine.rsplit(':', 1)[1]}"
    images = {named(image): store.save(image) for image in sorted(set(chosen.values()))}
    blobs = sorted({digest for image in images.values() for digest in image.blobs})
    texts = contents(store, services, images)

    key = hashlib.sha256(texts["SHA256SUMS"] + str(split).encode()).hexdigest()
    record = work / f"{name}.made"
    if record.exists() and unchanged(made := json.loads(record.read_text()), key, out):
        say(f"nothing changed: {', '.join(made['files'])} in {out}")
        return
    record.unlink(missing_ok=True)

    total = sum(map(len, texts.values())) + sum(map(store.size, blobs))
    say(f"writing {name}.tar, {megabytes(total)}")
    files = archive(Parts(out / f"{name}.tar", split), name, texts, store, blobs)
    join = out / f"{name}.join.sh"
    join.unlink(missing_ok=True)
    if split:
        write_text(join, (ROOT / "docker/bundle/join.sh").read_text())
        files.append(join)
    stamps = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in files}
    write_text(record, json.dumps({"key": key, "files": stamps, "blobs": blobs}))
    store.prune({digest for made in work.glob("*.made") for digest in json.loads(made.read_text())["blobs"]})
    say(f"made {', '.join(stamps)} in {out}")


def unchanged(made: dict[str, Any], key: str, out: Path) -> bool:
    """Whether what was made for this key is still there as it was left."""
    files = {out / name: stamp for name, stamp in made["files"].items()}
    return bool(made["key"] == key) and all(
        path.exists() and [path.stat().st_size, path.stat().st_mtime_ns] == stamp for path, stamp in files.items()
    )


def size(text: str) -> int:
    number = re.fullmatch(r"([1-9]\d*)([KMG]?)", text.upper())
    if not number:
        raise argparse.ArgumentTypeError(f"{text!r}: a size is a number with K, M or G, as 2G")
    return int(number[1]) * UNITS[number[2]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the bundle of the chosen profile's images.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the archive; default: dist")
    parser.add_argument("--split", type=size, default=0, help="cut it into parts of so many bytes: 2G, 700M (decimal)")
    arguments = parser.parse_args()
    out: Path = arguments.out.absolute()
    (out / ".work").mkdir(parents=True, exist_ok=True)
    with (out / ".work/lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            die(f"another `make bundle` writes to {out}")
        try:
            write(out, arguments.split)
        except OSError as error:
            die(f"{error}; what is finished is kept, running this again goes on")
        except KeyboardInterrupt:
            say("stopped; what is finished is kept, running this again goes on")
            sys.exit(130)


if __name__ == "__main__":
    main()
