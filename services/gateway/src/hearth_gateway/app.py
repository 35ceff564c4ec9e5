"""The application: routes, the door before them, the engine behind them."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp

from hearth_gateway.auth import KeyFile
from hearth_gateway.client import Bodies
from hearth_gateway.control import listening
from hearth_gateway.door import Door
from hearth_gateway.engine import Engine
from hearth_gateway.errors import Problem
from hearth_gateway.metrics import Metrics
from hearth_gateway.request import CHAT, COMPLETIONS
from hearth_gateway.routers import chat, completions, health, metrics, models, openapi, responses
from hearth_gateway.services import Services
from hearth_gateway.settings import Settings
from hearth_gateway.tools.types import Toolbox

if TYPE_CHECKING:
    from hearth_gateway.tools.hub import Hub

_PROBES = frozenset({"/healthz", "/readyz"})
_COUNTED = _PROBES | {CHAT.path, COMPLETIONS.path, responses.PATH}
_COUNTED |= {"/v1/models", "/v1/tools", "/openapi.json", "/metrics"}
_MEMBERS = {
    "/v1/models": "/v1/models/{name}",
    "/v1/tools": "/v1/tools/{name}",
    responses.PATH: f"{responses.PATH}/{{id}}",
}


class _Gateway(FastAPI):
    def build_middleware_stack(self) -> ASGIApp:
        """Nothing of FastAPI's and Starlette's own before the door: they would do what it does itself (a limit for
        bodies, the last resort for errors), and cost as much at each chunk of a stream as at its request."""
        app: ASGIApp = ExceptionMiddleware(AsyncExitStackMiddleware(self.router), handlers=self.exception_handlers)
        for middleware, given, named in reversed(self.user_middleware):
            app = middleware(app, *given, **named)
        return app


def create_app(settings: Settings, tools: Toolbox | None = None) -> FastAPI:
    """The gateway for `settings`; with `tools` in place of those of its tool servers. Raises KeyFileError or
    ToolsConfigError when a file cannot be used."""
    counters = Metrics()
    engine = Engine(settings, counters)
    hub = None if tools else _hub(settings, engine, counters)
    services = Services(settings, engine, counters, tools or hub)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        gc.freeze()  # what start-up made stays: a full collection need not walk it in the middle of a stream
        control = listening(settings.control_socket, engine.route)
        async with services.shared or nullcontext(), services.engine, hub or nullcontext(), services.responses, control:
            await services.agree()
            yield
        await asyncio.to_thread(services.traces.close)

    # No generated documentation, openapi.yaml is written by hand: what goes to the engine is checked in request.py, not
    # by models that FastAPI sees.
    # No telemetry of FastAPI's own: it would look for a tracer on every request, and log what validation refused.
    app = _Gateway(
        title="hearth",
        lifespan=lifespan,
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    busy = [chat.route(services), completions.route(services)]
    # As plain routes: an included router is four more calls for each request.
    app.router.routes += [*busy, responses.route(services)]
    for resource in (models, responses, health, metrics):
        app.include_router(resource.router(services))
    app.include_router(openapi.router())
    if hub:
        from hearth_gateway.routers import tools as by_hand

        app.include_router(by_hand.router(services, hub))
    app.state.services = services
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(
        Door,
        keys=KeyFile.of(settings),
        public=_PROBES | {"/metrics"} if settings.metrics_public else _PROBES,
        counted=_COUNTED,
        members=_MEMBERS,
        origins=settings.cors_origins,
        bodies=Bodies(settings.max_bodies_bytes, settings.max_body_bytes),
        busy={route.path: route.app for route in busy},
        metrics=counters,
    )
    if origins := settings.cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
    return app


def _hub(settings: Settings, engine: Engine, counters: Metrics) -> "Hub | None":
    if settings.tools_file is None:
        return None
    from hearth_gateway.tools.hub import Hub
    from hearth_gateway.tools.results import tokens_of

    return Hub(
        settings.tools_file,
        tokens_of(engine),
        lambda tool, outcome, seconds: counters.tool_called(tool.server, tool.name, outcome, seconds),
    )


async def _http_error(request: Request, error: Exception) -> Response:
    """The framework's own errors (no such path, method not allowed) in the shape that clients parse."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {HTTPStatus(error.status_code).phrase}."
    code = {404: "path_not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return Problem(error.status_code, message, code=code, headers=error.headers).response()
