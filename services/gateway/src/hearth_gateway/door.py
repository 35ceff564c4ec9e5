"""What every request passes on its way in and out: its id, the key check, the count, the last resort for errors.

Plain ASGI, because a stream passes here chunk by chunk.
"""

import logging
import re
import secrets
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hearth_gateway.auth import KeyFile
from hearth_gateway.errors import Problem
from hearth_gateway.metrics import Metrics
from hearth_gateway.relay import ClientGone

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

log = logging.getLogger(__name__)


class Door:
    def __init__(
        self, app: ASGIApp, *, keys: KeyFile | None, public: frozenset[str], counted: frozenset[str], metrics: Metrics
    ) -> None:
        """`public`: paths that need no key. `counted`: paths that the metrics name; the others are `other`."""
        self._app, self._keys, self._public, self._counted, self._metrics = app, keys, public, counted, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = authorization = None
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                request_id = value
            elif name == b"authorization":
                authorization = value
        request_id = request_id or secrets.token_hex(16).encode()
        scope.setdefault("state", {})["request_id"] = request_id.decode()
        status = 0

        def tagged(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            return send(message)

        path = scope["path"]
        self._metrics.in_flight.inc()
        try:
            if self._keys and path not in self._public:
                self._keys.check(authorization)
            await self._app(scope, receive, tagged)
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
            self._metrics.in_flight.dec()
            self._metrics.requests.labels(path if path in self._counted else "other", status or 500).inc()
