"""docker/labels.py: what an engine's image says of its weights, as a file for Bake."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SCORES = {"perplexity": 5.0, "kl_mean": 0.0, "kl_p999": 0.0, "top1": 1.0, "tool_match": 0.97}
MANIFEST: dict[str, Any] = {
    "recipe": {
        "name": "tea",
        "quantization": {"backend": "gptqmodel"},
        "source": {"kind": "hub", "id": "leaf/tea"},
        "serving": {"context_length": 4096},
    },
    "source": {"kind": "hub", "revision": "c" * 40},
    "weights_bytes": 12345,
    "created": "2026-11-24T10:00:00Z",
    "versions": {"torch": "2.13.0", "gptqmodel": "7.7.0"},
    "quality": {
        "metrics": {
            "fp": SCORES,
            "int4": SCORES | {"perplexity": 5.02, "kl_mean": 0.0123456, "top1": 0.96, "tool_match": 0.97},
            "rtn": SCORES | {"kl_mean": 0.1},
        },
        "tool_difference": {"mean": -0.0, "low": -0.01, "high": 0.01},
    },
}


def run(tmp_path: Path, accelerator: str, manifest: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "hearth.json"
    path.write_text(json.dumps(manifest))
    command = [sys.executable, ROOT / "docker/labels.py", accelerator, path, ROOT / "docker/requirements"]
    return subprocess.run(command, capture_output=True, text=True)


def labels(tmp_path: Path, accelerator: str, manifest: dict[str, Any]) -> dict[str, str]:
    done = run(tmp_path, accelerator, manifest)
    assert done.returncode == 0, done.stderr
    targets = json.loads(done.stdout)["target"]
    assert list(targets) == [f"engine-{accelerator}"]
    return targets[f"engine-{accelerator}"]["labels"]


def test_recipe_source_versions_and_quality(tmp_path: Path) -> None:
    assert labels(tmp_path, "cuda", MANIFEST) == {
        "dev.hearth.recipe": "tea",
        "dev.hearth.backend": "gptqmodel",
        "dev.hearth.accelerator": "cuda",
        "dev.hearth.source": "leaf/tea",
        "dev.hearth.source.revision": "c" * 40,
        "dev.hearth.weights.bytes": "12345",
        "dev.hearth.weights.created": "2026-11-24T10:00:00Z",
        "dev.hearth.context-length": "4096",
        "dev.hearth.versions.vllm": "0.32.0",
        "dev.hearth.versions.torch": "2.13.0",
        "dev.hearth.versions.quantizer": "gptqmodel==7.7.0 torch==2.13.0",
        "dev.hearth.quality.kl": "0.01235",
        "dev.hearth.quality.kl-ratio": "0.1235",
        "dev.hearth.quality.perplexity-increase": "0.004",
        "dev.hearth.quality.top1": "0.96",
        "dev.hearth.quality.tool-calls": "0.97",
        "dev.hearth.quality.tool-calls-lost": "0",
    }


def test_the_cpu_builds_of_vllm_and_torch(tmp_path: Path) -> None:
    found = labels(tmp_path, "cpu", MANIFEST)
    assert found["dev.hearth.versions.vllm"] == "0.32.0"
    assert found["dev.hearth.versions.torch"] == "2.13.0+cpu"


def test_no_evaluation_and_no_commit_are_left_out(tmp_path: Path) -> None:
    synthetic = MANIFEST["recipe"] | {"source": {"kind": "synthetic"}}
    manifest = MANIFEST | {"quality": None, "recipe": synthetic, "source": {"kind": "synthetic", "revision": None}}
    found = labels(tmp_path, "cuda", manifest)
    assert found["dev.hearth.source"] == "synthetic"
    assert not [name for name in found if name.startswith(("dev.hearth.quality", "dev.hearth.source."))]


def test_a_list_without_vllm_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "search", MANIFEST)
    assert done.returncode != 0
    assert "engine-search.txt" in done.stderr


@pytest.mark.parametrize("key", ["", "cosign.key"])
def test_signing_without_a_lock_says_who_writes_it(tmp_path: Path, key: str) -> None:
    done = subprocess.run(
        [ROOT / "docker/sign.sh", "sign"],
        env={"PATH": "/usr/bin:/bin", "DIST": str(tmp_path), "HEARTH_SIGNING_KEY": key}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "make push" in done.stderr


def test_verifying_demands_to_know_who_signed(tmp_path: Path) -> None:
    image = f"example.org/hearth-gateway@sha256:{'0' * 64}"
    (tmp_path / "compose.lock.yaml").write_text(f"services:\n  gateway:\n    image: {image}\n")
    env = {"PATH": "/usr/bin:/bin", "DIST": str(tmp_path)}
    done = subprocess.run([ROOT / "docker/sign.sh", "verify"], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "HEARTH_SIGNER" in done.stderr
    assert "HEARTH_SIGNING_KEY" in done.stderr
