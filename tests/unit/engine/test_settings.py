"""Settings come from the environment, and a bad one stops the engine by name."""

from pathlib import Path

import pytest

from hearth_engine import settings
from hearth_engine.settings import REFUSED_FLAGS, Settings, SettingsError


def test_defaults_need_no_environment() -> None:
    assert settings.load() == Settings()


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_MODEL_DIR", "/model")
    monkeypatch.setenv("HEARTH_CONTEXT_LENGTH", "8192")
    monkeypatch.setenv("HEARTH_VRAM_BUDGET_GIB", "")  # compose passes an unset variable as an empty one
    loaded = settings.load()
    assert (loaded.model_dir, loaded.context_length, loaded.vram_budget_gib) == (Path("/model"), 8192, None)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HEARTH_CONTEXT_LENGTH", "32k", "should be a valid integer"),
        ("HEARTH_CONTEXT_LENGTH", "100", "greater than or equal to 256"),
        ("HEARTH_ENGINE_PORT", "70000", "less than or equal to 65535"),
        ("HEARTH_VRAM_BUDGET_GIB", "-1", "greater than 0"),
        ("HEARTH_DEVICE", "tpu", "'auto', 'cpu' or 'cuda'"),
        ("HEARTH_KV_CACHE_DTYPE", "int3", "'auto', 'bfloat16', 'int8_per_token_head', 'fp8' or 'int4_per_token_head'"),
        ("HEARTH_SPECULATION", "suffix", "'off' or 'ngram'"),
        ("HEARTH_ENGINE_ARGS", "--seed 'x", "not a list of shell words"),
        ("HEARTH_ENGINE_ARGS", "seed 7", "must begin with a flag"),
    ],
)
def test_a_bad_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        settings.load()
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"{name}: ")
    assert said in line
    assert repr(value) in line


def test_every_bad_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_ENGINE_PORT", "x")
    monkeypatch.setenv("HEARTH_DEVICE", "x")
    with pytest.raises(SettingsError) as refused:
        settings.load()
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == [
        "HEARTH_DEVICE",
        "HEARTH_ENGINE_PORT",
    ]


@pytest.mark.parametrize("flag", REFUSED_FLAGS)
@pytest.mark.parametrize("form", ["{} x", "{}=x", "--seed 1 {}"])
def test_flags_that_break_a_promise_are_refused(monkeypatch: pytest.MonkeyPatch, flag: str, form: str) -> None:
    monkeypatch.setenv("HEARTH_ENGINE_ARGS", form.format(flag))
    with pytest.raises(SettingsError, match=f"{flag} is refused: "):
        settings.load()


SPELLINGS = [
    "--trust_remote_code",
    "--trust-remote",
    "--quantizatio=gptq",
    "--model-loader-extra-config.enable_weights_track=false",
    "--speculative_config.method ngram",
    "-sc.method ngram",
    "-s x",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_other_spellings_that_vllm_takes_are_refused_too(monkeypatch: pytest.MonkeyPatch, spelling: str) -> None:
    monkeypatch.setenv("HEARTH_ENGINE_ARGS", spelling)
    with pytest.raises(SettingsError, match="is refused"):
        settings.load()


def test_other_flags_pass_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_ENGINE_ARGS", "--seed 7 --compilation-config '{\"mode\": 0}' --max-logprobs -1")
    assert settings.load().extra_flags == ["--seed", "7", "--compilation-config", '{"mode": 0}', "--max-logprobs", "-1"]


def test_every_setting_has_a_manual() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
