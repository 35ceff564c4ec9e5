"""labels.py ACCELERATOR HEARTH.JSON REQUIREMENTS: prints what an engine's image says of its weights for Bake.

Runs in the build, by Debian's Python alone. Figures are those that the gates judged; an artifact without an evaluation
has none. docs/release.md says what each label means.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any


def labels(accelerator: str, manifest: dict[str, Any], requirements: Path) -> dict[str, str]:
    """`requirements` is the folder of the locked lists."""
    recipe, source = manifest["recipe"], manifest["source"]
    found = {
        "recipe": recipe["name"],
        "backend": recipe["quantization"]["backend"],
        "accelerator": accelerator,
        "source": recipe["source"].get("id", source["kind"]),
        "source.revision": source["revision"],
        "weights.bytes": manifest["weights_bytes"],
        "weights.created": manifest["created"],
        "context-length": recipe["serving"]["context_length"],
        "versions.vllm": locked(requirements / f"engine-{accelerator}.txt", "vllm"),
        "versions.torch": locked(requirements / f"torch-{accelerator}.txt", "torch"),
        "versions.quantizer": " ".join(f"{name}=={version}" for name, version in sorted(manifest["versions"].items())),
    }
    if quality := manifest.get("quality"):
        int4, fp, rtn = (quality["metrics"][name] for name in ("int4", "fp", "rtn"))
        found |= {
            "quality.kl": figure(int4["kl_mean"]),
            "quality.kl-ratio": figure(int4["kl_mean"] / rtn["kl_mean"]),
            "quality.perplexity-increase": figure(int4["perplexity"] / fp["perplexity"] - 1),
            "quality.top1": figure(int4["top1"]),
            "quality.tool-calls": figure(int4["tool_match"]),
            "quality.tool-calls-lost": figure(-quality["tool_difference"]["mean"]),
        }
    return {f"dev.hearth.{name}": str(value) for name, value in found.items() if value is not None}


def figure(value: float) -> str:
    return f"{value + 0.0:.4g}"  # and no -0


def locked(requirements: Path, package: str) -> str:
    """The version of a package, whose CPU build may have a name of its own, in a list of requirements."""
    found = re.search(rf"^{package}(?:-cpu)?==([^ ]+)", requirements.read_text("utf-8"), re.MULTILINE)
    if not found:
        raise SystemExit(f"{requirements.name}: does not lock {package}")
    return found[1]


if __name__ == "__main__":
    accelerator, manifest, requirements = sys.argv[1:]
    found = labels(accelerator, json.loads(Path(manifest).read_text("utf-8")), Path(requirements))
    print(json.dumps({"target": {f"engine-{accelerator}": {"labels": found}}}, indent=1))
