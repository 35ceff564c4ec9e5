"""How the gateway reaches a tool server: the SDK's transports, with the failures of one exchange kept to that exchange,
and the end of a connection noticed when it comes rather than at the next call."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2
import orjson
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.message import SessionMessage
from mcp_types import CONNECTION_CLOSED, INTERNAL_ERROR, INVALID_REQUEST

from hearth_gateway.tools.config import ServerConfig

LARGEST_RESULT = 16 * 2**20  # bytes of one message; it is in memory at once
UNREACHED = -32097
"""The code of an error that means: nothing was sent."""
SESSION_GONE = "Session terminated"
_FAREWELL = 2.0  # seconds
_KEEPALIVE = 4.0  # below the 5 s of uvicorn and Node: a server never closes a connection that is just being used

Streams = tuple[ReadStream[SessionMessage | Exception], WriteStream[SessionMessage]]


@asynccontextmanager
async def connected(config: ServerConfig, ended: Callable[[], None]) -> AsyncIterator[Streams]:
    """The SDK's transport for a server. `ended` is called when nothing more will come.

    Raises OSError when a program cannot be started, ValueError when a secret is not there.
    """
    if config.command is not None:
        parameters = StdioServerParameters(
            command=config.command[0],
            args=list(config.command[1:]),
            env={name: value.resolve() for name, value in config.env.items()},
            cwd=config.cwd,
        )
        async with stdio_client(parameters) as (read, write):
            yield _Noticed(read, ended), write
        return
    assert config.url is not None
    headers = {name: value.resolve() for name, value in config.headers.items()}
    timeout = httpx2.Timeout(config.connect_timeout, read=None, pool=None)  # each call has a clock of its own
    async with (
        httpx2.AsyncClient(headers=headers, timeout=timeout, transport=_Contained(config.socket)) as client,
        streamable_http_client(config.url, http_client=client, max_sse_event_size=LARGEST_RESULT) as (read, write),
    ):
        yield _Noticed(read, ended), write


class _Noticed:
    """A read stream that tells when it has ended: a child process that died is started again at once."""

    def __init__(self, stream: ReadStream[SessionMessage | Exception], ended: Callable[[], None]) -> None:
        self._stream, self._ended = stream, ended

    def __getattr__(self, name: str) -> object:  # the SDK asks for `last_context` where a stream has one
        return getattr(self._stream, name)

    async def receive(self) -> SessionMessage | Exception:
        return await self._stream.receive()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self._stream.__anext__()
        except StopAsyncIteration:
            self._ended()
            raise

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stream.__aexit__(kind, error, trace)


class _Contained(httpx2.AsyncHTTPTransport):
    """Turns an exchange that failed into an answer that says so. As an exception it would end the SDK's session, and
    with it every other call that is under way there; and of an HTTP error the SDK would not tell which one it was."""

    def __init__(self, socket: Path | None) -> None:
        super().__init__(
            uds=str(socket) if socket else None,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=_KEEPALIVE),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "DELETE":  # the courtesy of ending a session, not worth waiting for
            request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), _FAREWELL)
        if request.method != "POST":
            return await super().handle_async_request(request)
        try:
            response = await super().handle_async_request(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            return _error(503, UNREACHED, str(error) or type(error).__name__)
        except httpx2.TransportError as error:
            return _error(503, CONNECTION_CLOSED, str(error) or type(error).__name__)
        kind = response.headers.get("content-type", "")
        status = response.status_code
        if status == 404 and "mcp-session-id" in request.headers:
            await response.aclose()
            return _error(status, INVALID_REQUEST, SESSION_GONE)
        if status >= 400 and status != 404 and not kind.startswith("application/json"):  # 404: the SDK knows better
            await response.aclose()
            phrase = HTTPStatus(status).phrase if status in list(HTTPStatus) else ""
            return _error(status, INTERNAL_ERROR, f"HTTP {status} {phrase}".rstrip())
        if kind.startswith("application/json"):
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _Bounded(response.stream)
        return response


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends in an error when it is larger than any message should be."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            if (size := size + len(chunk)) > LARGEST_RESULT:
                raise httpx2.StreamError(f"the answer is larger than {LARGEST_RESULT} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def _error(status: int, code: int, message: str) -> httpx2.Response:
    error = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    return httpx2.Response(status, headers={"content-type": "application/json"}, content=orjson.dumps(error))
