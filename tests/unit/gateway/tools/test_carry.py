"""Turns that the client saw as one message, put back."""

from typing import Any

import orjson
import pytest

from hearth_gateway.errors import Problem
from hearth_gateway.tools.carry import CarryStore, completed, conversation_id, restore

USER = {"role": "user", "content": "Do it."}


def call(call_id: str, name: str = "f") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}


def assistant(*calls: dict[str, Any], content: str = "", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **({"tool_calls": list(calls)} if calls else {}), **more}


def result(call_id: str, text: str = "done") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def nothing(_: str) -> None:
    return None


CARRIED = [assistant(call("a")), result("a"), assistant(call("mine"), call("ours"), content="Next."), result("ours")]


class TestRestored:
    def test_from_the_message_s_own_field(self) -> None:
        seen = assistant(call("mine"), content="Next.", hearth={"carry": CARRIED})
        assert restore([USER, seen, result("mine", "clicked")]) == [
            USER, *CARRIED[:3], result("mine", "clicked"), result("ours"),
        ]  # fmt: skip

    def test_from_the_store_by_a_call_s_id(self) -> None:
        seen = [USER, assistant(call("mine"), content="Next."), result("mine")]
        assert restore(completed(seen, {"mine": CARRIED}.get)) == [USER, *CARRIED[:3], result("mine"), result("ours")]

    def test_results_follow_their_calls_order_whoever_made_them(self) -> None:
        carried = [assistant(call("ours"), call("one"), call("two")), result("ours")]
        seen = [assistant(call("one"), call("two")), result("two"), result("odd"), result("one"), USER]
        restored = restore(completed(seen, {"one": carried}.get))
        assert [one.get("tool_call_id") for one in restored] == [None, "ours", "one", "two", "odd", None]

    def test_an_answer_is_replaced_by_all_of_it(self) -> None:
        carried = [assistant(call("a")), result("a"), assistant(content="It is 5.")]
        seen = assistant(content="I look.\n\nIt is 5.", hearth={"carry": carried})
        assert restore([USER, seen, USER]) == [USER, *carried, USER]

    def test_several_turns(self) -> None:
        seen = [USER, assistant(call("x")), result("x"), assistant(call("y")), result("y"), USER]
        kept = {
            "x": [assistant(call("o"), call("x")), result("o")],
            "y": [assistant(call("y"), call("p")), result("p")],
        }
        ids = [one.get("tool_call_id") for one in restore(completed(seen, kept.get))]
        assert ids == [None, None, "o", "x", None, "y", "p", None]

    def test_what_was_not_carried_stays_as_it_is(self) -> None:
        messages: list[Any] = [USER, assistant(call("x")), result("x"), assistant(content="ok"), 5, {"role": 5}]
        assert orjson.dumps(restore(messages)) == orjson.dumps(messages)

    def test_a_field_without_a_carried_turn_is_taken_off(self) -> None:
        assert restore([assistant(hearth={"finish": "rounds"})]) == [assistant()]

    @pytest.mark.parametrize("messages", [None, 5, "x", {}])
    def test_what_is_no_list_is_left_to_the_check_of_messages(self, messages: Any) -> None:
        assert restore(messages) is messages
        assert completed(messages, nothing) is messages

    @pytest.mark.parametrize("calls", [None, 5, {}, [5], [{}], [{"id": 5}]])
    def test_calls_of_another_shape_are_left_to_the_engine(self, calls: Any) -> None:
        message = {"role": "assistant", "content": "", "tool_calls": calls}
        assert restore(completed([message, result("x")], {"x": CARRIED}.get)) == [message, result("x")]


class TestRefused:
    @pytest.mark.parametrize(
        "carried",
        [
            5, "x", {}, [], [5], [{}], [result("a")], [{"role": "system", "content": "obey"}], [USER],
            [assistant(content=5)], [assistant(call(5))], [assistant(call("a", 5))], [assistant(name="x")],  # type: ignore[arg-type]
            [assistant(tool_calls={})], [assistant(tool_calls=[5])], [assistant(), {"role": "tool", "content": "x"}],
            [assistant(), {**result("a"), "content": [{"type": "image_url"}]}],
        ],
    )  # fmt: skip
    def test_what_this_gateway_never_wrote(self, carried: Any) -> None:
        with pytest.raises(Problem) as caught:
            restore([USER, assistant(hearth={"carry": carried})])
        assert (caught.value.status, caught.value.param[:18]) == (400, "messages[1].hearth")  # type: ignore[index]

    @pytest.mark.parametrize("extra", [5, "x", []])
    def test_a_field_that_is_no_object(self, extra: Any) -> None:
        with pytest.raises(Problem, match="send it back unchanged, or leave it out"):
            restore([assistant(hearth=extra)])


class TestStore:
    def test_a_turn_is_one_user_s(self) -> None:
        store = CarryStore(1000, 60)
        store.put("ada", "c", CARRIED, now=0)
        assert store.get("ada", "c", now=59) == CARRIED
        assert store.get("bob", "c", now=59) is None

    def test_it_expires(self) -> None:
        store = CarryStore(1000, 60)
        store.put("ada", "c", [USER], now=0)
        assert store.get("ada", "c", now=60) is None
        store.put("ada", "d", [USER], now=61)
        assert len(store) == 1

    def test_it_holds_so_many_bytes_and_lets_the_oldest_go(self) -> None:
        size = len(orjson.dumps([USER]))
        store = CarryStore(3 * size, 60)
        for name in "abcd":
            store.put("ada", name, [USER], now=0)
        assert [name for name in "abcd" if store.get("ada", name, now=0)] == ["b", "c", "d"]
        store.put("ada", "b", [USER], now=1)  # again: it is the newest now, and counts once
        store.put("ada", "e", [USER], now=1)
        assert [name for name in "bcde" if store.get("ada", name, now=1)] == ["b", "d", "e"]

    def test_what_alone_is_too_large_is_not_kept(self) -> None:
        store = CarryStore(10, 60)
        store.put("ada", "c", CARRIED, now=0)
        assert (len(store), store.get("ada", "c", now=0)) == (0, None)


def test_a_conversation_s_id_is_that_of_its_values() -> None:
    assert conversation_id([{"a": 1, "b": 2}]) == conversation_id([{"b": 2, "a": 1}])
    assert conversation_id([{"a": 1}]) != conversation_id([{"a": 2}])
