"""The client's side of a request: its body, and whether it is still there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
async def while_connected(receive: Receive) -> AsyncIterator[None]:
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
