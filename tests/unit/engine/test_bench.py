"""The benchmark's pure parts: what is compared, how a start is read, what the promises say, the page."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from hearth_engine.bench import load, page, run, variants
from hearth_engine.bench.engine import stages
from hearth_engine.bench.figures import Load, Report, Run, Start, together, verdicts
from hearth_engine.bench.load import Shape
from hearth_engine.bench.meter import BusyError, CpuMeter, GpuMeter, _descendants, metered
from hearth_engine.hardware import CARDS, Cpu
from hearth_engine.memory import GIB, MIB
from hearth_engine.settings import Settings
from hearth_quantizer.manifest import Manifest

CPU = Cpu(name="CPU", memory_bytes=24 * GIB, cores=2, flags=frozenset())
RESULT = {
    "completed": 4, "total_input_tokens": 1028, "total_output_tokens": 1024, "output_throughput": 330.0,
    "median_ttft_ms": 20.0, "p99_ttft_ms": 30.0, "median_tpot_ms": 3.0, "p99_tpot_ms": 4.0,
}  # fmt: skip


def flag(variant: variants.Variant, name: str) -> str:
    return variant.command[variant.command.index(name) + 1]


def a_load(**changes: Any) -> Load:
    return load.read(Shape(concurrency=1, requests=4, prompt=256, answer=256), RESULT | changes, joules=None)


def a_run(name: variants.Name = "hearth", *, ready: float = 9.0, memory: int = 5 * GIB, tpot: float = 3.0) -> Run:
    one = a_load(median_tpot_ms=tpot)
    return Run(
        name=name, title=f"<{name}>", weights_bytes=2 * GIB, start=Start(ready_s=ready, stages=stages([], ready)),
        memory_ready=memory - 1, memory_loaded=memory, loads=[one, one.model_copy(update={"concurrency": 16})],
        prompts=[one], turn=one,
    )  # fmt: skip


def a_report(*runs: Run, **changes: Any) -> Report:
    base = {
        "date": "2026-01-01",
        "model": "m",
        "hardware": "H",
        "device": "cuda",
        "context": 32768,
        "versions": {"a": "1"},
    }
    return Report.model_validate({**base, "runs": [run.model_dump() for run in runs], **changes})


def test_stock_vllm_gets_the_kv_cache_of_one_context_and_no_other_help(qwen3_4b: Manifest) -> None:
    variant = variants.stock("bf16", Path("/bf16"), 32768, qwen3_4b, CARDS["h100-80g"])
    assert (flag(variant, "--model"), flag(variant, "--max-model-len")) == ("/bf16", "32768")
    assert int(flag(variant, "--kv-cache-memory-bytes")) == (32768 + 128) * 147456  # 144 KiB a token at 16 bit
    assert not {"--enforce-eager", "--max-num-seqs", "--kv-cache-dtype"} & set(variant.command)


def test_on_a_cpu_stock_vllm_compiles_nothing(qwen3_4b: Manifest) -> None:
    variant = variants.stock("int4", Path("/int4"), 4096, qwen3_4b, CPU)
    assert "--enforce-eager" in variant.command
    assert variant.environment["TORCHDYNAMO_DISABLE"] == "1"


def test_ours_is_what_is_served_with_more_memory_where_that_is_asked_for(qwen3_4b: Manifest) -> None:
    ours, roomy = variants.hearth(qwen3_4b, Settings()), variants.hearth(qwen3_4b, Settings(), budget_gib=11.875)
    assert ours.command[1:] == ("-m", "hearth_engine", "serve")
    assert (ours.name, roomy.name) == ("hearth", "hearth-roomy")
    assert {**ours.environment, "HEARTH_VRAM_BUDGET_GIB": "11.88"} == roomy.environment


def test_a_start_is_read_from_its_log_and_adds_up() -> None:
    lines = [
        (0.5, "hearth-engine: verified 7 files, 258 tensors"),
        (4.0, "INFO [x] vLLM API server version 0.32.0"),
        (4.1, "INFO non-default args: {}"),
        (6.0, "INFO Loading weights took 0.50 seconds"),
        (7.5, "INFO GPU KV cache size: 32,768 tokens"),
        (99.0, "INFO Application startup complete."),
    ]
    found = stages(lines, 9.0)
    assert [(stage.name, pytest.approx(stage.seconds)) for stage in found] == [
        ("verify the artifact", 0.5), ("import", 3.5), ("load the weights", 2.0), ("compile, profile", 1.5),
        ("first token", 1.5),
    ]  # fmt: skip
    assert sum(stage.seconds for stage in found) == pytest.approx(9.0)


@pytest.mark.parametrize("context", [1024, 4096, 32768])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_long_prompts_fit_the_context(device: Any, context: int) -> None:
    found = load.shapes(device, context)
    assert all(shape.prompt + shape.answer <= context for shape in found.prompts)
    assert [shape.concurrency for shape in found.loads] == sorted({1, *(shape.concurrency for shape in found.loads)})


def test_a_load_is_read_as_figures_a_request() -> None:
    found = load.read(Shape(concurrency=1, requests=4, prompt=256, answer=256), RESULT, joules=512.0)
    assert (found.prompt_tokens, found.answer_tokens, found.ttft_ms, found.tpot_p99_ms) == (257, 256, 20.0, 4.0)
    assert found.joules_per_token == 0.5


def test_repeats_are_one_load_with_their_medians_and_their_noise() -> None:
    one = together([a_load(median_tpot_ms=ms) for ms in (3.2, 3.0, 2.8)])
    assert one.tpot_ms == 3.0
    assert one.noise["tpot_ms"] == pytest.approx(0.2 / 3.0)
    assert one.noise["ttft_ms"] == 0
    assert "joules_per_token" not in one.noise
    assert together([a_load()]).noise == {}


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, [True, True, True]),
        ({"memory": 6 * GIB + 1}, [False, True, True]),
        ({"tpot": 80.0}, [True, False, True]),
        ({"ready": 15.0}, [True, True, False]),
    ],
)
def test_each_promise_has_its_verdict(changes: dict[str, Any], holds: list[bool]) -> None:
    report = a_report(a_run("bf16", memory=9 * GIB, ready=70), a_run(**changes))
    assert [verdict.holds for verdict in verdicts(report)] == holds


def test_without_a_gpu_nothing_is_said_of_device_memory() -> None:
    assert [verdict.holds for verdict in verdicts(a_report(a_run(), device="cpu"))] == [None, True, True]


def test_without_a_run_of_ours_nothing_is_promised() -> None:
    assert verdicts(a_report(a_run("bf16"))) == []


def test_a_report_survives_its_file_and_its_page_tells_everything() -> None:
    report = a_report(a_run("bf16"), a_run("hearth"), missing={"int4": "did not <fit>\nlog"})
    again = Report.model_validate_json(report.model_dump_json(by_alias=True))
    assert again == report
    assert json.loads(report.model_dump_json(by_alias=True))["schema"] == 2
    html = page.html(report)
    assert html.count("<svg") == 6
    assert "&lt;hearth&gt;" in html
    assert "did not &lt;fit&gt;" in html
    assert "http://" not in html.replace("http://www.w3.org", "")


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """NVML of a card on which a display holds 300 MiB; `used` and `millijoules` are the test's to set."""
    found = SimpleNamespace(used=300 * MIB, millijoules=0, NVMLError=RuntimeError, nvmlMemory_v2=2)
    found.nvmlInit = lambda: None
    found.nvmlDeviceGetHandleByIndex = lambda index: index
    found.nvmlDeviceGetMemoryInfo = lambda device, version: SimpleNamespace(used=found.used)
    found.nvmlDeviceGetTotalEnergyConsumption = lambda device: found.millijoules
    for name in ("vllm", "vllm.third_party"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["vllm.third_party"].pynvml = found  # type: ignore[attr-defined]
    return found


def test_a_gpu_is_measured_less_what_others_hold(nvml: SimpleNamespace) -> None:
    meter = GpuMeter()
    meter.wait_until_idle()
    nvml.used = 6300 * MIB
    assert meter.memory(0) == 6000 * MIB

    def work() -> str:
        nvml.millijoules = 5000
        return "done"

    assert metered(meter, work) == ("done", 5.0)


def test_a_gpu_that_others_use_is_not_measured(nvml: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = GpuMeter()
    monkeypatch.setattr("hearth_engine.bench.meter._PATIENCE", 0.0)
    nvml.used = 6300 * MIB
    with pytest.raises(BusyError, match=r"5\.86 GiB more of the GPU are held"):
        meter.wait_until_idle()
    with pytest.raises(BusyError, match=r"others hold 6\.15 GiB of the GPU"):
        GpuMeter()


def test_a_process_is_measured_with_all_that_it_started() -> None:
    script = (
        "import subprocess, sys; subprocess.Popen(['sleep', '60'], start_new_session=True); print(flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        pids = _descendants(child.pid)
        assert len(pids) == 2
        assert 2**20 < CpuMeter().memory(child.pid) < 2**28
        os.kill(pids[1], signal.SIGKILL)
        child.communicate(b"\n")
    assert _descendants(child.pid) == [child.pid]


def test_a_page_of_no_runs_is_a_page() -> None:
    assert "did not start" in page.html(a_report(missing={"hearth": "did not start"}))


@pytest.mark.parametrize(("name", "times"), [("bf16", 1), ("int4", 1), ("hearth", run.REPEATS)])
def test_our_loads_are_repeated_each_time_with_other_prompts(
    name: variants.Name, times: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = SimpleNamespace(pid=1, wait=lambda: Start(ready_s=9.0, stages=[]))
    monkeypatch.setattr(run, "running", lambda *_: contextlib.nullcontext(engine))
    seeds: dict[Shape, list[int]] = {}

    def put(shape: Shape, variant: variants.Variant, meter: object, seed: int) -> Load:
        seeds.setdefault(shape, []).append(seed)
        return a_load(median_tpot_ms=3.0 + len(seeds[shape]) / 10)

    monkeypatch.setattr(load, "put", put)
    shapes = load.shapes("cpu", 4096)
    variant = variants.Variant(
        name=name, title=name, model_dir=str(tmp_path), served_name="m", command=(), environment={}
    )
    meter = SimpleNamespace(wait_until_idle=lambda: None, memory=lambda pid: GIB)
    found = run._run(variant, shapes, meter, {}, tmp_path, lambda text: None, run.REPEATS)
    warmed = [seeds[shapes.loads[-1]].pop(0)]  # once, before what counts
    assert {len(of_shape) for of_shape in seeds.values()} == {times}
    every = warmed + [seed for of_shape in seeds.values() for seed in of_shape]
    assert len(set(every)) == len(every)
    assert ("tpot_ms" in found.single.noise) == (times > 1)
