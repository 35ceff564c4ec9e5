"""The commands, as a user runs them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hearth_engine import cli
from hearth_engine.hardware import CARDS, HardwareError
from hearth_engine.memory import GIB
from hearth_engine.settings import Settings
from hearth_quantizer import manifest as manifests
from hearth_quantizer import tensors
from hearth_quantizer.manifest import FileEntry, Manifest


@pytest.fixture
def artifact(tmp_path: Path, tiny: Manifest) -> Path:
    """A folder that agrees with its manifest: two small tensors and a config."""
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"a": np.zeros((2, 2), np.float32), "b": np.ones(3, np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    files = {
        path.name: FileEntry(sha256=manifests.sha256(path), bytes=path.stat().st_size) for path in folder.iterdir()
    }
    held = tensors.header(folder / "model.safetensors")
    tiny.model_copy(update={"files": files, "tensors": held}).save(folder)
    return folder


Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run hearth-engine; what it printed, or a SystemExit."""

    def run(*args: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["hearth-engine", *map(str, args)])
        cli.main()
        return capsys.readouterr().out

    return run


def test_plan_as_a_table(run: Run, artifact: Path) -> None:
    printed = run("plan", "--gpu", "rtx-3060-12g", "--model", artifact)
    for part in ("NVIDIA GeForce RTX 3060", "hearth-tiny", "4096 tokens", "weights", "--kv-cache-memory-bytes"):
        assert part in printed
    assert max(map(len, printed.splitlines())) <= 140


def test_plan_as_json_is_the_plan(run: Run, artifact: Path) -> None:
    from hearth_engine.plan import plan

    printed = run("plan", "--gpu", "l4-24g", "--model", artifact, "--json")
    expected = plan(Manifest.load(artifact), Settings(model_dir=artifact), CARDS["l4-24g"])
    assert json.loads(printed) == expected.model_dump(mode="json")


def test_verify_a_good_artifact(run: Run, artifact: Path) -> None:
    assert "2 files and 2 tensors are as the manifest says" in run("verify", artifact)


def flip_last_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def drop_tensor_b(path: Path) -> None:
    save_file({"a": np.zeros((2, 2), np.float32)}, path)


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (lambda folder: flip_last_byte(folder / "model.safetensors"), "model.safetensors"),
        (lambda folder: drop_tensor_b(folder / "model.safetensors"), "b: tensor"),
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (lambda folder: (folder / "evil.py").write_text(""), "evil.py"),
        (lambda folder: (folder / "hearth.json").unlink(), "hearth.json"),
    ],
    ids=["changed", "tensor missing", "file missing", "extra", "no manifest"],
)
@pytest.mark.parametrize("command", ["serve", "verify"])
def test_a_damaged_artifact_is_refused_by_name(
    run: Run,
    artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    damage: Callable[[Path], object],
    names: str,
) -> None:
    monkeypatch.setenv("HEARTH_MODEL_DIR", str(artifact))
    monkeypatch.setattr("hearth_engine.hardware.detect", lambda device: CARDS["l4-24g"])
    monkeypatch.setattr("hearth_engine.hardware.device_memory_used", lambda: 0)

    def imports_then_asks(*_: object, permit: Callable[[], object], **__: object) -> None:
        permit()
        pytest.fail("vLLM must not read it")

    monkeypatch.setattr("hearth_engine.watch.run", imports_then_asks)
    monkeypatch.setenv("HEARTH_CACHE_DIR", str(artifact.parent / "cache"))
    damage(artifact)
    with pytest.raises(SystemExit) as refused:
        run(command)
    said = str(refused.value.code)
    assert names in said
    assert all(line.startswith("hearth-engine: ") for line in said.splitlines())


def test_serve_runs_vllm(
    run: Run, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the plan's flags and variables on top of the environment, after the plan is printed and the cache seeded."""
    baked = tmp_path / "baked"
    baked.mkdir()
    (baked / "info.json").write_text("{}")
    for name, value in {"MODEL_DIR": artifact, "CACHE_DIR": tmp_path / "cache", "BAKED_CACHE_DIR": baked}.items():
        monkeypatch.setenv(f"HEARTH_{name}", str(value))
    monkeypatch.setenv("HEARTH_HANG_SECONDS", "7")
    monkeypatch.setenv("SOMETHING_ELSE", "kept")
    monkeypatch.setattr("hearth_engine.hardware.detect", lambda device: CARDS["l4-24g"])
    held = iter([int(0.5 * GIB), int(6.4 * GIB)])  # before, and at the first token
    monkeypatch.setattr("hearth_engine.hardware.device_memory_used", lambda: next(held))
    calls = []
    monkeypatch.setattr("hearth_engine.watch.run", lambda *call, **how: calls.append((*call, how)) or 3)

    with pytest.raises(SystemExit) as ended:
        run("serve")

    assert ended.value.code == 3
    ((command, environment, how),) = calls
    assert command[0] == sys.executable
    assert command[command.index("--model") + 1] == str(artifact)
    assert (environment["SOMETHING_ELSE"], environment["HF_HUB_OFFLINE"]) == ("kept", "1")
    permit, at_first_token = how.pop("permit"), how.pop("at_first_token")
    assert how == {"port": 8000, "model": "hearth-tiny", "on_cpu": False, "patience": 7}
    permit()
    assert "verified 2 files, 2 tensors" in capsys.readouterr().out
    at_first_token()  # tiny's plan is far below
    assert "5.90 GiB of device memory are in use, the plan says" in capsys.readouterr().out
    assert (tmp_path / "cache/info.json").is_file()


def test_a_bad_setting_stops_with_its_name(run: Run, artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_MAX_NUM_SEQS", "many")
    with pytest.raises(SystemExit, match=r"hearth-engine: HEARTH_MAX_NUM_SEQS: "):
        run("plan", "--model", artifact)


def test_no_command_is_a_usage_error(run: Run) -> None:
    with pytest.raises(SystemExit) as refused:
        run()
    assert refused.value.code == 2


def test_a_gpu_that_does_not_tell_its_memory_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def untold() -> int:
        raise HardwareError("nvidia-smi does not tell the GPU's memory: [N/A]")

    monkeypatch.setattr("hearth_engine.hardware.device_memory_used", untold)
    assert cli._device_memory() is None
    assert "not compared with the plan: nvidia-smi does not tell" in capsys.readouterr().out


@pytest.mark.parametrize("repeats", ["0", "-1", "many"])
def test_a_benchmark_is_repeated_at_least_once(
    run: Run, repeats: str, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    with pytest.raises(SystemExit) as refused:
        run("bench", "--repeats", repeats)
    assert refused.value.code == 2
    assert "--repeats" in capsys.readouterr().err
