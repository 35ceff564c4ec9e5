"""The search server's settings: refused by name."""

import os

import pytest

from hearth_search.cli import main
from hearth_search.settings import load


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HEARTH_")]:
        monkeypatch.delenv(name)


def test_all_have_a_default() -> None:
    assert load().provider == "local"


def test_the_socket_is_the_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_SOCKET", "/run/tool/mcp.sock")
    assert str(load().socket) == "/run/tool/mcp.sock"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"PROVIDER": "google"}, "HEARTH_SEARCH_PROVIDER='google': Input should be 'local', 'searxng', 'tavily' or"),
        ({"PROVIDER": "searxng"}, "HEARTH_SEARCH_URL should name the instance"),
        ({"PROVIDER": "tavily"}, "HEARTH_SEARCH_API_KEY_FILE should name a file with tavily's key"),
        ({"URL": "search.example"}, "HEARTH_SEARCH_URL='search.example': Value error, should look like https://host"),
        ({"TIMEOUT": "0"}, "HEARTH_SEARCH_TIMEOUT='0'"),
        ({"MAX_DOCUMENTS": "many"}, "HEARTH_SEARCH_MAX_DOCUMENTS='many'"),
    ],
)
def test_a_bad_value_stops_it_with_the_name_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environment: dict[str, str], message: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"HEARTH_SEARCH_{name}", value)
    assert main(["serve"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_key_is_never_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HEARTH_SEARCH_API_KEY", "tvly-secret")
    monkeypatch.setenv("HEARTH_SEARCH_PORT", "0")
    assert "tvly-secret" not in repr(load(port=1))
    assert main(["serve"]) == 2
    assert "tvly-secret" not in capsys.readouterr().err
