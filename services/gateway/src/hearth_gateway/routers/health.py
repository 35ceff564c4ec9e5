"""GET /healthz: the gateway is alive. GET /readyz: the engine produces tokens.

They differ on purpose: a supervisor restarts what is not alive, and restarting the gateway heals no engine.
"""

from typing import Any

from fastapi import APIRouter, Response

from hearth_gateway.services import Services


def router(services: Services) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    async def alive() -> dict[str, Any]:
        return {"status": "alive"}

    @router.get("/readyz")
    async def ready(response: Response) -> dict[str, Any]:
        if reason := await services.engine.why_not_ready():
            response.status_code = 503
            response.headers["Retry-After"] = "5"
            return {"status": "not ready", "reason": reason}
        return {"status": "ready"}

    return router
