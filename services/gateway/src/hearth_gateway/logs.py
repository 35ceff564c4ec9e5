"""What the gateway logs, and how: one JSON object a line, each with the id of the request it belongs to."""

import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

from hearth_gateway.settings import Settings

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that the current task serves; what it logs is labelled with it."""

requests = logging.getLogger("hearth_gateway.requests")
"""Takes a line for each request where the settings ask for one."""
requests.setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        fields = getattr(record, "fields", {})
        return super().formatMessage(record) + "".join(f" {name}={value}" for name, value in fields.items())


def configure(settings: Settings) -> None:
    """Everything that this process logs goes to standard error, in the shape that the settings ask for."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    requests.setLevel(logging.WARNING if settings.log_requests == "none" else logging.INFO)


def log_request(**fields: Any) -> None:
    """A line for a request, at its end. Only names, numbers and ids: nothing of what was said."""
    if requests.isEnabledFor(logging.INFO):
        requests.info("request", extra={"fields": fields})


def log_body(body: bytes) -> None:
    """What the engine is asked, word by word. Call it only where the settings ask for bodies."""
    requests.info("asked the engine", extra={"fields": {"body": body.decode(errors="replace")}})
