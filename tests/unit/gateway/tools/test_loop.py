"""The tool loop, played through without an engine or a tool server."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth_gateway.tools.approval import Approvals
from hearth_gateway.tools.carry import completed, restore
from hearth_gateway.tools.hermes import CallFilter
from hearth_gateway.tools.loop import Action, CallModel, CallTools, Finish, Limits, Loop
from hearth_gateway.tools.selection import select
from hearth_gateway.tools.types import Call, Result, Tool, Turn, Usage

PATH = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
QUERY = {
    "type": "object",
    "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
    "required": ["query"],
}
READ = Tool("files_read", "files", "read", "Read a file.", PATH, read_only=True)
SEARCH = Tool("search", "web", "search", "Search.", QUERY, read_only=True)
RUN = Tool("run", "commands", "run_command", "Run.", {"properties": {"command": {"type": "string"}}}, approval=True)
TOOLS = (READ, RUN, SEARCH)
CLICK = {"type": "function", "function": {"name": "click", "parameters": {"type": "object"}}}
USER = {"role": "user", "content": "Do it."}
APPROVALS = Approvals(b"k" * 32, seconds=600)
USED = Usage(10, 2, 5)


def call(name: str, arguments: Any = None, call_id: str = "") -> Call:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return Call(call_id or f"id-{name}", name, text)


def says(content: str = "", *calls: Call, finish: str = "stop") -> Turn:
    return Turn(content, calls, finish, USED)


def read(path: str = "a.txt", call_id: str = "") -> Call:
    return call("files_read", {"path": path}, call_id)


def search(query: str = "x", call_id: str = "") -> Call:
    return call("search", {"query": query}, call_id)


class Play:
    """A driver: it answers from a script, runs tools by saying their name and arguments, and keeps what it saw."""

    def __init__(self, *turns: Turn, limits: Limits | None = None, **body: Any) -> None:
        decision = body.pop("decision", None)
        request = {"model": "m", "messages": [USER]} | body
        self.loop = Loop(request, TOOLS, limits or Limits(), self.approve, resume=decision)
        self._turns: Iterator[Turn] = iter(turns)
        self.asked: list[CallModel] = []
        self.ran: list[list[tuple[str, dict[str, Any]]]] = []
        self.streamed = ""

    def approve(self, pending: Any) -> str:
        return APPROVALS.issue(pending, "ada", now=0)

    def run(self) -> Finish:
        while not isinstance(action := self.loop.action(), Finish):
            self.step(action)
        self.streamed += action.notice
        assert list(self._turns) == []
        assert self.streamed == action.content
        return action

    def step(self, action: Action) -> None:
        if isinstance(action, CallModel):
            self.asked.append(action)
            turn = next(self._turns)
            if not action.retry:
                text = CallFilter()
                shown = text.feed(turn.content) + text.end() if action.recover else turn.content
                self.streamed += action.lead + shown if shown else ""
            self.loop.model_said(turn)
        elif isinstance(action, CallTools):
            self.ran.append([(one.tool.remote_name, one.arguments) for one in action.calls])
            results = [Result(one.call.id, f"{one.tool.name}: {one.arguments}") for one in action.calls]
            self.loop.tools_returned(results[::-1])  # in whatever order

    def messages(self, index: int = -1) -> list[dict[str, Any]]:
        """What the engine was sent after the client's own message."""
        sent: list[dict[str, Any]] = self.asked[index].body["messages"]
        assert sent[0] == USER
        return sent[1:]

    def results(self, index: int = -1) -> list[str]:
        return [message["content"] for message in self.messages(index) if message["role"] == "tool"]


class TestAnswers:
    def test_an_answer_without_a_call_is_the_engine_s_own(self) -> None:
        finish = Play(says("Hello.", finish="length")).run()
        assert finish.message() == {"role": "assistant", "content": "Hello."}
        assert (finish.why, finish.finish_reason, finish.usage) == ("answer", "length", USED)

    def test_a_call_is_run_and_the_model_reads_its_result(self) -> None:
        play = Play(says("I look.", read()), says("It says a."))
        finish = play.run()
        assert play.ran == [[("read", {"path": "a.txt"})]]
        assert play.messages() == [
            {"role": "assistant", "content": "I look.", "tool_calls": [read().message()]},
            {"role": "tool", "tool_call_id": "id-files_read", "content": "files_read: {'path': 'a.txt'}"},
        ]
        assert (finish.content, finish.finish_reason) == ("I look.\n\nIt says a.", "stop")

    def test_three_rounds_add_up_their_usage(self) -> None:
        finish = Play(says("", read("a")), says("", read("b")), says("", search()), says("Done.")).run()
        assert finish.usage == Usage(40, 8, 20)

    def test_a_call_counts_whatever_the_finish_reason_says(self) -> None:
        for reason in ("stop", "tool_calls", "length", ""):
            assert Play(says("", read(), finish=reason), says("Done.")).run().content == "Done."

    def test_a_finish_reason_of_calls_without_calls_is_a_stop(self) -> None:
        assert Play(says("Hm.", finish="tool_calls")).run().finish_reason == "stop"

    def test_parallel_calls_run_at_once_and_their_results_stay_in_order(self) -> None:
        play = Play(says("", read("a", "1"), search("b", "2"), read("c", "3")), says("Done."))
        play.run()
        assert len(play.ran[0]) == 3
        assert [one.get("tool_call_id") for one in play.messages()] == [None, "1", "2", "3"]

    def test_only_the_first_call_counts_where_the_client_wants_one(self) -> None:
        play = Play(says("", read(), search()), says("Done."), parallel_tool_calls=False)
        play.run()
        assert play.ran == [[("read", {"path": "a.txt"})]]

    @pytest.mark.parametrize(
        ("ids", "unique"), [("aaa", ["a", "a-2", "a-3"]), (["", "", "x"], ["call", "call-2", "x"])]
    )
    def test_repeated_call_ids_are_told_apart(self, ids: Any, unique: list[str]) -> None:
        play = Play(says("", *(Call(one, "search", '{"query": "x"}') for one in ids)), says("Done."))
        play.run()
        assert [one["tool_call_id"] for one in play.messages()[1:]] == unique

    def test_ids_repeated_over_rounds_are_told_apart(self) -> None:
        play = Play(says("", read("a", "c")), says("", read("b", "c")), says("Done."))
        play.run()
        assert [one["tool_call_id"] for one in play.messages() if one["role"] == "tool"] == ["c", "c-2"]

    def test_the_hidden_rounds_come_back_with_the_next_request(self) -> None:
        first = Play(says("I look.", read()), says("It says a."))
        message = first.run().message()
        assert restore([USER, message]) == [
            USER, *first.messages(), {"role": "assistant", "content": "It says a."},
        ]  # fmt: skip


class TestBodies:
    def test_streaming_is_the_driver_s_business_and_the_rest_is_the_client_s(self) -> None:
        play = Play(says("Hi."), stream=True, stream_options={"include_usage": True}, temperature=0.5)
        play.run()
        assert play.asked[0].body == {
            "model": "m",
            "temperature": 0.5,
            "messages": [USER],
            "tools": [tool.function() for tool in TOOLS],
            "tool_choice": "auto",
        }

    def test_a_forced_call_is_forced_once(self) -> None:
        for choice in ("required", {"type": "function", "function": {"name": "search"}}):
            play = Play(says("", search()), says("Done."), tool_choice=choice)
            play.run()
            assert [asked.body["tool_choice"] for asked in play.asked] == [choice, "auto"]

    def test_no_choice_stays_none_and_text_stays_text(self) -> None:
        text = '<tool_call>{"name": "search", "arguments": {"query": "x"}}</tool_call>'
        play = Play(says(text), tool_choice="none")
        assert play.run().content == text

    def test_the_order_of_servers_does_not_reach_the_engine(self) -> None:
        entries = [{"type": "mcp", "server_label": label} for label in ("web", "files")]
        seen = set()
        for order in itertools.permutations(TOOLS):
            selection = select(
                {"model": "m", "messages": [USER], "tools": entries}, order, ["files", "web", "commands"]
            )
            assert selection
            loop = Loop(selection.body, selection.tools, Limits(), lambda _: "")
            for turn in (says("", read(), search()), None):
                action = loop.action()
                assert isinstance(action, CallModel)
                seen.add((turn is None, orjson.dumps(action.body)))
                if turn:
                    loop.model_said(turn)
                    tools = loop.action()
                    assert isinstance(tools, CallTools)
                    loop.tools_returned([Result(one.call.id, "r") for one in tools.calls])
        assert len(seen) == 2

    def test_each_round_s_messages_begin_with_the_last_round_s(self) -> None:
        play = Play(says("", read("a")), says("So.", read("b"), search()), says("Done."))
        play.run()
        for before, after in itertools.pairwise(asked.body["messages"] for asked in play.asked):
            assert orjson.dumps(after).startswith(orjson.dumps(before)[:-1])


class TestMalformed:
    @pytest.mark.parametrize("arguments", ['{"query": "x"', '{"query": "x"}}', '"{\\"query\\": \\"x\\"}"'])
    def test_what_is_unambiguous_runs_at_once_and_is_shown_mended(self, arguments: str) -> None:
        play = Play(says("", call("search", arguments)), says("Done."))
        play.run()
        assert play.ran == [[("search", {"query": "x"})]]
        assert play.messages()[0]["tool_calls"][0]["function"]["arguments"] == '{"query": "x"}'

    @pytest.mark.parametrize(
        ("arguments", "shown", "problem"),
        [
            ('{"query": "x', "{}", "not valid JSON"),
            ('{"query": 5}', '{"query": 5}', "query: 5 is not of type 'string'"),
            ("{}", "{}", "'query' is a required property"),
            ("", "{}", "there are no arguments"),
            ('["x"]', "{}", "not a list"),
        ],
    )
    def test_anything_else_is_written_again_under_the_tool_s_schema(
        self, arguments: str, shown: str, problem: str
    ) -> None:
        play = Play(
            says("I search.", call("search", arguments)),
            says("", search("again"), finish="stop"),  # a named call ends so
            says("Done."),
            response_format={"type": "json_object"},
        )
        finish = play.run()
        retry = play.asked[1]
        assert retry.retry
        assert retry.body["tool_choice"] == {"type": "function", "function": {"name": "search"}}
        strict = {one["function"]["name"]: one["function"].get("strict") for one in retry.body["tools"]}
        assert strict == {"files_read": None, "run": None, "search": True}
        assert "response_format" not in retry.body
        wrong, why = play.messages(1)
        assert wrong["tool_calls"][0]["function"]["arguments"] == shown
        assert problem in why["content"]
        # It runs once, with what was written again; the conversation goes on as if it had been right at once.
        assert play.ran == [[("search", {"query": "again"})]]
        assert [one["role"] for one in play.messages()] == ["assistant", "tool"]
        assert play.messages()[0] == {
            "role": "assistant", "content": "I search.", "tool_calls": [search("again").message()],
        }  # fmt: skip
        assert "strict" not in play.asked[2].body["tools"][2]["function"]
        assert finish.content == "I search.\n\nDone."
        assert finish.usage == Usage(30, 6, 15)

    @pytest.mark.parametrize(
        "again",
        [
            says("", call("search", '{"query": 6}')),
            says("", call("search", '{"query": "x"'), finish="length"),
            says("I cannot."),
            says("", read()),
            Turn(""),  # the engine refused it
        ],
    )
    def test_failing_twice_is_an_error_that_the_model_reads(self, again: Turn) -> None:
        play = Play(says("", call("search", '{"query": 5}')), again, says("Done."))
        assert play.run().content == "Done."
        assert play.ran == []
        (error,) = play.results()
        assert error.startswith("Error: search was not run: ")
        assert play.messages()[0]["tool_calls"][0]["function"]["arguments"] == '{"query": 5}'  # as it was first
        assert "is not" in error or "not valid JSON" in error

    def test_a_good_call_beside_a_bad_one_waits_and_runs_once(self) -> None:
        play = Play(says("", read(), call("search", "{")), says("", search()), says("Done."))
        play.run()
        assert play.ran == [[("read", {"path": "a.txt"}), ("search", {"query": "x"})]]

    def test_several_bad_calls_are_each_written_again(self) -> None:
        play = Play(
            says("", call("search", "{", "1"), call("files_read", "x", "2")),
            says("", search("one")), says("", read("two")), says("Done."),
        )  # fmt: skip
        play.run()
        assert play.ran == [[("search", {"query": "one"}), ("read", {"path": "two"})]]

    def test_a_retry_left_as_text_is_read_too(self) -> None:
        text = '<tool_call>{"name": "search", "arguments": {"query": "again"}}</tool_call>'
        play = Play(says("", call("search", "x")), says(text), says("Done."))
        play.run()
        assert play.ran == [[("search", {"query": "again"})]]

    def test_a_call_cut_by_the_token_bound_is_not_mended(self) -> None:
        cut = call("search", '{"query": "x"')
        play = Play(says("", read(), cut, finish="length"), says("", search("whole")), says("Done."))
        play.run()
        assert play.ran == [[("read", {"path": "a.txt"}), ("search", {"query": "whole"})]]

    def test_only_the_last_call_was_cut(self) -> None:
        play = Play(says("", call("search", '{"query": "x"'), read(), finish="length"), says("Done."))
        play.run()
        assert play.ran == [[("search", {"query": "x"}), ("read", {"path": "a.txt"})]]

    def test_unknown_tools_are_answered_with_the_known_ones(self) -> None:
        play = Play(says("", call("serach", {"query": "x"})), says("Sorry."), tools=[CLICK])
        play.run()
        assert play.ran == []
        assert play.results() == ["Error: there is no tool 'serach'. There are: click, files_read, run, search."]


class TestTextCalls:
    def test_calls_left_in_the_text_run_and_the_text_around_them_is_shown(self) -> None:
        content = (
            'I look.\n<tool_call>\n{"name": "files_read", "arguments": {"path": "a"}}\n</tool_call>\n'
            '<tool_call>\n{"name": "search", "arguments": {"query": "b"}'
        )
        play = Play(says(content), says("Done."))
        assert play.run().content == "I look.\n\n\nDone."
        assert play.ran == [[("read", {"path": "a"}), ("search", {"query": "b"})]]
        assert play.messages()[0]["content"] == "I look.\n"

    def test_a_call_that_is_in_both_places_runs_once(self) -> None:
        content = '<tool_call>{"name": "search", "arguments": {"query":"x"}}</tool_call>'
        other = '<tool_call>{"name": "search", "arguments": {"query":"y"}}</tool_call>'
        play = Play(says(content + other, search("x")), says("Done."))
        play.run()
        assert play.ran == [[("search", {"query": "x"}), ("search", {"query": "y"})]]

    def test_a_text_cut_by_the_token_bound_is_written_again(self) -> None:
        content = '<tool_call>{"name": "search", "arguments": {"query": "x"'
        play = Play(says(content, finish="length"), says("", search("whole")), says("Done."))
        play.run()
        assert play.ran == [[("search", {"query": "whole"})]]

    def test_a_client_s_call_left_in_the_text_is_the_client_s(self) -> None:
        finish = Play(says('<tool_call>{"name": "click", "arguments": {"x": 1}}</tool_call>'), tools=[CLICK]).run()
        assert [(one.name, one.arguments) for one in finish.calls] == [("click", '{"x": 1}')]


class TestMixed:
    def click(self, arguments: str = '{"x": 1}') -> Call:
        return Call("call_1", "click", arguments)

    def test_a_client_s_call_alone_is_returned_as_it_is(self) -> None:
        finish = Play(says("I click.", self.click('{"x": ')), tools=[CLICK]).run()
        assert finish.message() == {
            "role": "assistant", "content": "I click.", "tool_calls": [self.click('{"x": ').message()],
        }  # fmt: skip
        assert (finish.why, finish.finish_reason) == ("client_tools", "tool_calls")

    def test_a_client_s_call_cut_by_the_token_bound_says_so(self) -> None:
        assert Play(says("", self.click("{"), finish="length"), tools=[CLICK]).run().finish_reason == "length"

    @pytest.mark.parametrize("echoes", [True, False], ids=["the message as it came", "a message written anew"])
    def test_ours_run_and_the_next_request_continues_with_both_results(self, echoes: bool) -> None:
        play = Play(says("", read("0")), says("Both.", search(), self.click(), read()), tools=[CLICK])
        finish = play.run()
        assert [len(ran) for ran in play.ran] == [1, 2]
        (mine,) = finish.calls
        assert (mine.name, mine.arguments) == ("click", '{"x": 1}')
        assert "click" not in json.dumps([one for one in finish.carry if one["role"] == "tool"])

        message = finish.message()
        kept = {mine.id: list(finish.carry)}
        if not echoes:
            message = {"role": "assistant", "content": message["content"], "tool_calls": message["tool_calls"]}
            restored = restore(completed([USER, message, Result(mine.id, "clicked").message()], kept.get))
        else:
            restored = restore([USER, message, Result(mine.id, "clicked").message()])
        following = Play(says("Done."), messages=restored, tools=[CLICK])
        following.run()
        hidden, first, turn, *results = following.messages()
        assert [hidden["tool_calls"][0]["function"]["name"], first["role"]] == ["files_read", "tool"]
        assert turn["content"] == "Both."
        assert [one["function"]["name"] for one in turn["tool_calls"]] == ["search", "click", "files_read"]
        assert [one["content"] for one in results] == [
            "search: {'query': 'x'}", "clicked", "files_read: {'path': 'a.txt'}",
        ]  # fmt: skip
        assert [one["tool_call_id"] for one in results] == [one["id"] for one in turn["tool_calls"]]

    def test_ids_that_carry_are_short_and_one_conversation_s(self) -> None:
        def mine(text: str) -> str:
            turn = says("", search(), self.click())
            return Play(turn, tools=[CLICK], messages=[USER, {"role": "user", "content": text}]).run().calls[0].id

        assert mine("a") == mine("a") != mine("b")
        assert len(mine("a")) <= 40

    def test_two_client_s_calls_have_two_ids(self) -> None:
        finish = Play(says("", self.click(), search(), self.click()), tools=[CLICK]).run()
        assert len({one.id for one in finish.calls}) == 2

    def test_an_unknown_tool_beside_a_client_s_call_is_answered_by_us(self) -> None:
        finish = Play(says("", call("nope"), self.click()), tools=[CLICK]).run()
        assert [one.name for one in finish.calls] == ["click"]
        assert "there is no tool 'nope'" in finish.carry[-1]["content"]

    def test_a_bad_call_of_ours_beside_a_client_s_is_written_again(self) -> None:
        play = Play(says("", call("search", "{"), self.click()), says("", search()), tools=[CLICK])
        assert [one.name for one in play.run().calls] == ["click"]
        assert play.ran == [[("search", {"query": "x"})]]

    def test_at_a_limit_the_client_s_call_is_not_lost(self) -> None:
        limits = Limits(rounds=1)
        play = Play(says("", search()), says("", search(), self.click()), tools=[CLICK], limits=limits)
        finish = play.run()
        assert (finish.why, [one.name for one in finish.calls]) == ("client_tools", ["click"])
        assert finish.carry[-1]["content"].startswith("Error: not run: one request may take 1 rounds")


class TestLimits:
    def test_rounds(self) -> None:
        play = Play(says("", read("a")), says("", read("b")), says("More.", read("c")), limits=Limits(rounds=2))
        finish = play.run()
        assert len(play.ran) == 2
        assert (finish.why, finish.finish_reason) == ("rounds", "length")
        assert finish.content == "More.\n\n[Stopped: one request may take 2 rounds of tool calls.]"
        assert finish.message()["hearth"]["finish"] == "rounds"

    def test_a_last_round_s_answer_is_an_answer(self) -> None:
        assert Play(says("", read()), says("Done."), limits=Limits(rounds=1)).run().why == "answer"

    def test_calls(self) -> None:
        turn = says("", *(read(str(index), str(index)) for index in range(3)))
        play = Play(turn, says("", read("d")), limits=Limits(calls=2))
        finish = play.run()
        assert [len(ran) for ran in play.ran] == [2]
        assert play.results()[2] == "Error: not run: one request may take 2 tool calls."
        assert (finish.why, finish.content) == ("calls", "[Stopped: one request may take 2 tool calls.]")

    def test_tokens(self) -> None:
        play = Play(says("", read("a")), says("", read("b")), limits=Limits(tokens=24))
        finish = play.run()
        assert len(play.ran) == 1
        assert (finish.why, finish.notice) == ("tokens", "[Stopped: one request may take 24 tokens.]")

    def test_an_answer_beyond_the_tokens_is_an_answer(self) -> None:
        assert Play(says("Done."), limits=Limits(tokens=1)).run().why == "answer"

    def test_bad_calls_beyond_a_limit_are_not_written_again(self) -> None:
        play = Play(says("", search()), says("", call("search", "{")), limits=Limits(calls=1))
        assert play.run().why == "calls"

    def test_the_client_s_next_request_can_go_on_from_there(self) -> None:
        finish = Play(says("", read("a")), says("", read("b")), limits=Limits(rounds=1)).run()
        restored = restore([USER, finish.message(), USER])
        assert [one["role"] for one in restored] == [
            "user", "assistant", "tool", "assistant", "tool", "assistant", "user",
        ]  # fmt: skip


class TestTime:
    def started(self, **body: Any) -> Loop:
        loop = Loop({"messages": [USER]} | body, TOOLS, Limits(seconds=5), lambda _: "")
        loop.time_is(100)
        assert loop.deadline == 105
        return loop

    def late(self, loop: Loop) -> Finish:
        loop.time_is(104.9)
        assert not isinstance(loop.action(), Finish)
        loop.time_is(105)
        action = loop.action()
        assert isinstance(action, Finish)
        assert loop.action() is action
        return action

    def test_while_the_model_speaks(self) -> None:
        loop = self.started()
        loop.action()
        finish = self.late(loop)
        assert (finish.why, finish.finish_reason) == ("seconds", "length")
        assert finish.content == "[Stopped: one request may take 5 seconds.]"
        with pytest.raises(RuntimeError, match="the model was not asked"):
            loop.model_said(says("Too late."))

    def test_while_tools_run(self) -> None:
        loop = self.started()
        loop.model_said(says("", read()))
        assert isinstance(loop.action(), CallTools)
        finish = self.late(loop)
        assert finish.why == "seconds"
        assert "it may have run in part" in finish.carry[1]["content"]

    def test_while_tools_run_beside_a_client_s_call(self) -> None:
        loop = self.started(tools=[CLICK])
        loop.model_said(says("", read(), call("click")))
        finish = self.late(loop)
        assert (finish.why, [one.name for one in finish.calls]) == ("client_tools", ["click"])
        assert "no result in time" in finish.carry[-1]["content"]

    def test_after_the_tools_returned(self) -> None:
        loop = self.started()
        loop.model_said(says("", read()))
        loop.action()
        loop.tools_returned([Result("id-files_read", "text")])
        finish = self.late(loop)
        assert [one["content"] for one in finish.carry][1] == "text"

    def test_an_answer_that_is_there_is_given(self) -> None:
        loop = self.started()
        loop.model_said(says("Done."))
        loop.time_is(1000)
        action = loop.action()
        assert isinstance(action, Finish)
        assert action.why == "answer"

    def test_without_being_told_there_is_no_time(self) -> None:
        assert Loop({"messages": [USER]}, TOOLS, Limits(), lambda _: "").deadline is None


class TestApproval:
    RUN = call("run", {"command": "ls"}, "r")

    def resumed(self, first: Finish, *turns: Turn, approve: Any = True, reason: str = "", **body: Any) -> Play:
        assert first.approval
        answer = {"token": first.approval.token, "approve": approve, "reason": reason}
        decision = APPROVALS.decide(answer, "ada", now=0)
        shown = {"role": "assistant", "content": first.content}
        return Play(*turns, decision=decision, **({"messages": [USER, shown]} | body))

    def test_the_turn_ends_with_a_question(self) -> None:
        play = Play(says("I run.", self.RUN))
        finish = play.run()
        assert play.ran == []
        assert (finish.why, finish.finish_reason, finish.calls) == ("approval", "stop", ())
        assert finish.content == 'I run.\n\n[Waiting for approval: run({"command": "ls"})]'
        asked = {"id": "r", "name": "run", "server": "commands", "arguments": '{"command": "ls"}'}
        assert finish.approval
        assert finish.message()["hearth"] == {
            "finish": "approval",
            "approval": {"token": finish.approval.token, "calls": [asked]},
        }

    def test_a_long_command_is_not_shown_whole(self) -> None:
        assert len(Play(says("", call("run", {"command": "x" * 9999}))).run().content) < 600

    def test_granted(self) -> None:
        first = Play(says("", read("0")), says("I run.", self.RUN)).run()
        play = self.resumed(first, says("Done."))
        assert play.run().content == "Done."
        assert play.ran == [[("run_command", {"command": "ls"})]]
        assert [one["role"] for one in play.messages()] == ["assistant", "tool", "assistant", "tool"]
        assert play.messages()[2] == {"role": "assistant", "content": "I run.", "tool_calls": [self.RUN.message()]}

    def test_denied(self) -> None:
        play = self.resumed(Play(says("", self.RUN)).run(), says("As you wish."), approve=False, reason="too risky")
        assert play.run().content == "As you wish."
        assert play.ran == []
        assert play.results() == ["Error: the user denied this call. The user says: too risky"]

    def test_one_of_two(self) -> None:
        other = call("run", {"command": "rm"}, "s")
        play = self.resumed(Play(says("", self.RUN, other)).run(), says("Done."), approve=["r"])
        play.run()
        assert play.ran == [[("run_command", {"command": "ls"})]]
        assert play.results()[1] == "Error: the user denied this call."

    def test_calls_that_need_none_run_before_the_question_and_only_once(self) -> None:
        before = Play(says("", self.RUN, read()))
        first = before.run()
        assert before.ran == [[("read", {"path": "a.txt"})]]
        play = self.resumed(first, says("Done."))
        play.run()
        assert play.ran == [[("run_command", {"command": "ls"})]]
        assert play.results() == ["run: {'command': 'ls'}", "files_read: {'path': 'a.txt'}"]

    def test_a_client_s_call_waits_for_the_answer(self) -> None:
        click = call("click", {"x": 1})
        first = Play(says("", self.RUN, click), tools=[CLICK]).run()
        assert first.calls == ()
        play = self.resumed(first, tools=[CLICK])
        finish = play.run()
        assert (play.ran, finish.why) == ([[("run_command", {"command": "ls"})]], "client_tools")
        assert [one.name for one in finish.calls] == ["click"]
        assert finish.carry[-1]["content"] == "run: {'command': 'ls'}"

    def test_the_next_call_asks_again(self) -> None:
        finish = self.resumed(Play(says("", self.RUN)).run(), says("", self.RUN)).run()
        assert finish.why == "approval"

    def test_the_waiting_calls_ids_are_taken(self) -> None:
        play = self.resumed(Play(says("", self.RUN)).run(), says("", read("a", "r")), says("Done."))
        play.run()
        assert [one["tool_call_id"] for one in play.messages() if one["role"] == "tool"] == ["r", "r-2"]

    def test_what_the_user_says_besides_comes_before_the_call(self) -> None:
        first = Play(says("", self.RUN)).run()
        messages = [USER, {"role": "assistant", "content": first.content}, {"role": "user", "content": "Yes."}]
        play = self.resumed(first, says("Done."), messages=messages)
        play.run()
        assert [one["role"] for one in play.messages()] == ["assistant", "user", "assistant", "tool"]

    def test_arguments_written_again_are_asked_about(self) -> None:
        finish = Play(says("", call("run", '{"command": 5}')), says("", self.RUN)).run()
        assert finish.approval
        assert finish.approval.calls[0]["arguments"] == '{"command": "ls"}'

    def test_a_limit_comes_before_the_question(self) -> None:
        finish = Play(says("", read()), says("", self.RUN), limits=Limits(calls=1)).run()
        assert finish.why == "calls"

    @pytest.mark.parametrize(
        "now",
        [
            (),
            (Tool("run", "other", "run_command", "", {}),),
            (Tool("run", "commands", "delete_all", "", {}),),
            (Tool("run", "commands", "run_command", "", {"required": ["cwd"]}),),
        ],
    )
    def test_consent_is_to_one_tool_and_its_arguments(self, now: tuple[Tool, ...]) -> None:
        first = Play(says("", self.RUN)).run()
        assert first.approval
        decision = APPROVALS.decide({"token": first.approval.token, "approve": True}, "ada", now=0)
        action = Loop({"messages": [USER]}, now, Limits(), lambda _: "", resume=decision).action()
        assert isinstance(action, CallModel)
        assert not action.retry
        assert action.body["messages"][-1]["content"].startswith("Error: ")


class TestDriver:
    def test_reports_out_of_turn_are_refused(self) -> None:
        loop = Loop({"messages": [USER]}, TOOLS, Limits(), lambda _: "")
        with pytest.raises(RuntimeError, match="no tools were to be called"):
            loop.tools_returned([])
        loop.model_said(says("", read()))
        with pytest.raises(RuntimeError, match="the model was not asked"):
            loop.model_said(says("Hi."))
        for results in ([], [Result("other", "")], [Result("id-files_read", ""), Result("id-files_read", "")]):
            with pytest.raises(RuntimeError, match="one result"):
                loop.tools_returned(results)

    def test_an_action_stays_until_something_is_reported(self) -> None:
        loop = Loop({"messages": [USER]}, TOOLS, Limits(), lambda _: "")
        assert loop.action() is loop.action()


ANY_CALL = st.builds(
    Call,
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["files_read", "search", "run", "click", "nope"]),
    st.sampled_from(['{"path": "a"}', '{"query": "x"}', '{"query": "x"', '{"command": "ls"}', "{}", "", "x", "[]"]),
)
ANY_TURN = st.builds(
    Turn,
    st.sampled_from(
        ["", "Text.", '<tool_call>{"name": "search", "arguments": {"query": "y"}}</tool_call>', "<tool_call>"]
    ),
    st.lists(ANY_CALL, max_size=3).map(tuple),
    st.sampled_from(["stop", "tool_calls", "length"]),
    st.just(USED),
)


class TestAlways:
    @given(st.lists(ANY_TURN, max_size=12), st.sampled_from([Limits(), Limits(rounds=2, calls=3, tokens=60)]))
    def test_whatever_the_model_says(self, turns: list[Turn], limits: Limits) -> None:
        """Each request is a valid conversation, nothing runs that does not fit its schema or has no consent, each call
        has one result, and it ends."""
        loop = Loop({"messages": [USER], "tools": [CLICK]}, TOOLS, limits, lambda _: "token")
        said, ran, asked = iter(turns), 0, 0
        while not isinstance(action := loop.action(), Finish):
            if isinstance(action, CallModel):
                asked += 1
                _check_conversation(action.body["messages"])
                loop.model_said(next(said, Turn("End.")))
            else:
                ran += len(action.calls)
                for one in action.calls:
                    assert not one.tool.approval
                    assert set(one.tool.parameters.get("required", [])) <= one.arguments.keys()
                loop.tools_returned([Result(one.call.id, "r") for one in action.calls])
        assert ran <= limits.calls
        assert asked <= len(turns) + 4  # three bad calls of the last turn, and the answer
        message = action.message()
        assert {one["function"]["name"] for one in message.get("tool_calls", [])} <= {"click"}
        restored = restore([USER, message])
        own = [Result(one.id, "clicked").message() for one in action.calls]
        _check_conversation(restore([USER, message, *own]) if own else restored)


def _check_conversation(messages: list[dict[str, Any]]) -> None:
    """Every call has its result, right behind it and in its order; arguments are objects, but the client's own."""
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] == waiting.pop(0)
            continue
        assert waiting == []
        for one in message.get("tool_calls", []):
            waiting.append(one["id"])
            if one["function"]["name"] != "click":
                assert isinstance(json.loads(one["function"]["arguments"]), dict)
    assert waiting == []
