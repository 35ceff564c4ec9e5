"""The recipe: what is accepted, and how a mistake is named."""

from pathlib import Path

import pytest

from hearth_quantizer import recipe
from hearth_quantizer.recipe import AutoGptqQuantization, HubSource, RecipeError, SyntheticSource

MODELS = Path(__file__).parents[3] / "models"

GOOD = """\
name: small
source:
  kind: hub
  id: owner/model
  revision: 0123456789abcdef0123456789abcdef01234567
quantization:
  bits: 4
  group_size: 128
  options: {mse: 2.4}
calibration:
  files: [rows.jsonl]
  samples: 128
evaluation:
  text: [held-out.jsonl]
  tools: [tools.jsonl]
serving:
  context_length: 4096
  tool_parser: hermes
  served_name: small
  aliases: [other]
"""


def refused(tmp_path: Path, text: str) -> list[str]:
    """The problems of a recipe, without its path."""
    path = tmp_path / "small.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(RecipeError) as error:
        recipe.load(path)
    lines = str(error.value).splitlines()
    assert all(line.startswith(str(path)) for line in lines)
    return [line.removeprefix(f"{path}:") for line in lines]


def test_a_good_recipe_has_typed_parts_and_defaults(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(GOOD, "utf-8")
    loaded = recipe.load(path)
    assert isinstance(loaded.source, HubSource)
    assert (loaded.quantization.backend, loaded.quantization.desc_act, loaded.quantization.sym) == (
        "gptqmodel",
        False,
        True,
    )
    assert (loaded.calibration.tokens, loaded.calibration.shortest) == (512, 256)
    assert loaded.serving.aliases == ("other",)


def test_calibration_has_512_rows_unless_said_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(GOOD.replace("  samples: 128\n", ""), "utf-8")
    assert recipe.load(path).calibration.samples == 512


def test_every_recipe_of_the_repository_loads() -> None:
    recipes = {path.stem: recipe.load(path) for path in MODELS.glob("*.yaml")}
    assert recipes.keys() == {"tiny", "qwen3-4b-instruct-2507", "qwen3-4b-synthetic"}
    for found in recipes.values():
        assert all((MODELS / path).is_file() for path in found.calibration.files)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "  bits: 4",
            "  bitz: 4",
            "7: quantization.bitz: unknown key; allowed: bits, group_size, desc_act, sym, backend, options",
        ),
        ("{mse: 2.4}", "{mze: 2.4}", "9: quantization.options.mze: unknown key; allowed: damp_percent, mse, act_"),
        (
            "  bits: 4",
            "  backend: auto-gptq",
            "9: quantization.options.mse: unknown key; allowed: damp_percent, true_sequential",
        ),
        ("  id: owner/model", "  id: owner/model\n  url: x", "5: source.url: unknown key; allowed: kind, id, revision"),
        ("name: small\n", "name: small\nmodel: x\n", "2: model: unknown key; allowed: name, source, quantization"),
        ("  bits: 4", "  bits: 3", "7: quantization.bits: 3 is not supported; allowed: 4"),
        ("group_size: 128", "group_size: 100", "8: quantization.group_size: 100 is not supported; allowed: 32, 64 or"),
        ("  bits: 4", "  sym: false", "7: quantization.sym: False is not supported; allowed: True"),
        ("  bits: 4", "  desc_act: true", "7: quantization.desc_act: True is not supported; allowed: False"),
        ("  bits: 4", "  backend: awq", "6: quantization: unknown backend 'awq'; allowed: 'gptqmodel', 'auto-gptq'"),
        ("kind: hub", "kind: ftp", "2: source: unknown kind 'ftp'; allowed: 'hub', 'folder', 'synthetic'"),
        ("  kind: hub\n", "", "2: source: kind is required; allowed: hub, folder, synthetic"),
        ("revision: 0123456789abcdef", "revision: main", "5: source.revision: should match pattern '^[0-9a-f]{40}$'"),
        ("  id: owner/model\n", "", "2: source.id: is required"),
        (
            "samples: 128",
            "samples: 127",
            "10: calibration: samples (127) must be at least 128: with fewer, GPTQ is har",
        ),
        ("samples: 128", "samples: 128\n  min_tokens: 600", "10: calibration: min_tokens (600) must be at most tokens"),
        ("aliases: [other]", "aliases: [small]", "16: serving: served_name and aliases must differ: small is given tw"),
        ("name: small\n", "name: large\n", "1: name: must be the file's name: small"),
        ("  bits: 4", "  bits: 4\n  bits: 4", "8: quantization.bits: given twice"),
        ("serving:", "serving: 3\nx:", "16: serving: should be a valid dictionary or instance of Serving, not 3"),
        ("  bits: 4", "  bits: [4", "8: is not YAML"),
        (
            "  tools: [tools.jsonl]\n",
            "",
            "1: evaluation.text and evaluation.tools are required: the artifact is measured",
        ),
        (
            "  tools: [tools",
            "  limits: {kl: 1}\n  tools: [tools",
            "15: evaluation.limits.kl: unknown key; allowed: kl_ra",
        ),
        (
            "  tools: [tools",
            "  limits: {top1: 90}\n  tools: [tools",
            "15: evaluation.limits.top1: should be less than o",
        ),
    ],
)
def test_a_mistake_is_named_by_line_and_key_with_what_is_allowed(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    assert old in GOOD
    found = refused(tmp_path, GOOD.replace(old, new, 1))
    assert any(line.startswith(problem) for line in found), found


def test_poor_calibration_is_refused_unless_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(GOOD.replace("samples: 128", "samples: 2"), "utf-8")
    with pytest.raises(RecipeError, match="--allow-poor-calibration overrides this"):
        recipe.load(path)
    calibration = recipe.load(path, allow_poor_calibration=True).calibration
    assert (calibration.samples, calibration.allow_poor) == (2, True)


def test_random_weights_need_no_evaluation_and_others_do(tmp_path: Path) -> None:
    assert not recipe.load(MODELS / "tiny.yaml").evaluation.text
    without = GOOD[: GOOD.index("evaluation:")] + GOOD[GOOD.index("serving:") :]
    assert refused(tmp_path, without) == [
        "1: evaluation.text and evaluation.tools are required: the artifact is measured on them"
    ]


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("bits: 4", "bits: 5").replace("samples: 128", "samples: few")
    assert [line.split(":")[0] for line in refused(tmp_path, text)] == ["7", "12"]


def test_another_back_end_comes_with_its_own_options(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(GOOD.replace("group_size: 128", "group_size: 64"), "utf-8")
    loaded = recipe.load(path)
    assert loaded.made_by(None) is loaded
    assert loaded.made_by("gptqmodel") is loaded
    other = loaded.made_by("auto-gptq")
    assert other.quantization == AutoGptqQuantization(backend="auto-gptq", group_size=64)
    assert other.model_copy(update={"quantization": loaded.quantization}) == loaded


SYNTHETIC = GOOD.replace(
    "  kind: hub\n  id: owner/model\n  revision: 0123456789abcdef0123456789abcdef01234567\n",
    "  kind: synthetic\n  tokenizer: tokenizer\n  architecture:\n    max_position_embeddings: 4096\n",
)


def test_the_synthetic_4b_has_the_shape_of_the_real_one(tmp_path: Path) -> None:
    """Its config.json, as the hub has it at the commit that qwen3-4b-instruct-2507.yaml names."""
    source = recipe.load(MODELS / "qwen3-4b-synthetic.yaml").source
    assert isinstance(source, SyntheticSource)
    assert source.architecture.model_dump() == {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "layers": 36,
        "heads": 32,
        "kv_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "max_position_embeddings": 262144,
        "tie_word_embeddings": True,
        "rope_theta": 5000000,
        "rms_norm_eps": 1e-6,
    }


def test_a_synthetic_model_must_reach_the_context_that_is_served(tmp_path: Path) -> None:
    problems = refused(tmp_path, SYNTHETIC.replace("context_length: 4096", "context_length: 8192"))
    assert "context_length (8192) must be at most source.architecture.max_position_embeddings (4096)" in problems[0]


@pytest.mark.parametrize("dimension", ["hidden_size", "intermediate_size", "head_dim", "vocab_size"])
def test_synthetic_dimensions_are_multiples_of_128(tmp_path: Path, dimension: str) -> None:
    text = SYNTHETIC.replace("max_position_embeddings: 4096", f"{dimension}: 1000")
    assert f"source.architecture.{dimension}: should be a multiple of 128, not 1000" in refused(tmp_path, text)[0]


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert refused(tmp_path, text) == [
        "1: must be a mapping; allowed: name, source, quantization, calibration, evaluation, serving"
    ]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"absent\.yaml: cannot be read: No such file"):
        recipe.load(tmp_path / "absent.yaml")
