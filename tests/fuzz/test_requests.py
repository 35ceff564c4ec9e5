"""Whatever clients ask: it is refused with a Problem, or the engine gets what it may get and nothing else."""

import json
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.given import CHAT as ASKED
from tests.fuzz.given import JSON, MESSAGE, RESPONSE, SOMETIMES_ODD, TEXT, nearly_json

from hearth_gateway.catalog import Catalog
from hearth_gateway.errors import Problem, has_error_shape
from hearth_gateway.request import CHAT, COMPLETIONS, Endpoint, checked, clean, dump, parse
from hearth_gateway.responses.request import chat_request, check, decision, items_of
from hearth_gateway.settings import Settings
from hearth_gateway.tools import carry
from hearth_gateway.tools.approval import Approvals, Pending, PendingCall
from hearth_gateway.tools.selection import select
from hearth_gateway.tools.types import BUILT_IN, Tool

CATALOG = Catalog(("hearth-tiny", "qwen3-4b-gptq"), 4096)
SETTINGS = Settings()
READ = Tool("files_read", "files", "read", "Read.", {"type": "object"}, read_only=True)
SEARCH = Tool("search", "web", "search", "Search.", {"type": "object"}, read_only=True)
MORE = Tool("hearth_read_result", BUILT_IN, "read_result", "More.", {"type": "object"})
ENDPOINTS = pytest.mark.parametrize("endpoint", [CHAT, COMPLETIONS], ids=["chat", "completions"])


def refused(problem: Problem) -> None:
    """It is an answer that clients can parse, and it is their fault."""
    assert problem.status in (400, 404)
    assert problem.message
    assert has_error_shape(problem.body())
    assert b"\n" not in problem.body()


def may_reach_the_engine(body: Mapping[str, Any], endpoint: Endpoint) -> None:
    assert body.keys() <= endpoint.forwarded
    assert None not in body.values()
    assert body["model"] in CATALOG.names
    assert 1 <= body.get("n", 1) <= SETTINGS.max_choices
    for name in ("max_tokens", "max_completion_tokens"):
        if isinstance(value := body.get(name), int | float):
            assert value <= 4096
    if endpoint is COMPLETIONS:
        assert isinstance(body["prompt"], str) or (len(body["prompt"]) == 1 and isinstance(body["prompt"][0], str))
        return
    assert body["messages"]
    for message in body["messages"]:
        content = message.get("content")
        assert isinstance(content, str | list | None)
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, str):  # no key that the engine would take media from
                assert part.keys() <= {"type", "text", "input_text", "output_text", "refusal", "thinking",
                                       "cache_control", "annotations"}  # fmt: skip


class TestChatAndCompletions:
    @ENDPOINTS
    @given(asked=ASKED)
    def test_an_object(self, endpoint: Endpoint, asked: dict[str, Any]) -> None:
        raw = orjson.dumps(asked)
        try:
            cleaned = clean(parse(raw), endpoint, CATALOG, SETTINGS)
        except Problem as problem:
            refused(problem)
            return
        body = orjson.loads(cleaned)
        may_reach_the_engine(body, endpoint)
        assert body.keys() - {"model"} <= asked.keys()
        assert clean(parse(cleaned), endpoint, CATALOG, SETTINGS) == cleaned

    @ENDPOINTS
    @given(raw=st.binary(max_size=200) | nearly_json(ASKED).map(lambda text: text.encode(errors="surrogatepass")))
    def test_bytes(self, endpoint: Endpoint, raw: bytes) -> None:
        try:
            cleaned = clean(parse(raw), endpoint, CATALOG, SETTINGS)
        except Problem as problem:
            refused(problem)
        else:
            may_reach_the_engine(json.loads(cleaned), endpoint)

    @given(st.lists(st.tuples(st.sampled_from(["n", "model", "messages", "stop", "echo", "chat_template"]), JSON)))
    def test_repeated_keys(self, pairs: list[tuple[str, Any]]) -> None:
        """Whichever of them another parser would take: the engine sees the one that was checked, once."""
        raw = "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs) + "}"
        try:
            cleaned = clean(parse(raw.encode()), CHAT, CATALOG, SETTINGS)
        except Problem as problem:
            refused(problem)
        else:
            seen = json.loads(cleaned, object_pairs_hook=lambda found: [name for name, _ in found])
            assert len(seen) == len(set(seen))


class TestTools:
    @given(ASKED)
    def test_a_selection_has_only_tools_that_were_asked_for(self, asked: dict[str, Any]) -> None:
        try:
            selection = select(asked, (READ, SEARCH, MORE), ("files", "web", "down"))
            body = checked(selection.body if selection else asked, CHAT, CATALOG, SETTINGS)
        except Problem as problem:
            refused(problem)
            return
        entries = asked.get("tools") if isinstance(asked.get("tools"), list) else []
        labels = [one.get("server_label") for one in entries if isinstance(one, dict) and one.get("type") == "mcp"]
        if selection is None:
            assert not labels
            return
        chosen = {tool.name for tool in selection.tools}
        assert {tool.server for tool in selection.tools} <= {*labels, BUILT_IN}
        assert (MORE.name in chosen) == bool(chosen)
        for one in body.get("tools", []):  # nothing of "mcp" is left for the engine, no name is taken twice
            assert one["type"] == "function"
            assert one["function"]["name"] not in chosen
        for tool in selection.tools:
            assert tool.remote_name in ("read", "search", "read_result")


class TestResponses:
    @given(RESPONSE)
    def test_a_request(self, asked: dict[str, Any]) -> None:
        try:
            given = parse(dump(asked))
            check(given)
            items = items_of(given.get("input"))
            decided = decision(items)
            chat = chat_request(given, [], items, ["text"])
            chat["messages"] = carry.restore(chat["messages"])
            selection = select(chat, (READ, SEARCH, MORE), ("files", "web", "down"))
            body = checked(selection.body if selection else chat, CHAT, CATALOG, SETTINGS)
        except Problem as problem:
            refused(problem)
            return
        may_reach_the_engine(body, CHAT)
        assert "n" not in body
        assert decided is None or isinstance(decided.token, str)
        dump(body)


class TestCarry:
    @given(SOMETIMES_ODD(st.lists(MESSAGE, max_size=4)))
    def test_what_comes_back_is_plain_messages(self, messages: Any) -> None:
        try:
            restored = carry.restore(messages)
        except Problem as problem:
            refused(problem)
            return
        assert carry.restore(restored) == restored
        if isinstance(messages, list):
            assert not [one for one in restored if isinstance(one, dict) and one.get("role") == "assistant"
                        and carry.FIELD in one]  # fmt: skip

    @given(SOMETIMES_ODD(st.lists(MESSAGE, max_size=3)), st.lists(MESSAGE, max_size=2))
    def test_what_is_kept_is_found_by_its_user_alone(self, messages: Any, kept: list[Any]) -> None:
        store = carry.CarryStore(10_000, 60)
        store.put("ada", "a", kept, 0)
        try:
            assert carry.completed(messages, lambda id: store.get("eve", id, 1)) is messages
            carry.completed(messages, lambda id: store.get("ada", id, 1))
        except Problem as problem:
            refused(problem)


class TestApprovals:
    PENDING = Pending("Text", (PendingCall("a", "run", '{"command": "ls"}', "ask", "commands", "run_command"),))
    APPROVALS = Approvals(b"k" * 32, 600)

    @given(st.data())
    def test_a_token_that_was_changed_is_none(self, data: st.DataObject) -> None:
        token = self.APPROVALS.issue(self.PENDING, "ada", 0)
        at = data.draw(st.integers(0, len(token)))
        changed = token[:at] + data.draw(TEXT) + token[at + data.draw(st.integers(0, 4)) :]
        try:
            decided = self.APPROVALS.decide({"token": changed, "approve": True}, "ada", 1)
        except Problem as problem:
            refused(problem)
        else:
            assert decided.pending == self.PENDING  # the signature is of all that counts

    @given(JSON)
    def test_anything_else_is_none(self, answer: Any) -> None:
        for given_ in (answer, {"token": answer, "approve": True}):
            with pytest.raises(Problem) as caught:
                self.APPROVALS.decide(given_, "ada", 1)
            refused(caught.value)

    @given(JSON, st.sampled_from(["ada", "eve"]), st.integers(0, 1200))
    def test_a_good_one_grants_what_asked_to_its_user_in_its_time(self, approve: Any, user: str, now: int) -> None:
        token = self.APPROVALS.issue(self.PENDING, "ada", 0)
        try:
            decided = self.APPROVALS.decide({"token": token, "approve": approve}, user, now)
        except Problem as problem:
            refused(problem)
        else:
            assert (user, now < 600) == ("ada", True)
            assert decided.granted <= {"a"}
            assert not decided.granted or approve is True


@given(st.binary(max_size=100) | nearly_json().map(lambda text: text.encode(errors="replace")))
def test_whatever_the_engine_lists_is_a_catalog(raw: bytes) -> None:
    catalog = Catalog.parse(raw)
    assert all(isinstance(name, str) for name in catalog.names)
    json.dumps(catalog.cards())
