"""Errors in the shape that OpenAI clients parse: {"error": {"message", "type", "param", "code"}}."""

from collections.abc import Mapping

import orjson
from starlette.responses import Response

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}


class Problem(Exception):  # noqa: N818 - an answer, not a failure of ours
    """An answer that is an error. `code` is for programs, `message` for people, `param` names what was wrong."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.headers = status, message, code, param, headers

    def body(self, **more: str) -> bytes:
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code} | more
        return orjson.dumps({"error": error})

    def response(self) -> Response:
        return Response(self.body(), self.status, self.headers, "application/json")

    def event(self, request_id: str) -> bytes:
        """The same as a server-sent event, with the request's id, which people quote from what they are shown. The
        leading newlines end whatever event was cut before it."""
        return b"\n\ndata: " + self.body(request_id=request_id) + b"\n\n"


def bad_request(message: str, param: str | None = None, code: str = "invalid_value") -> Problem:
    return Problem(400, message, code=code, param=param)


def has_error_shape(body: bytes) -> bool:
    """Whether `body` is JSON that an OpenAI client can read an error from."""
    try:
        error = orjson.loads(body).get("error")
    except (orjson.JSONDecodeError, AttributeError):
        return False
    return isinstance(error, dict) and isinstance(error.get("message"), str)
