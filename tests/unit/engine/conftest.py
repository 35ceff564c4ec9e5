"""Manifests and hardware that the engine's tests plan with."""

import math
import os
from datetime import UTC, datetime

import pytest

from hearth_engine.hardware import INT4_CPU_FLAGS, Cpu
from hearth_engine.memory import GIB
from hearth_engine.settings import Settings
from hearth_quantizer.artifact import Check, Model
from hearth_quantizer.manifest import Manifest, SourceRecord
from hearth_quantizer.recipe import Recipe


def _weights_bytes(model: Model) -> int:
    """Bytes of all tensors: INT4 codes, zero points, 16-bit scales and group indices; the rest at 16 bit."""
    quantized = sum(
        inputs * outputs // 2 + (inputs // 128) * (outputs // 2 + outputs * 2) + inputs * 4
        for inputs, outputs in model.linears().values()
    )
    return quantized + sum(2 * math.prod(shape) for shape in model.plain().values())


def _manifest(model: Model, serving: dict[str, object]) -> Manifest:
    recipe = {
        "name": "test",
        "source": {"kind": "folder", "path": "model"},
        "calibration": {"files": ["rows.jsonl"], "samples": 128},
        "evaluation": {"text": ["held-out.jsonl"], "tools": ["tools.jsonl"]},
        "serving": serving,
    }
    return Manifest(
        key="test",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        recipe=Recipe.model_validate(recipe),
        source=SourceRecord(kind="folder", revision=None, files={}),
        versions={},
        files={},
        tensors={},
        model=model,
        weights_bytes=_weights_bytes(model),
        kv_bytes_per_token=model.kv_bytes_per_token,
        check=Check(quantized_linears=0, tensors=0, scale_min=0.001, scale_max=0.1),
    )


@pytest.fixture
def qwen3_4b() -> Manifest:
    """Qwen3-4B-Instruct-2507 as GPTQ INT4, group size 128."""
    model = Model(
        architecture="Qwen3ForCausalLM",
        layers=36,
        hidden_size=2560,
        intermediate_size=9728,
        heads=32,
        kv_heads=8,
        head_dim=128,
        vocab_size=151936,
        max_position_embeddings=262144,
        tied_embeddings=True,
    )
    assert model.kv_bytes_per_token == 147_456
    serving: dict[str, object] = {
        "context_length": 32768,
        "tool_parser": "hermes",
        "served_name": "qwen3-4b-instruct-2507",
        "aliases": ["qwen3-4b-gptq"],
    }
    manifest = _manifest(model, serving)
    assert manifest.weights_bytes == 2_669_759_488  # 2.67 GB
    return manifest


@pytest.fixture
def tiny() -> Manifest:
    """The demo model: a few million parameters, no aliases, no tool parser."""
    model = Model(
        architecture="Qwen3ForCausalLM",
        layers=4,
        hidden_size=256,
        intermediate_size=768,
        heads=2,
        kv_heads=1,
        head_dim=128,
        vocab_size=2048,
        max_position_embeddings=4096,
        tied_embeddings=True,
    )
    return _manifest(model, {"context_length": 4096, "served_name": "hearth-tiny"})


@pytest.fixture
def cpu() -> Cpu:
    """A container with two cores and 6 GiB."""
    return Cpu(name="Test CPU", memory_bytes=6 * GIB, cores=2, flags=INT4_CPU_FLAGS | {"sse2"})


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests must not reach them."""
    for name in list(os.environ):
        if name.startswith("HEARTH_"):
            monkeypatch.delenv(name)


@pytest.fixture
def settings() -> Settings:
    return Settings()
