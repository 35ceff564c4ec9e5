"""The settings: read from the environment, refused by name, documented once."""

import os
from pathlib import Path

import pytest

from hearth_gateway.cli import main
from hearth_gateway.settings import Settings, SettingsError, load, manual


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HEARTH_")]:
        monkeypatch.delenv(name)


def test_all_have_a_default() -> None:
    assert load().engine_url == "http://engine:8000"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("engine_url", "http://localhost:9000/v1/", "http://localhost:9000"),
        ("port", "9100", 9100),
        ("modalities", "text, image", ["text", "image"]),
        ("cors_origins", "https://a.example,https://b.example", ["https://a.example", "https://b.example"]),
        ("metrics_public", "true", True),
        ("batch_window_ms", "2.5", 2.5),
        ("requests_per_minute", "", None),
        ("max_choices", "", 4),  # as compose hands on a variable that is not set
    ],
)
def test_variables_are_read(monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: object) -> None:
    monkeypatch.setenv(f"HEARTH_{name.upper()}", value)
    assert getattr(load(), name) == expected


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("PORT", "70000", "less than or equal to 65535"),
        ("PORT", "http", "integer"),
        ("ENGINE_URL", "engine:8000", "http://host:port"),
        ("ENGINE_URL", "http://user:secret@engine/x?y", "http://host:port"),
        ("MODALITIES", "text,smell", "'text', 'image', 'audio' or 'video'"),
        ("MODALITIES", "image", "should contain text"),
        ("ENGINE_TIMEOUT", "0", "greater than 0"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("METRICS_PUBLIC", "perhaps", "boolean"),
        ("MAX_IN_FLIGHT", "0", "greater than or equal to 1"),
        ("TOKENS_PER_MINUTE", "0", "greater than or equal to 1"),
        ("BATCH_WINDOW_MS", "-1", "greater than or equal to 0"),
        ("LOG_FORMAT", "xml", "'json' or 'text'"),
        ("LOG_REQUESTS", "all", "'none', 'summary' or 'bodies'"),
        ("REPLAY_LOG_BYTES", "10", "greater than or equal to 1048576"),
    ],
)
def test_a_bad_value_stops_it_with_the_name_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(f"HEARTH_{name}", value)
    assert main(["serve"]) == 2
    error = capsys.readouterr().err
    assert f"HEARTH_{name}=" in error
    assert allowed in error
    assert "Traceback" not in error


def test_several_bad_values_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_PORT", "0")
    monkeypatch.setenv("HEARTH_MAX_CHOICES", "0")
    with pytest.raises(SettingsError, match=r"(?s)HEARTH_PORT.*HEARTH_MAX_CHOICES"):
        load()


def test_a_missing_key_file_stops_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HEARTH_API_KEYS_FILE", "/nowhere/keys")
    assert main(["serve"]) == 2
    assert "/nowhere/keys" in capsys.readouterr().err


def test_a_key_of_approvals_that_cannot_be_used_stops_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    short = tmp_path / "key"
    short.write_bytes(b"short")
    for file, reason in ((tmp_path / "none", "No such file"), (short, "at least 32 bytes")):
        monkeypatch.setenv("HEARTH_APPROVAL_KEY_FILE", str(file))
        assert main(["serve"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"HEARTH_APPROVAL_KEY_FILE={file}: ")
        assert reason in error


def test_every_setting_is_explained() -> None:
    assert [variable for variable, _, _ in manual()] == [f"HEARTH_{name.upper()}" for name in Settings.model_fields]
    assert all(len(text.split()) > 3 for _, _, text in manual())


def test_the_manual_prints_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(Settings.model_fields) + 2
    assert "| `HEARTH_PORT` | `8080` | Port to listen on. |" in lines
