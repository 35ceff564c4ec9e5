"""The client's side of a request: its body, and whether it is still there."""

import asyncio
from types import TracebackType

from starlette.types import Receive, Scope

from hearth_gateway.errors import Problem


class ClientGone(Exception):  # noqa: N818 - it is the client's right
    """The client closed its connection before the answer was complete."""


class Bodies:
    """Memory for request bodies: so many bytes of all of them together, however many clients send at once."""

    def __init__(self, most: int, largest: int) -> None:
        self._most, self.largest, self.held = most, largest, 0

    def take(self, length: int) -> int:
        """Room for a body; returns what to give back when its request is over. Raises Problem 429."""
        length = min(length, self.largest)  # a larger one is refused before it is read
        if self.held and self.held + length > self._most:
            raise Problem(
                429,
                f"The server is busy: the requests that it holds have {self.held} bytes, and {self._most} is the most.",
                code="bodies_full",
                headers={"Retry-After": "1"},
            )
        self.held += length
        return length

    def give(self, length: int) -> None:
        self.held -= length


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    headers = dict(scope["headers"])
    if int(headers.get(b"content-length", 0)) > limit:  # the server has checked that these are digits
        raise _too_large(limit)
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
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
            raise _too_large(limit)
        if not message.get("more_body"):
            return b"".join([*chunks, chunk]) if chunks else chunk
        chunks.append(chunk)


def _too_large(limit: int) -> Problem:
    return Problem(413, f"The body is larger than {limit} bytes.", code="body_too_large")


class while_connected:  # noqa: N801 - read as a statement
    """Cancel the block when the client goes away, and raise ClientGone.

    A class and not a generator, which asyncio would keep account of: every request enters. The watching begins when the
    block waits for the first time: what a request needs before it goes to the engine is not held up by it."""

    __slots__ = ("_gone", "_loop", "_receive", "_task", "_watching")

    def __init__(self, receive: Receive) -> None:
        self._receive, self._gone = receive, False

    async def __aenter__(self) -> None:
        self._loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._task = task
        self._watching: asyncio.Handle | asyncio.Task[None] = self._loop.call_soon(self._begin)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watching.cancel()
        if self._gone and kind is asyncio.CancelledError:
            self._task.uncancel()
            raise ClientGone from None

    def _begin(self) -> None:
        self._watching = self._loop.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._task.cancel()
