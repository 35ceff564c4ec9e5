"""What is logged, and that each line says which request it belongs to."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from hearth_gateway import logs
from hearth_gateway.settings import Settings


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, requests_level = root.handlers[:], root.level, logs.requests.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logs.requests.setLevel(requests_level)
    logs.REQUEST_ID.set("")


def configured(capsys: pytest.CaptureFixture[str], **settings: Any) -> io.StringIO:
    logging.getLogger().handlers.clear()  # pytest's, in this process
    logs.configure(Settings(**settings))
    stream = io.StringIO()
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    return stream


def test_a_line_is_one_object_with_the_requests_id(capsys: pytest.CaptureFixture[str]) -> None:
    stream = configured(capsys)
    logging.getLogger("x").warning("before %s\n", "any request")
    logs.REQUEST_ID.set("r-1")
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        logging.getLogger("x").exception("of a request", extra={"fields": {"tool": "search"}})
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("warning", "x", "before any request\n")
    assert "request_id" not in first
    assert (second["request_id"], second["tool"]) == ("r-1", "search")
    assert "a bug" in second["error"]


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    stream = configured(capsys, log_format="text")
    logging.getLogger("x").warning("hm", extra={"fields": {"tool": "search"}})
    assert stream.getvalue().endswith(" WARNING x: hm tool=search\n")


@pytest.mark.parametrize(("asked", "lines"), [("none", 0), ("summary", 1), ("bodies", 1)])
def test_requests_are_logged_where_the_settings_ask(capsys: pytest.CaptureFixture[str], asked: str, lines: int) -> None:
    stream = configured(capsys, log_requests=asked)
    logs.log_request(route="/v1/models", status=200)
    assert len(stream.getvalue().splitlines()) == lines
    assert all(json.loads(line)["status"] == 200 for line in stream.getvalue().splitlines())
