"""GET /openapi.json: openapi.yaml, for programs."""

from functools import cache
from pathlib import Path

import orjson
import yaml
from fastapi import APIRouter, Response

_DOCUMENT = Path(__file__).parents[1] / "openapi.yaml"


@cache
def _document() -> bytes:
    return orjson.dumps(yaml.safe_load(_DOCUMENT.read_bytes()))


def router() -> APIRouter:
    router = APIRouter()
    document = _document()

    @router.get("/openapi.json")
    async def openapi() -> Response:
        return Response(document, media_type="application/json")

    return router
