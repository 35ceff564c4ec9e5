"""Items and parameters as chat has them."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearth_gateway.errors import Problem
from hearth_gateway.request import dump
from hearth_gateway.responses.request import chat_request, check, decision, items_of

USER = {"role": "user", "content": "hi"}


def messages(*items: Any, **fields: Any) -> list[dict[str, Any]]:
    asked = {"input": list(items)} | fields
    check(asked)
    found: list[dict[str, Any]] = chat_request(asked, [], items_of(asked["input"]), ["text"])["messages"]
    return found


def call(id: str, kind: str = "function_call", **fields: Any) -> dict[str, Any]:
    names = {"call_id": id} if kind == "function_call" else {"id": id, "server_label": "t"}
    return {"type": kind, "name": "f", "arguments": "{}"} | names | fields


def made(*ids: str) -> list[dict[str, Any]]:
    return [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id in ids]


def told(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def output(id: str, text: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": id, "output": text}


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("text", "text"),
        ([{"type": "input_text", "text": "text"}], "text"),
        ([{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
         [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
        (None, ""),
    ],
)  # fmt: skip
def test_text_is_text(content: Any, wanted: Any) -> None:
    assert messages({"role": "user", "content": content}) == [{"role": "user", "content": wanted}]


def test_who_speaks() -> None:
    items = [{"role": role, "content": role} for role in ("developer", "system", "user", "assistant", "user")]
    roles = [one["role"] for one in messages(*items, instructions="Be brief.")]
    assert roles == ["system", "system", "system", "user", "assistant", "user"]


def test_calls_beside_each_other_are_one_turn() -> None:
    assert messages(USER, told("Wait."), call("1"), call("2"), output("2", "b"), output("1", "a")) == [
        USER,
        {"role": "assistant", "content": "Wait.", "tool_calls": made("1", "2")},
        {"role": "tool", "tool_call_id": "2", "content": "b"},
        {"role": "tool", "tool_call_id": "1", "content": "a"},
    ]


def test_calls_of_our_tools_have_their_results_before_what_is_said_next() -> None:
    failed = {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": "Error: no"}]}
    items = [
        {"type": "reasoning", "summary": []},
        told("Wait."),
        call("1", "mcp_call", output="one"),
        call("2", "mcp_call", error=failed),
        told("Done."),
    ]
    assert messages(USER, *items, USER) == [
        USER,
        {"role": "assistant", "content": "Wait.", "tool_calls": made("1", "2")},
        {"role": "tool", "tool_call_id": "1", "content": "one"},
        {"role": "tool", "tool_call_id": "2", "content": "Error: no"},
        {"role": "assistant", "content": "Done."},
        USER,
    ]


def test_what_is_carried_stands_for_its_whole_response() -> None:
    carried = {"carry": [{"role": "assistant", "content": "x"}]}
    items = [told("Wait."), call("1", "mcp_call", output="one"), told("Done.") | {"hearth": carried}]
    turn = {"role": "assistant", "content": "", "hearth": carried}
    assert messages(USER, *items, USER) == [USER, turn, USER]
    assert messages(*items, *items) == [turn, turn]
    assert messages(*items, told("And?"), USER) == [turn, {"role": "assistant", "content": "And?"}, USER]


def test_a_decision_is_the_end_of_the_input() -> None:
    asks = [{"type": "mcp_approval_request", "id": f"token:{n}", "name": "f", "arguments": "{}"} for n in "12"]
    yes, no = (
        {"type": "mcp_approval_response", "approval_request_id": one["id"], "approve": one is asks[0]} for one in asks
    )
    items = [USER, told("May I?"), *asks, no | {"reason": "no"}, yes]
    found = decision(items)
    assert found is not None
    assert (found.token, found.granted, found.reason) == ("token", ("1",), "no")
    assert messages(*items) == [USER]
    assert decision([*items, told("Done.")]) is None
    assert messages(*items, told("Done."), USER)[1:] == [{"role": "assistant", "content": "Done."}, USER]
    for wrong in ([*items, USER], [USER, yes, USER], [USER, told("x"), USER, yes]):
        with pytest.raises(Problem, match=r"mcp_approval_response|stand right after"):
            messages(*wrong)
    with pytest.raises(Problem, match="different responses"):
        decision([yes, yes | {"approval_request_id": "other:1"}])


@pytest.mark.parametrize("extra", [[], [told("x")]])
def test_an_output_needs_its_call(extra: list[Any]) -> None:
    with pytest.raises(Problem, match=r"call_id: there is no function_call 'x'"):
        messages(USER, *extra, output("x", "y"))


def test_images_are_refused_or_passed_on_as_chat_has_them() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"}
    item = {"role": "user", "content": [image]}
    with pytest.raises(Problem, match=r"input\[0\].content: this model reads text only"):
        messages(item)
    (message,) = chat_request({}, [], [item], ["text", "image"])["messages"]
    assert message["content"] == [{"type": "image_url", "image_url": {"url": image["image_url"]}}]


def test_what_only_chat_has_is_not_taken_from_here() -> None:
    body = chat_request({"n": 3, "messages": [], "max_tokens": 5, "top_p": 0.5}, [], [USER], ["text"])
    assert body == {"top_p": 0.5, "messages": [USER]}


_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(
        ["message", "user", "assistant", "function_call", "function_call_output", "mcp_call", "mcp_approval_request",
         "mcp_approval_response", "reasoning", "input_text", "output_text", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "role", "content", "text", "call_id", "id", "name", "arguments", "output", "error",
                         "approve", "approval_request_id", "hearth", "carry", "reason"]), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(
    st.sampled_from(["input", "instructions", "tools", "tool_choice", "text", "metadata", "include",
                     "max_output_tokens", "prompt", "truncation", "stream", "previous_response_id"]),
    _VALUE))  # fmt: skip
def test_whatever_comes_is_a_chat_request_or_a_problem(asked: dict[str, Any]) -> None:
    with contextlib.suppress(Problem):
        check(asked)
        items = items_of(asked.get("input"))
        decision(items)
        body = chat_request(asked, [], items, ["text"])
        assert body["messages"]
        dump(body)


@settings(max_examples=300, deadline=None)
@given(st.lists(_VALUE, min_size=1, max_size=6))
def test_whatever_items_come_are_messages_or_a_problem(items: list[Any]) -> None:
    with contextlib.suppress(Problem):
        decision(items_of(items))
        assert all("role" in one for one in chat_request({}, [], items_of(items), ["text"])["messages"])
