"""docs/settings.md holds what the settings classes say, and compose.yaml passes every setting on.

`UPDATE_GOLDEN=1 pytest tests/unit/docs` writes the document anew.
"""

import os
import re
from pathlib import Path

import pytest
import yaml

from hearth_engine import cli as engine_cli
from hearth_engine.settings import manual as engine_manual
from hearth_gateway import cli as gateway_cli
from hearth_gateway.settings import manual as gateway_manual
from hearth_search import cli as search_cli
from hearth_search.settings import manual as search_manual

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/settings.md"
# What the images themselves settle: addresses inside the containers, folders, the device.
INSIDE = {
    "HEARTH_MODEL_DIR", "HEARTH_DEVICE", "HEARTH_ENGINE_HOST", "HEARTH_ENGINE_PORT", "HEARTH_CACHE_DIR",
    "HEARTH_BAKED_CACHE_DIR", "HEARTH_ENGINE_URL", "HEARTH_HOST", "HEARTH_PORT", "HEARTH_SECRETS",
    "HEARTH_SHUTDOWN_GRACE", "HEARTH_SEARCH_WORKSPACE", "HEARTH_SEARCH_INDEX", "HEARTH_SEARCH_HOST",
    "HEARTH_SEARCH_PORT", "HEARTH_SOCKET", "HEARTH_CONTROL_SOCKET",
}  # fmt: skip


def printed(command, arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("sys.argv", ["hearth", *arguments])
    command()
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "command", "arguments"),
    [
        ("engine", engine_cli.main, "settings --markdown"),
        ("gateway", gateway_cli.main, "settings --markdown"),
        ("gateway", gateway_cli.main, "settings --markdown --tools-file"),
        ("search", search_cli.main, "settings --markdown"),
    ],
)
def test_the_page_is_what_the_command_prints(name, command, arguments, capsys, monkeypatch) -> None:
    table = printed(command, arguments.split(), capsys, monkeypatch)
    page = PAGE.read_text()
    section = re.compile(rf"(<!-- hearth-{name} {arguments} -->\n).*?(<!-- end -->)", re.DOTALL)
    assert section.search(page)
    wanted = section.sub(lambda match: match[1] + table + match[2], page)
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(wanted)
    assert PAGE.read_text() == wanted


def test_what_the_gateway_keeps_is_in_a_volume_that_its_user_may_write() -> None:
    """A new volume has the owner that the folder has in the image."""
    gateway = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["gateway"]
    file = Path(gateway["environment"]["HEARTH_RESPONSES_FILE"].removeprefix("${HEARTH_RESPONSES_FILE-").rstrip("}"))
    assert f"gateway-data:{file.parent}" in gateway["volumes"]
    stage = (ROOT / "docker/Dockerfile").read_text().split("\nFROM runtime-gateway AS gateway\n")[1].split("\nFROM ")[0]
    assert f"install -d -m 700 -o 1000 -g 1000 {file.parent}\n" in stage


def test_compose_passes_every_setting_on() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    passed = {
        name: {variable for variable in service.get("environment", {}) if variable.startswith("HEARTH_")}
        for name, service in services.items()
    }
    engine = {variable for variable, _, _ in engine_manual()} - INSIDE
    gateway = {variable for variable, _, _ in gateway_manual()} - INSIDE
    assert passed["engine-gpu"] | passed["engine-cpu"] == engine | {"HEARTH_CACHE_DIR"}  # the volume's, not the host's
    assert passed["gateway"] == gateway
    search = {variable for variable, _, _ in search_manual()} - INSIDE
    assert passed["tool-search"] - {"HTTP_PROXY", "HTTPS_PROXY"} == search
