"""publish.py DIST: pushes what `bake --print` says on standard input, each image with its SBOM and provenance.

Both hang on the image as BuildKit's own attestations do, so that `docker buildx imagetools inspect` shows them and one
digest, which compose.lock.yaml names and a signature covers, stands for all three. BuildKit itself makes them only
where images live in containerd's store, and an SBOM only by a scanner image from Docker Hub; this takes any engine.
DIST gets sbom/, provenance/ and compose.lock.yaml. Programs: docker, oras, syft.
"""

import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

SERVICES = {"engine-cuda": "engine-gpu"}  # the others are named like their targets
RUNTIMES = {"tool-files": "node"}  # the others end like their targets
IN_TOTO, SPDX, SLSA = "application/vnd.in-toto+json", "https://spdx.dev/Document", "https://slsa.dev/provenance/v1"
# Packages, and the files that say so; not every file of every package.
SYFT = {
    "SYFT_FILE_METADATA_SELECTION": "none",
    "SYFT_RELATIONSHIPS_PACKAGE_FILE_OWNERSHIP": "false",
    "SYFT_CHECK_FOR_APP_UPDATE": "false",
}


def output(*command: str, folder: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What it prints; its complaints go on to the terminal. Raises CalledProcessError."""
    return subprocess.run(  # noqa: S603
        command, cwd=folder, env=os.environ | (env or {}), stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


def oras(image: str, *command: str, folder: Path | None = None) -> str:
    plain = ["--plain-http"] if image.startswith(("127.0.0.1:", "localhost:")) else []
    return output("oras", *command, *plain, folder=folder)


def digest(image: str) -> str:
    return oras(image, "resolve", image)


def provenance(target: str, spec: dict[str, Any], started: datetime) -> dict[str, Any]:
    """SLSA's predicate: which commit was built, by which settings of the bake file, on which images."""
    labels = spec["labels"]
    source = labels["org.opencontainers.image.source"]
    context = spec["contexts"][f"runtime-{RUNTIMES.get(target, target.rpartition('-')[2])}"]
    runtime, _, runtime_digest = context.removeprefix("docker-image://").partition("@sha256:")
    commit = labels["org.opencontainers.image.revision"]
    return {
        "buildDefinition": {
            "buildType": f"{source}#docker/docker-bake.hcl",
            "externalParameters": {"target": target, "args": spec.get("args", {}), "labels": labels},
            "resolvedDependencies": [
                {"uri": f"git+{source}", "digest": {"gitCommit": commit}},
                {"uri": f"docker://{runtime}", "digest": {"sha256": runtime_digest}},
            ],
        },
        "runDetails": {
            "builder": {"id": os.environ.get("HEARTH_BUILDER", f"{source}#make-push")},
            "metadata": {"startedOn": started.isoformat(), "finishedOn": datetime.now(UTC).isoformat()},
        },
    }


def attach(image: str, predicates: dict[str, Any]) -> str:
    """Replace the pushed image by an index of it and of statements about it; the index's digest."""
    repository, manifest = image.rpartition(":")[0], digest(image)
    subject = [{"name": f"pkg:docker/{repository}", "digest": {"sha256": manifest.removeprefix("sha256:")}}]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        annotations = {f"{number}.json": {"in-toto.io/predicate-type": kind} for number, kind in enumerate(predicates)}
        for file, (kind, predicate) in zip(annotations, predicates.items(), strict=True):
            statement = {"_type": "https://in-toto.io/Statement/v0.1", "predicateType": kind, "subject": subject}
            (folder / file).write_text(json.dumps(statement | {"predicate": predicate}), "utf-8")
        (folder / "annotations").write_text(json.dumps(annotations))
        (folder / "config").write_text(json.dumps({"os": "unknown", "architecture": "unknown", "config": {}}))
        pushed = oras(
            image, "push", repository, "--image-spec", "v1.0", "--format", "go-template={{.digest}}",
            "--config", "config:application/vnd.oci.image.config.v1+json", "--annotation-file", "annotations",
            *(f"{file}:{IN_TOTO}" for file in annotations), folder=folder,
        )  # fmt: skip
        descriptor = {
            "digest": pushed,
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": manifest,
            },
        }
        (folder / "descriptor").write_text(json.dumps(descriptor))
        output(
            "docker", "buildx", "imagetools", "create", "--tag", image, "--file", f"{folder}/descriptor",
            f"{repository}@{manifest}",
        )  # fmt: skip
    return digest(image)


def publish(target: str, spec: dict[str, Any], dist: Path) -> str:
    """The pushed image's name, pinned."""
    started = datetime.now(UTC)
    (image,) = spec["tags"]
    file = image.rpartition("/")[2].replace(":", "-") + ".json"
    for folder in ("sbom", "provenance"):
        (dist / folder).mkdir(parents=True, exist_ok=True)
    say(f"pushing {image}")
    output("docker", "push", "--quiet", image)
    say(f"listing what is in {image}")
    syft = Path(sys.executable).with_name("syft")
    output(str(syft), "scan", f"docker:{image}", "--quiet", "--output", f"spdx-json={dist}/sbom/{file}", env=SYFT)
    made = provenance(target, spec, started)
    (dist / "provenance" / file).write_text(json.dumps(made, indent=1), "utf-8")
    pinned = attach(image, {SPDX: json.loads((dist / "sbom" / file).read_text("utf-8")), SLSA: made})
    return f"{image.rpartition(':')[0]}@{pinned}"


def lock(dist: Path, release: dict[str, str], pinned: dict[str, str]) -> None:
    """Add to the lock, which several runs (and machines) may fill; one of another release begins anew."""
    path = dist / "compose.lock.yaml"
    known = yaml.safe_load(path.read_text("utf-8")) if path.exists() else {}
    services = known["services"] if known.get("x-hearth") == release else {}
    services |= {SERVICES.get(target, target): {"image": image} for target, image in pinned.items()}
    text = yaml.safe_dump({"x-hearth": release, "services": services}, width=1000)
    path.write_text(f"# docker compose -f compose.yaml -f compose.lock.yaml up\n{text}", "utf-8")


def say(text: str) -> None:
    print(f"\033[1m==>\033[0m {text}", file=sys.stderr)


def main() -> None:
    (dist,) = map(Path, sys.argv[1:])
    targets = json.load(sys.stdin)["target"]
    for target, spec in targets.items():
        labels = spec["labels"]
        release = {key: labels[f"org.opencontainers.image.{key}"] for key in ("version", "revision")}
        lock(dist, release, {target: publish(target, spec, dist)})


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {' '.join(map(str, error.cmd))}: ended with status {error.returncode}")
