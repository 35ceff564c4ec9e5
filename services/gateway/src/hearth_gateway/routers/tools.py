"""GET /v1/tools: the servers, their tools and states. POST /v1/tools/{name}: call one by hand."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request

from hearth_gateway.client import read_body, while_connected
from hearth_gateway.errors import Problem, bad_request
from hearth_gateway.request import dump, parse
from hearth_gateway.services import Services
from hearth_gateway.tools.arguments import ArgumentsError, prepare
from hearth_gateway.tools.hub import Hub
from hearth_gateway.tools.server import Status
from hearth_gateway.tools.types import Call, PreparedCall, Result, Tool

CALL = "/v1/tools/{name}"


def router(services: Services, hub: Hub) -> APIRouter:
    router = APIRouter()

    @router.get("/v1/tools")
    async def list_tools() -> dict[str, Any]:
        return {
            "object": "list",
            "data": [_tool(tool) for tool in hub.tools],
            "servers": [_server(status) for status in hub.servers],
            "problem": hub.problem or None,
        }

    @router.post(CALL)
    async def call_tool(name: str, request: Request) -> dict[str, Any]:
        """What the model would read, within the limits of a call that the model makes. Whoever calls by hand has
        decided to: no approval is asked for."""
        state = request.scope["state"]
        with services.traces.request(request.scope, CALL) as span:
            raw = await read_body(request.scope, request.receive, services.settings.max_body_bytes)
            if (tool := hub.find(name)) is None:
                raise Problem(404, f"There is no tool {name!r} now. GET /v1/tools lists them.", code="tool_not_found")
            prepared = _prepared(raw, tool, state["request_id"])
            await services.admission.count(state["key"])
            async with while_connected(request.receive):
                with services.traces.tool(tool.server, name, prepared.call.id) as inner:
                    result = await _called(hub, prepared, state["key"])
                    if result.is_error:
                        inner.failed("tool_error")
            span.set("http.response.status_code", 200)
        return {"object": "tool.result", "name": name, "content": result.text, "is_error": result.is_error}

    return router


def _prepared(raw: bytes, tool: Tool, id: str) -> PreparedCall:
    """Raises Problem 400. What a program sends is not mended: it can be told."""
    body = parse(raw)
    if body.keys() - {"arguments"}:
        raise bad_request('The body should be {"arguments": {…}}.', code="invalid_json")
    given = body.get("arguments", {})
    if not isinstance(given, dict):
        raise bad_request("arguments should be an object.", "arguments", "invalid_type")
    text = dump(given).decode()
    try:
        return PreparedCall(Call(id, tool.name, text), tool, prepare(text, tool.parameters))
    except ArgumentsError as error:
        message = f"These arguments do not fit the schema of {tool.name}: {error}."
        raise bad_request(message, "arguments", "invalid_arguments") from None


async def _called(hub: Hub, prepared: PreparedCall, user: str) -> Result:
    seconds = hub.limits.seconds
    try:
        async with asyncio.timeout(seconds):
            return await hub.call(prepared, user=user)
    except TimeoutError:
        text = f"Error: no result in time, it may have run in part: one request may take {seconds:g} seconds."
        return Result(prepared.call.id, text, is_error=True)


def _tool(tool: Tool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "server": tool.server,
        "remote_name": tool.remote_name,
        "description": tool.description,
        "parameters": tool.parameters,
        "read_only": tool.read_only,
        "idempotent": tool.idempotent,
        "approval": tool.approval,
    }


def _server(status: Status) -> dict[str, Any]:
    return {
        "label": status.label,
        "state": status.state,
        "detail": status.detail or None,
        "protocol": status.protocol or None,
        "tools": [tool.name for tool in status.tools],
        "circuits": status.circuits,
        "running": status.running,
    }
