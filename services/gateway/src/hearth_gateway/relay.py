"""The way of one completion: read the request, check it, ask the engine, hand its bytes on untouched.

This is plain ASGI below FastAPI: every chunk of every stream passes here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import aiohttp
from starlette.types import Receive, Scope, Send

from hearth_gateway.admission import BYTES_OF_A_TOKEN, Slot
from hearth_gateway.client import read_body, while_connected
from hearth_gateway.errors import Problem, has_error_shape
from hearth_gateway.logs import log_body
from hearth_gateway.metrics import total_tokens
from hearth_gateway.replay import ExchangeRecording
from hearth_gateway.request import CHAT, Endpoint, clean, parse
from hearth_gateway.retry import Attempts, Lost, in_transit
from hearth_gateway.services import Services
from hearth_gateway.session import HEADER, session_id
from hearth_gateway.trace import Span

if TYPE_CHECKING:
    from hearth_gateway.tools.chat import ToolChat

# RFC 9110, 7.6.1, and what our own server writes.
_HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
    b"trailer", b"transfer-encoding", b"upgrade", b"date", b"server", b"x-request-id",
})  # fmt: skip
_NEWLINE = ord("\n")
_DONE = b"data: [DONE]"
_LONGEST_LINE = 2**20  # a longer one is passed on in pieces: no engine sends it, and memory is bounded


@dataclass(slots=True)
class _Exchange:
    """What is kept of one exchange with the engine beside its bytes."""

    request_id: str
    started: float
    slot: Slot
    span: Span
    record: ExchangeRecording
    attempts: Attempts


class Relay:
    """ASGI application for one endpoint of the engine."""

    def __init__(self, endpoint: Endpoint, services: Services) -> None:
        self._endpoint = endpoint
        self._settings, self._engine, self._metrics = services.settings, services.engine, services.metrics
        self._admission, self._batcher = services.admission, services.batcher
        self._traces, self._replay_log = services.traces, services.replay_log
        self._tools, self._toolbox = _tool_chat(services) if endpoint is CHAT else None, services.hub
        self._count_all = services.settings.tokens_per_minute is not None
        self._first_byte = services.metrics.first_byte.labels(endpoint.path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = monotonic()
        path, state = self._endpoint.path, scope["state"]
        with self._traces.request(scope, path) as request:
            raw = await read_body(scope, receive, self._settings.max_body_bytes)
            async with while_connected(receive):
                catalog = await self._engine.catalog()
                if self._tools and (wanted := await self._tools.read(raw, catalog, state["key"])):
                    recording = self._replay_log.conversation(
                        state["request_id"], path, wanted.whole, catalog, self._toolbox
                    )
                    headers = headers_for_engine(scope, wanted.given, wanted.given["messages"])
                    await self._tools.answer(wanted, headers, recording, state["key"], send, started)
                    request.set("http.response.status_code", 200)
                    return
                given = parse(raw)
                body = clean(given, self._endpoint, catalog, self._settings)
                headers = headers_for_engine(scope, given, given.get("messages"))
                del given  # the stream may be long
                async with self._admission.slot(state["key"]) as slot:
                    if self._batcher:
                        await self._batcher.hold()
                    if self._settings.log_requests == "bodies":
                        log_body(body)
                    conversation = self._replay_log.conversation(state["request_id"], path, raw, catalog)
                    attempts, status = self._engine.retries.begin(), 0
                    while not status:
                        try:
                            with conversation.asked(path, body) as record, self._traces.engine(path) as span:
                                exchange = _Exchange(state["request_id"], started, slot, span, record, attempts)
                                status = await self._exchange(send, body, headers, exchange)
                        except Lost as lost:
                            await attempts.again(lost)
                    request.set("http.response.status_code", status)

    async def _exchange(self, send: Send, body: bytes, headers: dict[str, str], exchange: _Exchange) -> int:
        """The status of the answer, when the client has it all. Raises Problem only while the client has none of it."""
        try:
            answer = await self._engine.ask(self._endpoint.path, body, headers | exchange.span.headers())
        except (aiohttp.ClientError, OSError) as error:
            raise self._engine.failed(error, exchange.request_id) from None
        exchange.record.answered(answer.status, media_type := answer.content_type)
        if self._count_all and answer.status < 400:
            exchange.slot.tokens = len(body) // BYTES_OF_A_TOKEN
        try:
            if media_type == "text/event-stream":
                await self._stream(answer, send, exchange)
            else:
                await self._whole(answer, send, exchange)
        finally:
            if not answer.closed:  # the last byte has not come: this is what cancels the engine's work
                answer.close()
        return answer.status

    async def _whole(self, answer: aiohttp.ClientResponse, send: Send, exchange: _Exchange) -> None:
        try:
            body = await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            raise self._engine.failed(error, exchange.request_id) from None
        exchange.record.part(body)
        exchange.record.complete()
        if answer.status >= 400:
            if (lost := in_transit(answer.status, body)) and exchange.attempts.left(lost):
                raise lost
            if answer.status >= 500:
                self._metrics.engine_errors.labels("engine_error").inc()
            if not has_error_shape(body):
                raise Problem(answer.status, f"The engine answered {answer.status}.", code="engine_error")
        else:
            self._first_byte.observe(monotonic() - exchange.started)
            if self._count(body, exchange):
                self._engine.produced_token()
        await send(_head(answer))
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, answer: aiohttp.ClientResponse, send: Send, exchange: _Exchange) -> None:
        """Pass on what has arrived, as soon as it has, up to its last newline. So when the engine breaks off within
        an event, the client has whole lines before the error event that follows.

        The head waits for the first bytes: an engine that fails before them is still answered with a status that
        clients retry."""
        content, produced_token, record = answer.content, self._engine.produced_token, exchange.record.part
        held = before = last = b""
        try:
            while chunk := await content.readany():
                record(chunk)
                if held:
                    chunk, held = held + chunk, b""
                if chunk[-1] != _NEWLINE and len(chunk) < _LONGEST_LINE:
                    cut = chunk.rfind(b"\n") + 1
                    chunk, held = chunk[:cut], chunk[cut:]
                    if not chunk:
                        continue
                if first := not last:
                    await send(_head(answer))
                before, last = last, chunk
                if not chunk.startswith(b'data: {"error"'):
                    produced_token()
                if self._count_all:
                    exchange.slot.tokens += chunk.count(b"data: ")
                if ended := content.at_eof() and (before + last + held).rstrip().endswith(_DONE):
                    held = chunk + held  # goes with the end
                else:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if first:
                    self._first_byte.observe(monotonic() - exchange.started)
                if ended:
                    break
            if not (before + last + held).rstrip().endswith(_DONE):
                raise aiohttp.ClientPayloadError("it ended without [DONE]")  # cut, however politely
        except (aiohttp.ClientError, OSError) as error:
            problem = self._engine.failed(error, exchange.request_id)
            if not last:
                raise problem from None
            exchange.span.failed(problem.code)
            held = problem.event(exchange.request_id)
        else:
            exchange.record.complete()
        if not last:
            await send(_head(answer))
        self._count(before + last, exchange)
        await send({"type": "http.response.body", "body": held})

    def _count(self, end: bytes, exchange: _Exchange) -> int:
        """The tokens generated, as far as the `end` of an answer tells."""
        if tokens := self._metrics.count_tokens(end):
            exchange.span.set("gen_ai.usage.output_tokens", tokens)
        if self._count_all and (told := total_tokens(end)):
            exchange.slot.tokens = told
        return tokens


def _tool_chat(services: Services) -> "ToolChat | None":
    if services.hub is None:
        return None
    from hearth_gateway.tools.chat import ToolChat

    return ToolChat(services, services.hub)


def _head(answer: aiohttp.ClientResponse) -> dict[str, object]:
    headers = [(lower, value) for name, value in answer.raw_headers if (lower := name.lower()) not in _HOP_BY_HOP]
    if named := answer.headers.get("connection"):
        dropped = {name.strip().lower().encode() for name in named.split(",")}
        headers = [header for header in headers if header[0] not in dropped]
    return {"type": "http.response.start", "status": answer.status, "headers": headers}


def headers_for_engine(scope: Scope, given: Mapping[str, Any], messages: Any) -> dict[str, str]:
    """Of all that the client sent, the engine's side gets these: its `Authorization`, cookies and the like end here.
    `given`, `messages`: the request and its whole conversation, as `session_id` wants them."""
    state = scope["state"]
    return {
        "content-type": "application/json",
        "x-request-id": state["request_id"],
        HEADER.decode(): session_id(dict(scope["headers"]).get(HEADER), given, messages, state["key"]),
    }
