"""A whole run on a model folder, with the backend and the tokenizer replaced: what is made, skipped, kept, refused."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hearth_quantizer import calibration, evaluate, manifest, pipeline
from hearth_quantizer.artifact import SOURCE_FILES, ArtifactError
from hearth_quantizer.backends import gptqmodel
from hearth_quantizer.calibration import CalibrationError, Row
from hearth_quantizer.evaluate import EvaluationError, HeldOut
from hearth_quantizer.log import Advance, Log
from hearth_quantizer.manifest import MANIFEST, Canary, Manifest
from hearth_quantizer.pipeline import OutputError, QualityError
from hearth_quantizer.quality import Measured
from hearth_quantizer.recipe import Evaluation, Quantization, Recipe
from hearth_quantizer.source import SourceError
from hearth_quantizer.steps import PARTIAL, StepError
from hearth_quantizer.toolcalls import ToolPrompt

Run = Callable[..., Manifest]


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def run(tmp_path: Path, folder: Path, calls: list[str], measured: Measured, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the pipeline on a copy of `folder`; the backend yields `folder` itself, with files of its own invention.

    The evaluation is given its result, `measured`.
    """
    model = tmp_path / "model"
    shutil.copytree(folder, model)
    (tmp_path / "rows.jsonl").write_text('{"messages": [{"role": "user", "content": "hello"}]}\n' * 128, "utf-8")

    def backend(
        source: Path,
        sequences: Sequence[Sequence[int]],
        settings: Quantization,
        out: Path,
        advance: Advance,
        device_memory: float | None,
    ) -> None:
        calls.append("quantize")
        assert (source, len(sequences), settings.bits) == (model, 128, 4)
        shutil.copytree(folder, out, dirs_exist_ok=True)
        (out / "tokenizer.json").write_text("rewritten by the backend")
        (out / "generation_config.json").write_text("invented by the backend")
        advance(1)

    def encoder(folder: Path) -> calibration.Encode:
        calls.append("calibrate")
        return lambda row: list(range(300))

    def encode(rows: list[Row], prompts: list[ToolPrompt], source: Path, artifact: Path, _: Evaluation) -> HeldOut:
        assert (source, artifact.name[:9]) == (model, "quantize-")
        return HeldOut(rows, prompts, [[1, 2]] * len(rows), [[3]] * len(prompts), tokenizer=None)

    def measure(source: Path, artifact: Path, held: HeldOut, *_: object) -> tuple[Measured, Canary]:
        calls.append("evaluate")
        assert (len(held.rows), len(held.prompts)) == (2, 1)
        return measured, Canary(prompts=((1, 2),), logprobs=((-0.5,),), limits=(0.1,))

    monkeypatch.setattr(gptqmodel, "quantize", backend)
    monkeypatch.setattr(gptqmodel, "versions", dict)
    monkeypatch.setattr(calibration, "encoder", encoder)
    monkeypatch.setattr(evaluate, "encode", encode)
    monkeypatch.setattr(evaluate, "measure", measure)
    (tmp_path / "held.jsonl").write_text('{"messages": [{"role": "user", "content": "held out"}]}\n' * 2, "utf-8")
    prompt = {"id": "1", "lang": "en", "kind": "k", "messages": [{"role": "user", "content": "x"}], "tools": [{}]}
    (tmp_path / "tools.jsonl").write_text(json.dumps(prompt | {"expected": []}), "utf-8")

    def start(*, force: bool = False, alias: str = "a", samples: int = 128, top1: float = 0.9) -> Manifest:
        recipe = Recipe.model_validate(
            {
                "name": "small",
                "source": {"kind": "folder", "path": "model"},
                "calibration": {"files": ["rows.jsonl"], "samples": samples},
                "evaluation": {"text": ["held.jsonl"], "tools": ["tools.jsonl"], "limits": {"top1": top1}},
                "serving": {"context_length": 4096, "served_name": "small", "aliases": [alias]},
            }
        )
        return pipeline.run(recipe, tmp_path, tmp_path / "out", tmp_path / "work", Log(), force=force)

    return start


def test_the_artifact_is_the_backends_weights_with_the_sources_tokenizer(tmp_path: Path, run: Run) -> None:
    made = run()
    assert manifest.verify(tmp_path / "out") == made
    for name in SOURCE_FILES:
        source, out = tmp_path / "model" / name, tmp_path / "out" / name
        assert source.exists() == out.exists(), name
        assert not source.exists() or source.read_bytes() == out.read_bytes()
    assert made.source.kind == "folder"
    assert made.check.quantized_linears == 7
    assert not list(tmp_path.glob(f"*{PARTIAL}"))


def test_an_up_to_date_artifact_is_left_alone(run: Run, calls: list[str]) -> None:
    first = run()
    assert run() == first
    assert calls == ["calibrate", "quantize", "evaluate"]


def test_other_serving_needs_force_and_no_new_quantization(run: Run, calls: list[str]) -> None:
    run()
    with pytest.raises(OutputError, match=r"holds an artifact of other inputs .*; --force replaces it"):
        run(alias="b")
    assert run(alias="b", force=True).recipe.serving.aliases == ("b",)
    assert calls == ["calibrate", "quantize", "evaluate"]


def test_a_changed_model_is_quantized_anew(tmp_path: Path, run: Run, calls: list[str]) -> None:
    run()
    (tmp_path / "model" / "tokenizer_config.json").write_text('{"tokenizer_class": "Other"}', "utf-8")
    run(force=True)
    assert calls == ["calibrate", "quantize", "evaluate"] * 2


def test_a_damaged_artifact_is_named_and_replaced_by_force(tmp_path: Path, run: Run) -> None:
    run()
    (tmp_path / "out" / "config.json").unlink()
    with pytest.raises(OutputError, match=r"config\.json: is missing\n.*is damaged; --force replaces it"):
        run()
    run(force=True)
    assert manifest.verify(tmp_path / "out")


def test_a_folder_that_is_no_artifact_is_never_replaced(tmp_path: Path, run: Run) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    for force in (False, True):
        with pytest.raises(OutputError, match="holds something that is not an artifact"):
            run(force=force)
    assert (tmp_path / "out" / "thesis.tex").exists()


def test_a_bad_result_of_the_backend_is_not_published(tmp_path: Path, run: Run, edit_json: Callable[..., None]) -> None:
    edit_json("quantize_config.json", bits=8)
    with pytest.raises(ArtifactError, match=r"quantize_config\.json: bits is 8, config\.json says 4"):
        run()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("failure", "raised"), [(KeyboardInterrupt(), KeyboardInterrupt), (MemoryError("out of memory"), StepError)]
)
def test_a_broken_run_leaves_no_artifact_and_the_next_one_continues(
    tmp_path: Path,
    run: Run,
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
    raised: type[BaseException],
) -> None:
    def broken(*_: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(gptqmodel, "quantize", broken)
        with pytest.raises(raised):
            run()
    assert not (tmp_path / "out").exists()
    assert run().check.quantized_linears == 7
    assert calls == ["calibrate", "quantize", "evaluate"]


# --- the evaluation ---------------------------------------------------------------------------------------------------
def test_the_artifact_holds_its_report_and_the_manifest_its_summary(tmp_path: Path, run: Run) -> None:
    made = run()
    assert {"reports/quality.json", "reports/quality.html"} <= made.files.keys()
    assert made.quality is not None
    assert made.quality.passed
    assert made.quality.metrics.int4.kl_mean == 0.004
    assert made.canary == Canary(prompts=((1, 2),), logprobs=((-0.5,),), limits=(0.1,))


def test_a_missed_gate_stops_the_run_with_the_table_and_leaves_the_report(tmp_path: Path, run: Run) -> None:
    with pytest.raises(QualityError) as error:
        run(top1=0.999)
    lines = str(error.value).splitlines()
    assert lines[0] == "small: 1 of 6 quality gates missed"
    assert "  MISSED  same top token           0.9960  (at least 0.999)" in lines
    assert lines[-1] == f"the whole report: {tmp_path}/work/reports/quality.html"
    assert (tmp_path / "work/reports/quality.html").is_file()
    assert not (tmp_path / "out").exists()


def test_new_limits_need_no_new_measurement(run: Run, calls: list[str]) -> None:
    with pytest.raises(QualityError):
        run(top1=0.999)
    run()
    assert calls == ["calibrate", "quantize", "evaluate"]


def test_other_held_out_data_are_measured_anew(tmp_path: Path, run: Run, calls: list[str]) -> None:
    run()
    (tmp_path / "held.jsonl").write_text('{"messages": [{"role": "user", "content": "new"}]}\n' * 2, "utf-8")
    run(force=True)
    assert calls == ["calibrate", "quantize", "evaluate", "evaluate"]


def test_an_artifact_is_judged_by_its_canary_first(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = run().recipe
    work = tmp_path / "work"
    computed = [[-0.51]]
    monkeypatch.setattr(evaluate, "logprobs", lambda *_: computed)
    monkeypatch.setattr(evaluate, "encode", lambda rows, prompts, *_: HeldOut(rows, prompts, [], [], None))
    assert pipeline.judge(recipe, tmp_path, tmp_path / "out", work, Log()).passed
    computed[0][0] = -0.7
    with pytest.raises(QualityError, match=r"canary prompt 0: log-probabilities differ by 0\.2000 .*, at most 0\.1"):
        pipeline.judge(recipe, tmp_path, tmp_path / "out", work, Log())


def test_rows_that_calibration_sees_are_not_held_out(tmp_path: Path, run: Run) -> None:
    (tmp_path / "held.jsonl").write_text('{"messages": [{"role": "user", "content": "hello"}]}', "utf-8")
    with pytest.raises(EvaluationError, match=r"held\.jsonl:1: is calibration's row .*rows\.jsonl:\d+ too"):
        run()


def test_too_few_rows_stop_the_run(run: Run) -> None:
    with pytest.raises(CalibrationError, match=r"rows\.jsonl: 128 rows; calibration\.samples asks for 129"):
        run(samples=129)


def test_a_folder_without_a_model_is_refused(tmp_path: Path, run: Run) -> None:
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(SourceError, match=r"model is not a model folder: tokenizer\.json missing"):
        run()


# --- the command ------------------------------------------------------------------------------------------------------
def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from hearth_quantizer.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_verifies_an_artifact_and_names_what_is_wrong(tmp_path: Path, run: Run) -> None:
    run()
    good = command("--verify", tmp_path / "out")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.endswith("8 files and 34 tensors as the manifest says\n")
    (tmp_path / "out" / "extra").touch()
    bad = command("--verify", tmp_path / "out")
    assert (bad.returncode, bad.stderr) == (1, f"{tmp_path}/out: extra: is not in the manifest\n")


def test_the_command_names_the_folder_of_the_source(tmp_path: Path) -> None:
    models = Path(__file__).parents[3] / "models"
    done = command(models / "tiny.yaml", "--fetch", "--work", tmp_path / "work")
    assert (done.returncode, done.stdout) == (0, f"{models}/tiny/model\n")
    assert command(models / "tiny.yaml", "--fetch").returncode == 2  # where to, if it is a download?


def test_the_command_refuses_without_a_traceback(tmp_path: Path) -> None:
    absent = command(tmp_path / "absent.yaml", "--out", tmp_path / "out")
    assert absent.returncode == 1
    assert absent.stderr == f"{tmp_path}/absent.yaml: cannot be read: No such file or directory\n"
    assert command("--verify", tmp_path).stderr.startswith(f"{tmp_path / MANIFEST}: cannot be read")
    assert command("tiny.yaml").returncode == 2
