"""The tool loop on /v1/chat/completions: which requests take it, and what is carried from one to the next."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.types import Send

from hearth_gateway.catalog import Catalog
from hearth_gateway.errors import Problem
from hearth_gateway.replay import Recording
from hearth_gateway.request import CHAT, checked, dump, parse
from hearth_gateway.services import Services
from hearth_gateway.tools import approval, carry
from hearth_gateway.tools.answer import Stream, Whole
from hearth_gateway.tools.loop import Loop
from hearth_gateway.tools.run import Run
from hearth_gateway.tools.selection import Selection, select
from hearth_gateway.tools.types import Toolbox

if TYPE_CHECKING:
    from hearth_gateway.shared.store import SharedCarry

_CARRY_BYTES, _CARRY_SECONDS = 64 * 2**20, 3600.0


@dataclass(frozen=True, slots=True)
class Request:
    """A client's request, read: the loop that answers it, and how the client wants to hear of it. `whole`: the request
    with what was kept of its conversation here, for the replay log; `given`: what the client sent."""

    whole: bytes
    given: dict[str, Any]
    loop: Loop
    model: str
    stream: bool
    usage: bool
    events: bool


class ToolChat:
    def __init__(self, services: Services, hub: Toolbox) -> None:
        self._services, self._hub = services, hub
        self._approvals = services.approvals
        self._carried = carry.CarryStore(_CARRY_BYTES, _CARRY_SECONDS)
        self._shared = _shared_carry(services)

    async def read(self, raw: bytes, catalog: Catalog, user: str) -> Request | None:
        """The request, or None when no tool of ours has a part in it: the relay answers it. Raises Problem 400, 404."""
        if not self._hub.default and b'"mcp"' not in raw and b'"hearth' not in raw:  # not worth parsing it twice
            return None
        given = parse(raw)
        answer = given.pop(approval.FIELD, None)
        decision = None if answer is None else self._approvals.decide(answer, user, time.time())
        told = given.get("messages")
        if (messages := carry.completed(told, await self._kept(told, user))) is not told:
            raw = dump(parse(raw) | {"messages": messages})
        given["messages"] = carry.restore(messages)
        restored = given["messages"] != messages
        selection = select(given, self._hub.tools, self._hub.labels, self._hub.default)
        if selection is None:
            if not restored and decision is None:
                return None
            selection = Selection((), given)
        options = given.get("stream_options")
        options = options if isinstance(options, Mapping) else {}
        body = checked(selection.body, CHAT, catalog, self._services.settings)
        loop = Loop(
            body,
            selection.tools,
            self._hub.limits,
            lambda pending: self._approvals.issue(pending, user, time.time()),
            resume=decision,
        )
        return Request(
            raw,
            given,
            loop,
            model=str(body.get("model", "")),
            stream=body.get("stream") is True,
            usage=options.get("include_usage") is True,
            events=options.get("hearth_events") is True,
        )

    async def answer(
        self,
        request: Request,
        headers: Mapping[str, str],
        recording: Recording,
        user: str,
        send: Send,
        started: float,
    ) -> None:
        """Answer it. `started`: when it came, on the clock of `time.monotonic`. Raises Problem as long as nothing was
        sent; after that, a problem is the stream's last event."""
        id = f"chatcmpl-{headers['x-request-id']}"
        answer: Whole | Stream = (
            Stream(send, id, request.model, usage=request.usage, events=request.events)
            if request.stream
            else Whole(send, id, request.model)
        )
        try:
            finish = await Run(self._services, request.loop, headers, recording, user, answer).to_end()
        except Problem as problem:
            if not isinstance(answer, Stream) or answer.began is None:
                raise
            await answer.failed(problem, headers["x-request-id"])
        else:
            if finish.calls and finish.carry:
                await self._keep(user, finish.calls[0].id, finish.carry)
            await answer.finish(finish)
        finally:
            self._services.metrics.began(CHAT.path, started, answer.began)

    async def _kept(self, messages: Any, user: str) -> Callable[[str], list[carry.Message] | None]:
        """Finds what is kept of the turns in `messages`."""
        if self._shared:
            return (await self._shared.find(user, carry.call_ids(messages))).get
        return lambda id: self._carried.get(user, id, time.monotonic())

    async def _keep(self, user: str, call_id: str, messages: Sequence[carry.Message]) -> None:
        if self._shared:
            await self._shared.put(user, call_id, messages)
        else:
            self._carried.put(user, call_id, messages, time.monotonic())


def _shared_carry(services: Services) -> "SharedCarry | None":
    if services.shared is None:
        return None
    from hearth_gateway.shared.store import SharedCarry

    return SharedCarry(services.shared, _CARRY_SECONDS)
