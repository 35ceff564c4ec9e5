"""One id for all turns of a conversation, another one for every other, and nothing of anyone's secrets in it."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearth_gateway.session import session_id

SYSTEM = {"role": "system", "content": "You help."}
HELLO = {"role": "user", "content": "Hello!"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["role", "content", "text", "x"]), inner),
    max_leaves=12,
)


def of(*messages: Any, header: bytes | None = None, key: str = "anna", **fields: Any) -> str:
    return session_id(header, {"messages": list(messages), **fields}, list(messages), key)


def of_prompt(prompt: Any, key: str = "anna") -> str:
    return session_id(None, {"prompt": prompt}, None, key)


class TestTurns:
    def test_every_turn_has_the_id_of_the_first(self) -> None:
        turns = [SYSTEM, HELLO, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Tea."}]
        assert of(*turns[:2]) == of(*turns)

    def test_calls_and_results_change_nothing(self) -> None:
        call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]}
        assert of(HELLO) == of(HELLO, call, {"role": "tool", "tool_call_id": "1", "content": "5"})

    def test_parameters_and_tools_change_nothing(self) -> None:
        assert of(HELLO) == of(HELLO, temperature=1, stream=True, tools=[{"type": "function"}])

    def test_one_part_of_text_is_the_text(self) -> None:
        assert of(HELLO) == of({"role": "user", "content": [{"type": "text", "text": "Hello!"}]})

    def test_a_developer_is_the_system(self) -> None:
        assert of(SYSTEM, HELLO) == of({**SYSTEM, "role": "developer"}, HELLO)

    def test_a_prompt_that_grows_keeps_the_id_of_its_first_512_characters(self) -> None:
        first = "It was a dark and stormy night. " * 16
        assert of_prompt(first) == of_prompt(first + "And then?") == of_prompt([first + "Then"])
        assert of_prompt(first) != of_prompt("x" + first)


class TestConversations:
    def test_another_beginning_is_another_conversation(self) -> None:
        beginnings = [
            of(HELLO), of({**HELLO, "content": "Hi"}), of(SYSTEM, HELLO), of({**SYSTEM, "content": "You"}, HELLO),
            of({"role": "system", "content": "You help.Hello!"}), of({**SYSTEM, "role": "user"}, HELLO),
        ]  # fmt: skip
        assert len(set(beginnings)) == len(beginnings)

    def test_two_keys_that_begin_alike_are_two(self) -> None:
        assert of(HELLO, key="anna") != of(HELLO, key="ben")
        assert of(HELLO, user="u", key="anna") != of(HELLO, user="u", key="ben")

    @pytest.mark.parametrize("field", ["prompt_cache_key", "user"])
    def test_the_client_may_name_it_in_a_field(self, field: str) -> None:
        assert of(HELLO, **{field: "a"}) == of(SYSTEM, **{field: "a"})
        assert of(HELLO, **{field: "a"}) != of(HELLO, **{field: "b"})
        assert of(HELLO, **{field: ""}) == of(HELLO, **{field: None}) == of(HELLO, **{field: 7}) == of(HELLO)

    def test_the_key_of_a_cache_comes_before_the_user(self) -> None:
        assert of(HELLO, prompt_cache_key="a", user="b") == of(SYSTEM, prompt_cache_key="a", user="c")

    def test_the_same_text_in_another_field_names_another(self) -> None:
        assert of(HELLO, prompt_cache_key="a") != of(HELLO, user="a")


class TestHeader:
    @pytest.mark.parametrize("name", ["s-1", "a" * 128, "user:7.b_C"])
    def test_the_client_s_stands(self, name: str) -> None:
        assert of(HELLO, header=name.encode(), user="u") == name

    @pytest.mark.parametrize("name", [b"", b"a b", b"a" * 129, "ä".encode(), b"a\tb", b"a,b", b"{}"])
    def test_one_that_is_no_name_counts_as_none(self, name: bytes) -> None:
        assert of(HELLO, header=name) == of(HELLO)


class TestWhatGoesOut:
    def test_no_text_and_no_name_is_in_it(self) -> None:
        for id in (of(HELLO), of(HELLO, user="anna@example.org"), of_prompt("Hello!")):
            assert re.fullmatch("[0-9a-f]{32}", id)

    def test_it_is_the_same_in_every_process(self) -> None:
        """Replicas of the gateway agree without being told anything."""
        assert of(SYSTEM, HELLO) == "869dff0db376b03de08e583d9269d6bc"

    def test_a_long_message_is_read_up_to_a_bound(self) -> None:
        long = "x" * 16_384
        assert of({"role": "user", "content": long + "a"}) == of({"role": "user", "content": long + "b"})

    @given(JSON, JSON, st.binary())
    @settings(max_examples=200, deadline=None)
    def test_whatever_a_client_sends_has_an_id(self, messages: Any, prompt: Any, header: bytes) -> None:
        id = session_id(header, {"messages": messages, "prompt": prompt, "user": messages}, messages, "anna")
        assert re.fullmatch("[A-Za-z0-9._:-]{1,128}", id)
