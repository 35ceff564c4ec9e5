"""The tool loop as a machine that a hostile model, failing tools, a hasty clock and an undecided user drive."""

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from jsonschema import Draft202012Validator
from tests.fuzz.given import TEXT, WIDE, nearly_json

from hearth_gateway.request import dump
from hearth_gateway.tools import carry
from hearth_gateway.tools.approval import Approvals, Decision, Pending
from hearth_gateway.tools.loop import CallModel, CallTools, Finish, Limits, Loop
from hearth_gateway.tools.types import Call, Result, Tool, Turn, Usage


def schema(name: str, kind: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": kind}}, "required": [name], "additionalProperties": False}


READ = Tool("files_read", "files", "read", "Read.", schema("path", "string"), read_only=True)
COUNT = Tool("count", "sums", "count", "Count.", schema("upto", "integer"))
RUN = Tool("run", "commands", "run_command", "Run.", schema("command", "string"), approval=True)
TOOLS = (COUNT, READ, RUN)
CLICK = {"type": "function", "function": {"name": "click", "parameters": {"type": "object"}}}
USER = {"role": "user", "content": "Do it."}
APPROVALS = Approvals(b"k" * 32, 600)

ARGUMENTS = st.sampled_from(
    ['{"path": "a"}', '{"upto": 3}', '{"command": "ls"}', '{"path": "a"', '{"upto": 1e400}', '{"upto": "3"}',
     '{"path": "/etc/passwd", "path": "a"}', "{}", ""]
) | nearly_json(st.dictionaries(st.sampled_from(["path", "upto", "command"]), WIDE, max_size=2))  # fmt: skip
NAMES = st.sampled_from(["files_read", "count", "run", "click", "hearth_read_result", "nope", "RUN", "run "])
IDS = st.sampled_from(["", "a", "b"])
GOOD = st.builds(
    lambda id, good: Call(id, *good),
    IDS,
    st.sampled_from(
        [("files_read", '{"path": "a"}'), ("count", '{"upto": 3}'), ("run", '{"command": "ls"}'), ("click", "{}")]
    ),
)
CALLS = st.lists(GOOD | GOOD | st.builds(Call, IDS, NAMES, ARGUMENTS), max_size=3).map(tuple)
TAGGED = st.builds(
    lambda name, arguments: f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>',
    NAMES,
    ARGUMENTS,
)
TURNS = st.builds(
    Turn,
    st.lists(TEXT | TAGGED, max_size=2).map("".join),
    CALLS,
    st.sampled_from(["stop", "tool_calls", "length", "content_filter", ""]),
    st.builds(Usage, st.integers(0, 40), st.integers(0, 40)),
)
LIMITS = st.builds(
    Limits, rounds=st.integers(1, 4), calls=st.integers(1, 5), seconds=st.just(10.0), tokens=st.integers(1, 400)
)


def check_conversation(messages: list[dict[str, Any]]) -> None:
    """As templates and engines read it: each call has its one result, right behind it and in its order; the arguments
    of our tools are objects."""
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] == waiting.pop(0)
            continue
        assert waiting == []
        for call in message.get("tool_calls", []):
            waiting.append(call["id"])
            assert call["function"]["name"] == "click" or isinstance(json.loads(call["function"]["arguments"]), dict)
        assert len(set(waiting)) == len(waiting)
    assert waiting == []


class Conversation(RuleBasedStateMachine):
    """One request after another; each goes on from what the client was left with."""

    @initialize(
        limits=LIMITS, single=st.booleans(), choice=st.sampled_from(["auto", "none", "required"]), clicks=st.booleans()
    )
    def begin(self, limits: Limits, single: bool, choice: str, clicks: bool) -> None:
        self.limits, self.now = limits, 0.0
        self.body: dict[str, Any] = {"model": "m", "tool_choice": choice, "parallel_tool_calls": not single}
        self.body |= {"tools": [CLICK]} if clicks else {}
        self.messages: list[dict[str, Any]] = [USER]
        self.ask(None)

    def ask(self, decision: Decision | None) -> None:
        self.granted = [call for call in decision.pending.calls if call.id in decision.granted] if decision else []
        self.asked = self.ran = self.rounds = 0
        self.shown, self.ended = "", False
        body = self.body | {"messages": carry.restore(self.messages)}
        self.loop = Loop(body, TOOLS, self.limits, self.approve, resume=decision)
        self.loop.time_is(self.now)
        self.finish: Finish | None = None

    def approve(self, pending: Pending) -> str:
        return APPROVALS.issue(pending, "ada", 0)

    def action_is(self, kind: type) -> bool:
        return isinstance(self.loop.action(), kind)

    # What happens

    @precondition(lambda self: self.action_is(CallModel))
    @rule(turn=TURNS)
    def the_model_says(self, turn: Turn) -> None:
        asked = self.loop.action()
        assert isinstance(asked, CallModel)
        self.asked += 1
        check_conversation(asked.body["messages"])
        dump(asked.body)
        assert asked.body.keys() <= {*self.body, "messages", "tools"}
        if asked.retry:
            name = asked.body["tool_choice"]["function"]["name"]
            strict = [one["function"]["name"] for one in asked.body["tools"] if one["function"].get("strict")]
            assert strict == [name]
            assert name in {tool.name for tool in TOOLS}
        self.loop.model_said(turn)

    @precondition(lambda self: self.action_is(CallTools))
    @rule(texts=st.lists(TEXT, min_size=8, max_size=8), failed=st.booleans(), backwards=st.booleans())
    def the_tools_return(self, texts: list[str], failed: bool, backwards: bool) -> None:
        asked = self.loop.action()
        assert isinstance(asked, CallTools)
        self.ran += len(asked.calls)
        for prepared in asked.calls:
            tool = prepared.tool
            assert prepared.call.name == tool.name
            Draft202012Validator(tool.parameters).validate(prepared.arguments)
            assert json.loads(prepared.call.arguments) == prepared.arguments or tool.approval is False
            if tool.approval:  # only what its user was shown and granted
                assert (prepared.call.id, tool.name) in [(call.id, call.name) for call in self.granted]
                shown = next(call for call in self.granted if call.id == prepared.call.id)
                assert json.loads(shown.arguments) == prepared.arguments
        results = [Result(one.call.id, text, failed) for one, text in zip(asked.calls, texts, strict=False)]
        self.loop.tools_returned(results[::-1] if backwards else results)

    @rule(seconds=st.sampled_from([0.0, 1.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        finished = self.action_is(Finish)
        before = self.loop.action()
        self.loop.time_is(self.now)
        assert not finished or self.loop.action() is before

    @rule()
    def a_report_comes_out_of_turn(self) -> None:
        before = self.loop.action()
        if not isinstance(before, CallModel):
            with pytest.raises(RuntimeError):
                self.loop.model_said(Turn("x"))
        if not isinstance(before, CallTools):
            with pytest.raises(RuntimeError):
                self.loop.tools_returned([Result("x", "x")])
        else:
            with pytest.raises(RuntimeError):
                self.loop.tools_returned([Result("nobody's", "x")])
        assert self.loop.action() is before

    @precondition(lambda self: self.action_is(Finish))
    @rule(grant=st.sampled_from(["all", "none", "first"]), keeps=st.booleans())
    def the_client_goes_on(self, grant: str, keeps: bool) -> None:
        finish = self.loop.action()
        assert isinstance(finish, Finish)
        message = finish.message()
        if not keeps:
            message.pop(carry.FIELD, None)
        self.messages = [*self.messages, message]
        if finish.calls:
            self.messages += [Result(call.id, "clicked").message() for call in finish.calls]
        decision = None
        if finish.approval:
            approve: Any = {"all": True, "none": False, "first": [finish.approval.calls[0]["id"]]}[grant]
            decision = APPROVALS.decide({"token": finish.approval.token, "approve": approve}, "ada", 1)
        elif not finish.calls:
            self.messages.append(USER)
        self.now += 100
        self.ask(decision)

    # What always holds

    @invariant()
    def an_action_stays_until_something_is_reported(self) -> None:
        if hasattr(self, "loop"):
            assert self.loop.action() is self.loop.action()

    @invariant()
    def limits_hold(self) -> None:
        if hasattr(self, "loop"):
            running = self.loop.action()
            about = len(running.calls) if isinstance(running, CallTools) else 0
            assert self.ran + about <= self.limits.calls

    @invariant()
    def an_end_is_whole(self) -> None:
        if not hasattr(self, "loop") or not isinstance(finish := self.loop.action(), Finish):
            return
        assert finish.content.endswith(finish.notice)
        assert {call.name for call in finish.calls} <= {"click"}
        assert bool(finish.approval) == (finish.why == "approval")
        assert bool(finish.calls) == (finish.why == "client_tools")
        dump(finish.message())
        if finish.approval:
            assert {call["name"] for call in finish.approval.calls} == {"run"}
        else:
            own = [Result(call.id, "clicked").message() for call in finish.calls]
            check_conversation(carry.restore([*self.messages, finish.message(), *own]))

    def teardown(self) -> None:
        """However it goes on, it ends: each round has at most three calls, each written again at most once."""
        if not hasattr(self, "loop"):
            return
        stubborn = Turn(
            "", (Call("a", "files_read", '{"path": 1}'), Call("b", "count", '{"upto": 3}')), "stop", Usage(1, 1)
        )
        for _ in range(3 * self.limits.rounds + 12):
            action = self.loop.action()
            if isinstance(action, Finish):
                return
            if isinstance(action, CallModel):
                self.loop.model_said(stubborn)
            else:
                self.loop.tools_returned([Result(one.call.id, "r") for one in action.calls])
        pytest.fail("it does not end")


def test_the_loop() -> None:
    run_state_machine_as_test(Conversation, settings=settings(stateful_step_count=25))
