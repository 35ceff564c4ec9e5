"""The way of one completion: read the request, check it, ask the engine, hand its bytes on untouched.

This is plain ASGI below FastAPI: every chunk of every stream passes here.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import aiohttp
from starlette.types import Receive, Scope, Send

from hearth_gateway.errors import Problem, has_error_shape
from hearth_gateway.request import Endpoint, clean
from hearth_gateway.services import Services

# RFC 9110, 7.6.1, and what our own server writes.
_HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
    b"trailer", b"transfer-encoding", b"upgrade", b"date", b"server", b"x-request-id",
})  # fmt: skip
_NEWLINE = ord("\n")
_LONGEST_LINE = 2**20  # a longer one is passed on in pieces: no engine sends it, and memory is bounded


class ClientGone(Exception):  # noqa: N818 - it is the client's right
    """The client closed its connection before the answer was complete."""


class Relay:
    """ASGI application for one endpoint of the engine."""

    def __init__(self, endpoint: Endpoint, services: Services) -> None:
        self._endpoint = endpoint
        self._settings, self._engine, self._metrics = services.settings, services.engine, services.metrics
        self._first_byte = services.metrics.first_byte.labels(endpoint.path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = monotonic()
        raw = await _read_body(scope, receive, self._settings.max_body_bytes)
        async with _while_connected(receive):
            body = clean(raw, self._endpoint, await self._engine.catalog(), self._settings)
            headers = _headers_for_engine(scope)
            request_id = headers["x-request-id"]
            try:
                answer = await self._engine.ask(self._endpoint.path, body, headers)
            except (aiohttp.ClientError, OSError) as error:
                raise self._engine.failed(error, request_id) from None
            try:
                if answer.content_type == "text/event-stream":
                    await self._stream(answer, send, started, request_id)
                else:
                    await self._whole(answer, send, started, request_id)
            finally:
                answer.close()  # a no-op after the last byte; before it, this is what cancels the engine's work

    async def _whole(self, answer: aiohttp.ClientResponse, send: Send, started: float, request_id: str) -> None:
        try:
            body = await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            raise self._engine.failed(error, request_id) from None
        if answer.status >= 400:
            if answer.status >= 500:
                self._metrics.engine_errors.labels("engine_error").inc()
            if not has_error_shape(body):
                raise Problem(answer.status, f"The engine answered {answer.status}.", code="engine_error")
        else:
            self._first_byte.observe(monotonic() - started)
            if self._metrics.count_tokens(body):
                self._engine.produced_token()
        await send(_head(answer))
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, answer: aiohttp.ClientResponse, send: Send, started: float, request_id: str) -> None:
        """Pass on what has arrived, as soon as it has, up to its last newline. So when the engine breaks off within
        an event, the client has whole lines before the error event that follows.

        The head waits for the first bytes: they leave in one write, and an engine that fails before them is still
        answered with a status that clients retry."""
        read, produced_token = answer.content.readany, self._engine.produced_token
        held = before = last = b""
        try:
            while chunk := await read():
                if held:
                    chunk, held = held + chunk, b""
                if chunk[-1] != _NEWLINE and len(chunk) < _LONGEST_LINE:
                    cut = chunk.rfind(b"\n") + 1
                    chunk, held = chunk[:cut], chunk[cut:]
                    if not chunk:
                        continue
                if not last:
                    await send(_head(answer))
                    self._first_byte.observe(monotonic() - started)
                before, last = last, chunk
                if not chunk.startswith(b'data: {"error"'):
                    produced_token()
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except (aiohttp.ClientError, OSError) as error:
            problem = self._engine.failed(error, request_id)
            if not last:
                raise problem from None
            held = problem.event()
        if not last:
            await send(_head(answer))
        await send({"type": "http.response.body", "body": held})
        self._metrics.count_tokens(before + last)


def _head(answer: aiohttp.ClientResponse) -> dict[str, object]:
    headers = [(lower, value) for name, value in answer.raw_headers if (lower := name.lower()) not in _HOP_BY_HOP]
    if named := answer.headers.get("connection"):
        dropped = {name.strip().lower().encode() for name in named.split(",")}
        headers = [header for header in headers if header[0] not in dropped]
    return {"type": "http.response.start", "status": answer.status, "headers": headers}


def _headers_for_engine(scope: Scope) -> dict[str, str]:
    """An allow-list: the client's `Authorization`, cookies and the like end here."""
    headers = {"content-type": "application/json", "x-request-id": scope["state"]["request_id"]}
    for name, value in scope["headers"]:
        if name == b"x-session-id":  # lets a router before several engines keep a conversation with its cached prefix
            headers["x-session-id"] = value.decode("latin-1")
    return headers


async def _read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    too_large = Problem(413, f"The body is larger than {limit} bytes.", code="body_too_large")
    media_type = b""
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > limit:  # the server has checked that these are digits
            raise too_large
        if name == b"content-type":
            media_type = value.partition(b";")[0].strip().lower()
    if media_type != b"application/json":  # anything else a web page may send without asking the browser first
        raise Problem(415, "Content-Type should be application/json.", code="unsupported_media_type")
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        if (size := size + len(chunk)) > limit:
            raise too_large
        if not message.get("more_body"):
            return b"".join([*chunks, chunk]) if chunks else chunk
        chunks.append(chunk)


@asynccontextmanager
async def _while_connected(receive: Receive) -> AsyncIterator[None]:
    """Cancel the block when the client goes away, and raise ClientGone."""
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        raise ClientGone from None
    finally:
        watcher.cancel()
