"""GET /metrics, for Prometheus."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from hearth_gateway.services import Services


def router(services: Services) -> APIRouter:
    router = APIRouter()

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(services.metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})

    return router
