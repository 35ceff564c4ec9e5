"""POST /v1/responses, GET and DELETE /v1/responses/{id}"""

import secrets
import time
from typing import Any

from fastapi import APIRouter, Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from hearth_gateway.catalog import Catalog
from hearth_gateway.client import read_body, while_connected
from hearth_gateway.errors import Problem, bad_request
from hearth_gateway.relay import headers_for_engine
from hearth_gateway.request import CHAT, checked, dump, parse
from hearth_gateway.responses.answer import ResponseStream, WholeResponse, envelope
from hearth_gateway.responses.request import Item, chat_request, check, decision, items_of
from hearth_gateway.services import Services
from hearth_gateway.tools import carry
from hearth_gateway.tools.loop import Limits, Loop
from hearth_gateway.tools.run import Run
from hearth_gateway.tools.selection import Selection, select

PATH = "/v1/responses"
ONE = f"{PATH}/{{id}}"
_NO_TOOLS = Limits(seconds=86_400)  # nothing goes round: the engine's own limits hold


def route(services: Services) -> Route:
    return Route(PATH, Responses(services), methods=["POST"])


def router(services: Services) -> APIRouter:
    router = APIRouter()
    store = services.responses

    @router.get(ONE)
    async def retrieve_response(id: str, request: Request) -> dict[str, Any]:
        if (found := await store.get(request.scope["state"]["key"], id)) is None:
            raise _unknown(id)
        return found.response

    @router.delete(ONE)
    async def delete_response(id: str, request: Request) -> dict[str, Any]:
        if not await store.delete(request.scope["state"]["key"], id):
            raise _unknown(id)
        return {"id": id, "object": "response", "deleted": True}

    return router


class Responses:
    """ASGI application."""

    def __init__(self, services: Services) -> None:
        self._services, self._store, self._approvals = services, services.responses, services.approvals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services, state, started = self._services, scope["state"], time.monotonic()
        with services.traces.request(scope, PATH) as span:
            raw = await read_body(scope, receive, services.settings.max_body_bytes)
            async with while_connected(receive):
                catalog = await services.engine.catalog()
                given = parse(raw)
                dump([[[given]]])  # refuses what is nested too deep to be told of and stored
                check(given)
                items = items_of(given.get("input"))
                if earlier := await self._earlier(given, state["key"]):
                    # Whoever replays the log has no store: what went before is part of the request there.
                    raw = dump({**given, "previous_response_id": None, "input": [*earlier, *items]})
                loop, messages, model = self._read(given, earlier, items, catalog, state["key"])
                log = services.replay_log
                recording = log.conversation(state["request_id"], PATH, raw, catalog, services.hub)
                response = envelope(given, f"resp_{secrets.token_hex(24)}", model)
                answer = (ResponseStream if given.get("stream") else WholeResponse)(send, response)
                headers = headers_for_engine(scope, given, messages)
                run = Run(services, loop, headers, recording, state["key"], answer)
                try:
                    finish = await run.to_end()
                except Problem as problem:
                    if answer.began is None:
                        raise
                    await answer.failed(problem, state["request_id"])
                else:
                    response = answer.end(finish)
                    if response["store"]:
                        await self._store.put(state["key"], response, [*earlier, *items, *response["output"]])
                    await answer.finish()
                finally:
                    services.metrics.began(PATH, started, answer.began)
                span.set("http.response.status_code", 200)

    async def _earlier(self, given: dict[str, Any], user: str) -> list[Item]:
        if not (previous := given.get("previous_response_id")):
            return []
        if (found := await self._store.get(user, previous)) is None:
            message = f"There is no response {previous!r}: it was not stored, is too old, or was deleted."
            raise bad_request(message, "previous_response_id", "previous_response_not_found")
        return found.items

    def _read(
        self, given: dict[str, Any], earlier: list[Item], items: list[Item], catalog: Catalog, user: str
    ) -> tuple[Loop, list[Any], str]:
        """The loop that answers, the conversation's messages, and the model's name. Raises Problem 400, 404."""
        settings, hub = self._services.settings, self._services.hub
        asked = chat_request(given, earlier, items, settings.modalities)
        asked["messages"] = carry.restore(asked["messages"])
        decided = None
        if answer := decision(items):
            wanted = {"token": answer.token, "approve": list(answer.granted), "reason": answer.reason}
            decided = self._approvals.decide(wanted, user, time.time(), "approval_request_id")
        tools = (hub.tools, hub.labels, hub.default) if hub else ((), (), ())
        selection = select(asked, *tools) or Selection((), asked)
        body = checked(selection.body, CHAT, catalog, settings)
        limits = hub.limits if hub and selection.tools else _NO_TOOLS
        if (most := given.get("max_tool_calls")) is not None:
            limits = limits.model_copy(update={"calls": min(limits.calls, most)})
        loop = Loop(
            body,
            selection.tools,
            limits,
            lambda pending: self._approvals.issue(pending, user, time.time()),
            resume=decided,
        )
        return loop, asked["messages"], str(body.get("model", ""))


def _unknown(id: str) -> Problem:
    return Problem(
        404, f"There is no response {id!r}: it was not stored, is too old, or was deleted.", code="not_found"
    )
