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

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/settings.md"
# What the images themselves settle: addresses inside the containers, folders, the device.
INSIDE = {
    "HEARTH_MODEL_DIR", "HEARTH_DEVICE", "HEARTH_ENGINE_HOST", "HEARTH_ENGINE_PORT", "HEARTH_CACHE_DIR",
    "HEARTH_BAKED_CACHE_DIR", "HEARTH_ENGINE_URL", "HEARTH_HOST", "HEARTH_PORT", "HEARTH_SHUTDOWN_GRACE",
}  # fmt: skip


def printed(command, arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("sys.argv", ["hearth", *arguments])
    command()
    return capsys.readouterr().out


@pytest.mark.parametrize(("name", "command"), [("engine", engine_cli.main), ("gateway", gateway_cli.main)])
def test_the_page_is_what_the_command_prints(name, command, capsys, monkeypatch) -> None:
    table = printed(command, ["settings", "--markdown"], capsys, monkeypatch)
    page = PAGE.read_text()
    section = re.compile(rf"(<!-- hearth-{name} settings --markdown -->\n).*?(<!-- end -->)", re.DOTALL)
    assert section.search(page)
    wanted = section.sub(lambda match: match[1] + table + match[2], page)
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(wanted)
    assert PAGE.read_text() == wanted


def test_compose_passes_every_setting_on() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    passed = {name: set(service["environment"]) for name, service in services.items()}
    engine = {variable for variable, _, _ in engine_manual()} - INSIDE
    gateway = {variable for variable, _, _ in gateway_manual()} - INSIDE
    assert passed["engine-gpu"] | passed["engine-cpu"] == engine
    assert passed["gateway"] == gateway
