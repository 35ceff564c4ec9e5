"""The application: routes, the door before them, the engine behind them."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException

from hearth_gateway.auth import KeyFile
from hearth_gateway.door import Door
from hearth_gateway.engine import Engine
from hearth_gateway.errors import Problem
from hearth_gateway.metrics import Metrics
from hearth_gateway.request import CHAT, COMPLETIONS
from hearth_gateway.routers import chat, completions, health, metrics, models
from hearth_gateway.services import Services
from hearth_gateway.settings import Settings

_PROBES = frozenset({"/healthz", "/readyz"})
_COUNTED = _PROBES | {CHAT.path, COMPLETIONS.path, "/v1/models", "/metrics"}


def create_app(settings: Settings) -> FastAPI:
    """The gateway for `settings`. Raises KeyFileError when the key file cannot be used."""
    counters = Metrics()
    services = Services(settings, Engine(settings, counters), counters)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        gc.freeze()  # what start-up made stays: a full collection need not walk it in the middle of a stream
        async with services.engine:
            yield

    # No generated documentation: what goes to the engine is checked in request.py, not by models that FastAPI sees.
    # No telemetry of FastAPI's own: it would look for a tracer on every request, and log what validation refused.
    app = FastAPI(
        title="hearth",
        lifespan=lifespan,
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    # The two busy ones first, and as plain routes: an included router is four more calls for each request.
    app.router.routes += [chat.route(services), completions.route(services)]
    for resource in (models, health, metrics):
        app.include_router(resource.router(services))
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(
        Door,
        keys=KeyFile(settings.api_keys_file) if settings.api_keys_file else None,
        public=_PROBES | {"/metrics"} if settings.metrics_public else _PROBES,
        counted=_COUNTED,
        metrics=counters,
    )
    if origins := settings.cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
    return app


async def _http_error(request: Request, error: Exception) -> Response:
    """The framework's own errors (no such path, method not allowed) in the shape that clients parse."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {HTTPStatus(error.status_code).phrase}."
    code = {404: "path_not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return Problem(error.status_code, message, code=code, headers=error.headers).response()
