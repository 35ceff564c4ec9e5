"""A client's connection: uvicorn's HTTP/1.1, with the bounds that it lacks and less of what HTTP/1.1 leaves open.

A request must arrive in time: else a client that sends a byte now and then keeps its connection, and its share of
`max_bodies_bytes`, for ever. Its head has a largest size. Trailers are not headers. What an intermediary could read in
another way than we do (an upgrade, codings of the transfer other than `chunked`) is refused, and the connection closed.
"""

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hearth_gateway.errors import Problem

LARGEST_HEAD = 65_536
"""Bytes of a request's target and headers."""


class Connection(HttpToolsProtocol):
    seconds: ClassVar[float]
    """In which a request arrives whole, from its first byte on; the first one from the connection on."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._timer: asyncio.TimerHandle | None = None
        self._arriving = True
        self._in_head = False
        self._head = 0
        self._refused = _NO_REQUEST

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._arriving and self._timer is None:  # most requests come whole, and need none
            self._start_timer()
        if self._in_head:
            self._head += len(data)
            if self._head > LARGEST_HEAD:
                self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._arriving, self._in_head, self._head = True, True, 0
        self._stop_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else it is a trailer
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        upgrade = self.parser.should_upgrade()
        if problem := self._problem(upgrade):
            self._refused = problem
            raise ValueError  # ends the parser: what follows is not read
        super().on_headers_complete()
        if upgrade:
            self.cycle.keep_alive = False  # we stay with HTTP/1.1, and the parser reads no further

    def _problem(self, upgrade: bool) -> Problem | None:
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            return _NO_REQUEST
        size = len(self.url)
        for name, value in self.headers:
            size += len(name) + len(value) + _AROUND
            if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                return Problem(501, "Transfer-Encoding should be chunked.", code="unsupported_transfer_encoding")
            if upgrade and name in (b"transfer-encoding", b"content-length") and value != b"0":
                return Problem(400, "A request with a body cannot upgrade the connection.", code="unsupported_upgrade")
        return _TOO_LARGE if size > LARGEST_HEAD else None

    def on_message_complete(self) -> None:
        self._arriving = False
        self._stop_timer()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refused)

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.seconds, self._late)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self.flow.read_paused:  # it is not the client that is slow
            self._start_timer()
        elif self.headers is None:
            self.transport.close()  # it never asked
        else:
            self._refuse(Problem(408, f"The request did not arrive within {self.seconds:g} s.", code="request_timeout"))

    def _refuse(self, problem: Problem) -> None:
        """Answer what is being read, and close. While an earlier request is answered, only close: what is written now
        would be taken for a part of that answer."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        answering = (
            cycle is not None and not cycle.response_complete and (cycle.response_started or not cycle.more_body)
        )
        if not answering and not self.pipeline:
            body = problem.body()
            head = (
                f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\ncontent-type: application/json\r\n"
            )
            self.transport.write(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        self.transport.close()


_AROUND = len(b": \r\n")
_NO_REQUEST = Problem(400, "This is not an HTTP/1.1 request.", code="invalid_http")
_TOO_LARGE = Problem(431, f"The request's head is larger than {LARGEST_HEAD} bytes.", code="head_too_large")


def connections(seconds: float) -> type[Connection]:
    """The class whose objects uvicorn makes, one for each connection."""
    return type("TimedConnection", (Connection,), {"seconds": seconds})
