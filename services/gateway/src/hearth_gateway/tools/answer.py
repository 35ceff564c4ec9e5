"""What the client hears of a loop: here as one chat completion, whole or as one stream of server-sent events.

A stream has one id and one `finish_reason`, at its end, however often the model was asked. What tools do is told in a
chunk with an empty delta and a field `hearth`, which clients pass over; those that set `stream_options.hearth_events`
get an event `hearth.tool` instead.
"""

import asyncio
import time
from typing import Any, ClassVar

import orjson
from starlette.types import Send

from hearth_gateway.errors import Problem
from hearth_gateway.tools.carry import FIELD
from hearth_gateway.tools.loop import Finish
from hearth_gateway.tools.types import PreparedCall, Result


class Answer:
    """What the driver tells of a loop while it runs. `began`: when the client first heard anything, on the clock of
    `time.monotonic`; from then on an error can no longer be a status. `streams`: whether the engine's answers are
    wanted chunk by chunk."""

    streams: ClassVar[bool] = False

    def __init__(self, send: Send) -> None:
        self._send = send
        self.began: float | None = None

    @property
    def passes_on(self) -> bool:
        """Whether events of the engine's stream may be shown as they are."""
        return False

    def add(self, chunk: dict[str, Any], text: str, lead: str) -> None:
        """A chunk of the engine's stream; `text` is what of its content may be shown, and `lead` parts it from what was
        shown before."""

    def pass_on(self, events: bytes) -> None:
        """Whole events of the engine's stream, which are shown as they are."""

    async def flush(self) -> None:
        """Send what was added or passed on."""

    async def started(self, prepared: PreparedCall) -> None:
        """A tool is called."""

    async def progress(self, prepared: PreparedCall, progress: float, total: float | None, message: str | None) -> None:
        """It is not done yet."""

    async def finished(self, prepared: PreparedCall, result: Result) -> None:
        """The call has its result."""

    async def _head(self, content_type: bytes, *more: tuple[bytes, bytes]) -> None:
        self.began = time.monotonic()
        headers = [(b"content-type", content_type), *more]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _json(self, body: Any) -> None:
        await self._head(b"application/json")
        await self._send({"type": "http.response.body", "body": orjson.dumps(body)})


class EventStream(Answer):
    """Events wait until the next `flush`."""

    streams = True

    def __init__(self, send: Send) -> None:
        super().__init__(send)
        self._waiting: list[bytes] = []
        self._sending = asyncio.Lock()

    async def flush(self) -> None:
        if self._waiting:
            if self.began is None:
                await self._begin()
            await self._send({"type": "http.response.body", "body": self._taken(), "more_body": True})

    async def flush_in_turn(self) -> None:
        """The same while tools run: they run at once, and each tells of itself."""
        async with self._sending:
            await self.flush()

    async def _end(self) -> None:
        if self.began is None:
            await self._begin()
        await self._send({"type": "http.response.body", "body": self._taken()})

    async def _begin(self) -> None:
        await self._head(
            b"text/event-stream; charset=utf-8", (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")
        )

    def _taken(self) -> bytes:
        data = b"".join(self._waiting)
        self._waiting.clear()
        return data


class Whole(Answer):
    """One chat completion."""

    def __init__(self, send: Send, id: str, model: str) -> None:
        super().__init__(send)
        self._envelope = _envelope("chat.completion", id, model)

    async def finish(self, finish: Finish) -> None:
        choice = {"index": 0, "message": finish.message(), "logprobs": None, "finish_reason": finish.finish_reason}
        await self._json(self._envelope | {"choices": [choice], "usage": finish.usage.message()})


class Stream(EventStream):
    """One chat completion, in chunks. They all have the id of the engine's first, or where a chunk of ours comes before
    that, one of ours."""

    def __init__(self, send: Send, id: str, model: str, *, usage: bool, events: bool) -> None:
        super().__init__(send)
        self._envelope = _envelope("chat.completion.chunk", id, model)
        self._usage, self._events = usage, events
        self._role = {"role": "assistant"}  # for the first chunk
        self._is_engine_s = False  # the envelope

    @property
    def passes_on(self) -> bool:
        return self._is_engine_s or bool(self._role)

    def add(self, chunk: dict[str, Any], text: str, lead: str) -> None:
        if self._role:
            self._take_envelope(chunk)
        choices = chunk.get("choices") or [{}]
        given = choices[0].get("delta") or {}
        # Calls are shown when it is known whose they are; anything else the engine says, reasoning for example, passes.
        delta = {
            name: value for name, value in given.items() if name not in ("role", "content", "tool_calls") and value
        }
        if text:
            delta["content"] = lead + text
        if delta or (self._role and "role" in given):
            more = {"logprobs": logprobs} if (logprobs := choices[0].get("logprobs")) else {}
            self._chunk(delta, **more)

    def pass_on(self, events: bytes) -> None:
        if self._role:
            self._take_envelope(orjson.loads(events[len(b"data: ") : events.index(b"\n\n")]))
            self._role = {}
        self._waiting.append(events)

    def _take_envelope(self, chunk: dict[str, Any]) -> None:
        self._envelope |= {name: chunk[name] for name in ("id", "created", "model") if name in chunk}
        self._is_engine_s = True

    async def started(self, prepared: PreparedCall) -> None:
        await self._tell("started", prepared, {"arguments": prepared.arguments})

    async def progress(self, prepared: PreparedCall, progress: float, total: float | None, message: str | None) -> None:
        if self._sending.locked():  # a slow client hears less of it, and nothing piles up here
            return
        await self._tell("progress", prepared, {"progress": progress, "total": total, "message": message})

    async def finished(self, prepared: PreparedCall, result: Result) -> None:
        await self._tell("finished", prepared, {"is_error": result.is_error})

    async def finish(self, finish: Finish) -> None:
        if finish.notice:
            self._chunk({"content": finish.notice})
        for index, call in enumerate(finish.calls):
            self._chunk({"tool_calls": [{"index": index} | call.message()]})
        extra = finish.extra()
        self._chunk({FIELD: extra} if extra else {}, finish_reason=finish.finish_reason)
        if self._usage:
            self._write(self._envelope | {"choices": [], "usage": finish.usage.message()})
        self._waiting.append(b"data: [DONE]\n\n")
        await self._end()

    async def failed(self, problem: Problem, request_id: str) -> None:
        self._waiting.append(problem.event(request_id))
        await self._end()

    async def _tell(self, what: str, prepared: PreparedCall, more: dict[str, Any]) -> None:
        tool = prepared.tool
        event = {"type": f"tool.{what}", "id": prepared.call.id, "name": tool.name, "server": tool.server} | more
        if self._events:
            self._waiting.append(b"event: hearth.tool\ndata: " + orjson.dumps(event) + b"\n\n")
        else:
            self._chunk({}, beside={FIELD: event})
        await self.flush_in_turn()

    def _chunk(
        self,
        delta: dict[str, Any],
        *,
        finish_reason: str | None = None,
        beside: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        delta, self._role = self._role | delta, {}
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason} | more
        self._write(self._envelope | {"choices": [choice]} | (beside or {}))

    def _write(self, chunk: dict[str, Any]) -> None:
        self._waiting.append(b"data: " + orjson.dumps(chunk) + b"\n\n")


def _envelope(kind: str, id: str, model: str) -> dict[str, Any]:
    return {"id": id, "object": kind, "created": int(time.time()), "model": model}
