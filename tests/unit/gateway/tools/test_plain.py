"""The text that is told by its bytes is the text that JSON has."""

import json
import random
from typing import Any

import pytest

from hearth_gateway.tools.plain import PlainText

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
PIECES = [
    "a",
    "ö",
    "漢",
    "😀",
    " ",
    "\n",
    "\n\n",
    '"',
    "\\",
    "\\u003c",
    "\t",
    "\x00",
    '"}',
    "data: {",
    '"},"finish_reason":null}]}',
]


def event(delta: dict[str, Any], finish: str | None = None, *, ascii: bool = False, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish} | more
    chunk = json.dumps(HEAD | {"choices": [choice]}, ensure_ascii=ascii, separators=(",", ":"))
    return b"data: " + chunk.encode() + b"\n\n"


def texts(*contents: str, ascii: bool = False) -> bytes:
    return b"".join(event({"content": content}, ascii=ascii) for content in contents)


@pytest.mark.parametrize("ascii", [False, True])
def test_any_text_in_any_pieces(ascii: bool) -> None:
    chance = random.Random(4)
    for _ in range(300):
        contents = ["".join(chance.choices(PIECES, k=chance.randrange(4))) for _ in range(chance.randrange(1, 9))]
        plain, said = PlainText(), ""
        while contents:
            count = chance.randrange(1, len(contents) + 1)
            now, contents = contents[:count], contents[count:]
            events = texts(*now, ascii=ascii)
            assert plain.read(events) == (len(events), "".join(now))
            said += "".join(now)


def test_the_first_event_may_have_the_role() -> None:
    events = event({"role": "assistant", "content": ""}) + texts("Good ", "day")
    assert PlainText().read(events) == (len(events), "Good day")
    plain = PlainText()
    first = event({"role": "assistant", "content": ""})
    assert plain.read(first) == (len(first), "")
    assert plain.read(texts("day")) == (len(texts("day")), "day")


@pytest.mark.parametrize(
    "end",
    [
        event({}, "stop"),
        event({"content": "."}, "stop"),
        event({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}),
        event({"content": "a <b"}),
        event({"content": "x"}, logprobs={"content": []}),
        b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"error":{"message":"no"}}\n\n',
        b"data: [DONE]\n\n",
    ],
)
def test_it_ends_before_anything_else(end: bytes) -> None:
    events = texts("Good ", "day")
    assert PlainText().read(events + end) == (len(events), "Good day")
    plain = PlainText()
    assert plain.read(events)[0]
    assert plain.read(end) == (0, "")


@pytest.mark.parametrize(
    "delta", [{"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}, {"reasoning": "hm"}]
)
def test_nothing_is_skipped(delta: dict[str, Any]) -> None:
    """What else goes on stands between the text: nothing after it is read, and what comes before it may be."""
    other = event(delta)
    assert PlainText().read(other + texts("day")) == (0, "")
    assert PlainText().read(texts("Good ") + other + texts("day")) == (len(texts("Good ")), "Good ")
    assert PlainText().read(texts("Good ", "old ") + other + texts("day")) == (0, "")
    plain = PlainText()
    assert plain.read(texts("Good "))[1] == "Good "
    assert plain.read(other + texts("day")) == (0, "")


def test_a_tag_written_as_an_escape() -> None:
    escaped = texts("a <tool_call> b").replace(b"<", b"\\u003c")
    assert PlainText().read(escaped) == (0, "")


def test_the_text_around_may_change() -> None:
    plain = PlainText()
    assert plain.read(texts("a"))[1] == "a"
    later = texts("b", "c").replace(b'"created":1', b'"created":2')
    assert plain.read(later) == (len(later), "bc")


def test_json_with_spaces_is_left_to_others() -> None:
    assert PlainText().read(b"data: " + json.dumps(json.loads(texts("a")[6:])).encode() + b"\n\n") == (0, "")
