"""What every request passes on its way in and out: its id, the key check, the count, the last resort for errors.

Plain ASGI, because a stream passes here chunk by chunk.
"""

import logging
import re
from collections.abc import Awaitable, Collection, Mapping
from os import urandom
from time import monotonic

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hearth_gateway.auth import KeyFile
from hearth_gateway.client import Bodies, ClientGone
from hearth_gateway.errors import Problem
from hearth_gateway.logs import REQUEST_ID, log_request
from hearth_gateway.metrics import Metrics

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

log = logging.getLogger(__name__)


class Door:
    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: KeyFile | None,
        public: frozenset[str],
        counted: frozenset[str],
        members: Mapping[str, str],
        origins: Collection[str],
        busy: Mapping[str, ASGIApp],
        bodies: Bodies,
        metrics: Metrics,
    ) -> None:
        """`public`: paths that need no key. `counted`: paths that the metrics name; `members`: by path, what they call
        the paths one step below it; all others are `other`. `busy`: where a POST to these paths goes, past the routing,
        which is eight calls on its way and one on each chunk's. `origins`: of the web pages that may call."""
        self._origins = None if "*" in origins else {origin.encode() for origin in origins}
        self._app, self._keys, self._public, self._metrics = app, keys, public, metrics
        self._counted, self._members, self._busy, self._bodies = counted, members, busy, bodies
        self._in_flight = 0
        self._counts: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        metrics.in_flight.set_function(lambda: self._in_flight)
        metrics.body_bytes.set_function(lambda: bodies.held)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = monotonic()
        request_id = authorization = origin = None
        length = taken = 0
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                request_id = value
            elif name == b"authorization":
                authorization = value
            elif name == b"origin":
                origin = value
            elif name == b"content-length":
                length = int(value)  # the server has checked that these are digits
            elif name == b"transfer-encoding":
                length = self._bodies.largest
        request_id = request_id or urandom(16).hex().encode()
        state = scope.setdefault("state", {})
        state["request_id"], state["key"] = request_id.decode(), ""
        REQUEST_ID.set(state["request_id"])
        status = 0

        def tagged(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            return send(message)

        path = scope["path"]
        self._in_flight += 1
        try:
            if path not in self._public:
                if self._keys:
                    state["key"] = self._keys.check(authorization)
                elif origin:
                    self._check_origin(origin)
            if length:
                taken = self._room(length)
            app = self._busy.get(path, self._app) if scope["method"] == "POST" else self._app
            await app(scope, receive, tagged)
        except ClientGone:
            status = 499
        except Problem as problem:
            await problem.response()(scope, receive, tagged)
        except Exception:
            log.exception("request %s failed", request_id.decode())
            if status:
                raise  # the head is out: all that is left is to close the connection
            await Problem(500, "The gateway failed.", code="internal_error").response()(scope, receive, tagged)
        finally:
            self._bodies.give(taken)
            self._in_flight -= 1
            seconds = monotonic() - started
            route = path if path in self._counted else self._members.get(path.rpartition("/")[0], "other")
            requests, took = self._counts.get((route, status or 500)) or self._count(route, status or 500)
            requests.inc()
            took.observe(seconds)
            log_request(
                method=scope["method"], route=route, status=status or 500, key=state["key"], seconds=round(seconds, 6)
            )

    def _count(self, route: str, status: int) -> tuple[Counter, Histogram]:
        """What counts such requests. To look it up by its labels takes longer than to count."""
        counts = self._metrics.requests.labels(route, status), self._metrics.seconds.labels(route)
        self._counts[route, status] = counts
        return counts

    def _check_origin(self, origin: bytes) -> None:
        """Without keys whoever reaches the port may ask, and that is also the browser of whoever runs the stack: a page
        whose name is made to mean 127.0.0.1 needs nobody's leave but ours. (It is from the same origin then, and CORS
        is not asked.)"""
        if self._origins is not None and origin.startswith(b"http") and origin not in self._origins:
            raise Problem(
                403, "Web pages may call only from an origin in HEARTH_CORS_ORIGINS.", code="origin_not_allowed"
            )

    def _room(self, length: int) -> int:
        try:
            return self._bodies.take(length)
        except Problem as problem:
            self._metrics.refused.labels(problem.code).inc()
            raise
