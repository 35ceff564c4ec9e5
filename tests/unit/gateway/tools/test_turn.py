"""The engine's answers, as the loop reads them."""

from typing import Any

import pytest

from hearth_gateway.tools.turn import TurnBuilder, parse
from hearth_gateway.tools.types import Call, Turn, Usage

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 8}}


def whole(message: dict[str, Any], finish: str | None = "stop") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": finish}
    return {"choices": [choice], "usage": USAGE}


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def part(index: int | None = None, call_id: str | None = None, **function: Any) -> dict[str, Any]:
    return {"index": index, "id": call_id, "function": function}


def built(*chunks: dict[str, Any]) -> tuple[Turn, str]:
    builder = TurnBuilder()
    shown = "".join(builder.add(one) for one in chunks)
    return builder.turn(), shown


class TestWhole:
    def test_text_and_usage(self) -> None:
        assert parse(whole({"content": "Hi.", "tool_calls": None})) == Turn("Hi.", (), "stop", Usage(9, 3, 8))

    def test_calls(self) -> None:
        calls = [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"function": {"name": "g"}},
        ]
        turn = parse(whole({"content": None, "tool_calls": calls}, "tool_calls"))
        assert (turn.content, turn.calls, turn.finish_reason) == (
            "",
            (Call("c", "f", "{}"), Call("", "g", "")),
            "tool_calls",
        )

    @pytest.mark.parametrize(
        "answer", [{}, {"choices": []}, {"choices": [{}]}, {"choices": 5}, whole({"tool_calls": [{}]}), {"error": {}}]
    )
    def test_anything_else_is_refused(self, answer: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="no chat completion"):
            parse(answer)


class TestChunks:
    def test_text_and_usage_of_the_last_chunk(self) -> None:
        turn, shown = built(
            chunk(role="assistant", content=""), chunk(content="Grü"), chunk(content="n."), chunk("length"),
            {"choices": [], "usage": USAGE},
        )  # fmt: skip
        assert turn == Turn("Grün.", (), "length", Usage(9, 3, 8))
        assert shown == "Grün."

    def test_calls_are_joined_by_their_index(self) -> None:
        turn, shown = built(
            chunk(content="So."),
            chunk(tool_calls=[part(0, "a", name="f", arguments="")]),
            chunk(tool_calls=[part(0, arguments='{"x"'), part(1, "b", name="g")]),
            chunk(tool_calls=[part(1, arguments="{}")]),
            chunk("tool_calls", tool_calls=[part(0, "again", name="f", arguments=": 1}")]),
        )
        assert turn.calls == (Call("a", "f", '{"x": 1}'), Call("b", "g", "{}"))
        assert (turn.finish_reason, shown) == ("tool_calls", "So.")

    def test_a_call_without_a_name_or_an_index(self) -> None:
        turn, _ = built(chunk(tool_calls=[part(None, "a", name="f"), part(1, "b", arguments="{}")]))
        assert turn.calls == (Call("a", "f", ""),)

    def test_a_stream_that_ends_early_was_cut(self) -> None:
        assert built(chunk(content="Hi"))[0].finish_reason == "length"

    @pytest.mark.parametrize("data", [{}, {"choices": 5}, {"choices": [5]}, chunk(tool_calls=[5]), {"error": {}}])
    def test_anything_else_is_refused(self, data: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="no chunk"):
            TurnBuilder().add(data)


@pytest.mark.parametrize(
    "message", [{"content": 5}, {"content": [1]}, {"tool_calls": [{"function": {"name": {}}}]},
                {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}]
)  # fmt: skip
def test_what_should_be_text_and_is_not_is_no_answer(message: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no chat completion"):
        parse(whole(message))
    with pytest.raises(ValueError, match="no chunk"):
        built(chunk(**message))
