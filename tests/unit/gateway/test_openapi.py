"""openapi.yaml names every route, and nothing else."""

from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from starlette.routing import Route

import hearth_gateway
from hearth_gateway.app import create_app
from hearth_gateway.settings import Settings

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


@pytest.fixture
def document() -> Any:
    return yaml.safe_load(Path(hearth_gateway.__file__).with_name("openapi.yaml").read_bytes())


def test_every_route_is_there(document: Any, tmp_path: Path) -> None:
    tools = tmp_path / "hearth.tools.yaml"
    tools.write_text("servers: {}")
    app = create_app(Settings(tools_file=tools))
    offered = {
        (path.replace(":path}", "}"), method) for path, item in app.openapi()["paths"].items() for method in item
    }
    for route in app.routes:
        if isinstance(route, Route):  # the plain ones, which FastAPI does not describe
            offered |= {(route.path, method.lower()) for method in route.methods or ()}
    written = {(path, name) for path, item in document["paths"].items() for name in item if name in METHODS}
    assert written == offered


def test_every_reference_leads_somewhere_and_every_component_is_used(document: Any) -> None:
    text = orjson.dumps(document).decode()
    components = {
        f"#/components/{kind}/{name}"
        for kind, named in document["components"].items()
        if kind != "securitySchemes"
        for name in named
    }
    referred = {part.partition('"')[0] for part in text.split('"$ref":"')[1:]}
    assert referred == components
