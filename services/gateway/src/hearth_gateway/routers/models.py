"""GET /v1/models and /v1/models/{name}"""

from typing import Any

from fastapi import APIRouter

from hearth_gateway.errors import Problem
from hearth_gateway.services import Services


def router(services: Services) -> APIRouter:
    router = APIRouter()

    @router.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        """The served model under each of its names."""
        return {"object": "list", "data": (await services.engine.catalog()).cards()}

    @router.get("/v1/models/{name:path}")
    async def retrieve_model(name: str) -> dict[str, Any]:
        catalog = await services.engine.catalog()
        if name not in catalog.names:
            raise Problem(404, f"The model {name!r} is not served here.", code="model_not_found", param="model")
        return catalog.card(name)

    return router
