"""The tool loop, without I/O: it says what to do next, and is told what came of it.

    loop = Loop(body, tools, Limits(), approver)
    while not isinstance(action := loop.action(), Finish):
        match action:
            case CallModel():  loop.model_said(…)       # ask the engine action.body
            case CallTools():  loop.tools_returned(…)   # run them all at once

`time_is` may be told at any time; once the time is out, `action` is Finish, whatever is still running.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hearth_gateway.tools import arguments as args
from hearth_gateway.tools import carry, hermes
from hearth_gateway.tools.approval import Decision, Pending, PendingCall
from hearth_gateway.tools.types import Call, PreparedCall, Result, Tool, Turn, Usage

Why = Literal["answer", "client_tools", "approval", "rounds", "calls", "seconds", "tokens"]

_GAP = "\n\n"  # between what the model says before a call and what it says after
_LONGEST_QUESTION = 500


class Limits(BaseModel):
    """What one request may cost."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rounds: Annotated[int, Field(ge=1, le=1000)] = 16
    """How often the model may be answered with tool results."""

    calls: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Tool calls that are run, over all rounds."""

    seconds: Annotated[float, Field(gt=0, le=86_400)] = 300
    """Seconds from the request to the last round's end, approvals not included."""

    tokens: Annotated[int, Field(ge=1)] = 262_144
    """Tokens of prompts and answers together, over all rounds, after which no further round begins."""


@dataclass(frozen=True, slots=True)
class CallModel:
    """Ask the engine `body`; stream or not is the driver's business.

    `lead`: show it before the answer's first text. `recover`: pass streamed text through `hermes.CallFilter` before it
    is shown. `retry`: the answer is a call that is written again: show nothing of it, and when the engine refuses the
    request, report an empty Turn, because then the call fails and not the conversation.
    """

    body: dict[str, Any]
    lead: str = ""
    recover: bool = True
    retry: bool = False


@dataclass(frozen=True, slots=True)
class CallTools:
    """Run these, concurrently, and report each one's result, in any order."""

    calls: tuple[PreparedCall, ...]


@dataclass(frozen=True, slots=True)
class Approval:
    """The question to the user. `calls`: [{"id", "name", "server", "arguments"}]."""

    token: str
    calls: tuple[dict[str, str], ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """What the client gets.

    `content`: everything shown, `notice` included; `notice` is its end that no model wrote, so a stream has yet to show
    it. `calls`: of the client's own tools. `carry`: the messages that stand for this one in the next request; a client
    that writes messages anew needs them kept under the first call's id (`carry.CarryStore`).
    """

    why: Why
    content: str
    finish_reason: str
    usage: Usage
    notice: str = ""
    calls: tuple[Call, ...] = ()
    carry: tuple[dict[str, Any], ...] = ()
    approval: Approval | None = None

    def message(self) -> dict[str, Any]:
        """The assistant message. A turn without tools of ours is as the engine would have written it."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.calls:
            message["tool_calls"] = [call.message() for call in self.calls]
        if extra := self.extra():
            message[carry.FIELD] = extra
        return message

    def extra(self) -> dict[str, Any]:
        """What the message's own field `hearth` holds; empty where there is nothing to tell."""
        extra: dict[str, Any] = {} if self.why in ("answer", "client_tools") else {"finish": self.why}
        if self.approval:
            extra["approval"] = {"token": self.approval.token, "calls": list(self.approval.calls)}
        if self.carry:
            extra["carry"] = list(self.carry)
        return extra


Action = CallModel | CallTools | Finish
Approver = Callable[[Pending], str]


@dataclass(slots=True, eq=False)
class _Slot:
    """A call of the turn on its way to a result. Without a tool it is the client's to run."""

    call: Call
    tool: Tool | None = None
    ready: PreparedCall | None = None
    problem: str = ""  # why it is not ready
    result: Result | None = None
    granted: bool = False

    def fail(self, text: str) -> None:
        self.call, self.problem = _valid(self.call), ""
        self.result = Result(self.call.id, f"Error: {text}", is_error=True)


class Loop:
    """The conversation of one request."""

    def __init__(
        self,
        body: dict[str, Any],
        tools: Sequence[Tool],
        limits: Limits,
        approver: Approver,
        *,
        resume: Decision | None = None,
    ) -> None:
        """`body`: the request as it may go to the engine, with the client's own functions in `tools`, carried turns
        restored. `tools`: ours, by name, none of them a name of the client's. `approver`: makes a token. `resume`: the
        turn that the last request left waiting, and the user's answer."""
        functions = body.get("tools") or []
        # Whether and how an answer streams is the driver's to say, for each call of the model anew.
        self._base = {
            name: value
            for name, value in body.items()
            if name not in ("messages", "tools", "tool_choice", "stream", "stream_options")
        }
        self._messages: list[dict[str, Any]] = list(body["messages"])
        self._functions = [*(tool.function() for tool in tools), *functions]
        self._choice = body.get("tool_choice", "auto")
        self._single = body.get("parallel_tool_calls") is False
        self._tools = {tool.name: tool for tool in tools}
        self._clients = {function["function"]["name"] for function in functions}
        self._limits, self._approver = limits, approver

        self._hidden: list[dict[str, Any]] = []  # the rounds that the client does not see
        self._turn: Turn | None = None  # what the model said, until all its calls have their results
        self._slots: list[_Slot] = []
        self._retrying: _Slot | None = None
        self._shown = ""
        self._usage = Usage()
        self._rounds = self._ran = 0
        self._started: float | None = None
        self._late = False
        self._refused: Why | None = None  # the limit that left no room for any of the turn's calls
        self._ids: set[str] = set()
        self._action: Action | None = None
        if resume:
            self._resume(resume)

    @property
    def deadline(self) -> float | None:
        """When the time is out, on the clock of `time_is`; None until that was told."""
        return None if self._started is None else self._started + self._limits.seconds

    @property
    def usage(self) -> Usage:
        """Tokens so far."""
        return self._usage

    def time_is(self, now: float) -> None:
        """Seconds on any clock that runs forward; the first time is the request's start."""
        if self._started is None:
            self._started = now
        if not self._late and now >= self._started + self._limits.seconds:
            self._late = True
            if not isinstance(self._action, Finish):
                self._action = None

    def action(self) -> Action:
        """What to do next; the same until something is reported."""
        if self._action is None:
            self._action = self._decide()
        return self._action

    def model_said(self, turn: Turn) -> None:
        """The answer to CallModel, its content as the engine sent it."""
        asked = self.action()
        if not isinstance(asked, CallModel):
            raise RuntimeError("the model was not asked")
        self._action = None
        self._usage += turn.usage
        content, calls = _with_recovered(turn) if asked.recover else (turn.content, turn.calls)
        if self._single:
            calls = calls[:1]
        if self._retrying:
            self._written_again(self._retrying, calls, cut=turn.finish_reason == "length")
            return
        if content:
            self._shown += asked.lead + content
        self._turn = Turn(content, calls, turn.finish_reason, turn.usage)
        # The last call is the one that a bound on tokens cut.
        cut = [turn.finish_reason == "length" and index == len(calls) - 1 for index in range(len(calls))]
        self._slots = [self._slot(call, is_cut) for call, is_cut in zip(calls, cut, strict=True)]
        self._refuse_beyond_limits()

    def tools_returned(self, results: Sequence[Result]) -> None:
        """The results of CallTools, one for each call."""
        asked = self.action()
        if not isinstance(asked, CallTools):
            raise RuntimeError("no tools were to be called")
        found = {result.call_id: result for result in results}
        if found.keys() != {prepared.call.id for prepared in asked.calls} or len(results) != len(found):
            raise RuntimeError("each call should have one result")
        self._action = None
        for slot in self._slots:
            slot.result = found.get(slot.call.id, slot.result)

    # What comes next

    def _decide(self) -> Action:
        if self._turn is None:
            if stop := self._stop():
                return self._limit(stop)
            return self._call_model()
        open_ = [slot for slot in self._slots if slot.tool and not slot.result]
        if open_ and self._late:
            for slot in open_:
                slot.fail(f"no result in time, it may have run in part: {self._reason('seconds')}")
            if not self._client_slots():
                return self._limit("seconds")
            open_ = []
        for slot in open_:
            if slot.problem:
                self._retrying = slot
                return self._call_again(slot)
        asking = [slot for slot in open_ if slot.tool and slot.tool.approval and not slot.granted]
        if now := tuple(slot.ready for slot in open_ if slot not in asking and slot.ready):
            self._ran += len(now)
            return CallTools(now)
        if asking:
            return self._ask(asking)
        if not self._slots:
            return self._answer(self._turn)
        if self._client_slots():
            return self._hand_over(self._turn)
        if stop := self._refused or self._stop():
            return self._limit(stop)
        self._hidden += self._turn_messages()
        self._turn = None
        self._rounds += 1
        return self._call_model()

    def _stop(self) -> Why | None:
        """Why the model is not asked again."""
        if self._late:
            return "seconds"
        if self._rounds >= self._limits.rounds:
            return "rounds"
        return "tokens" if self._usage.total_tokens >= self._limits.tokens else None

    def _call_model(self) -> CallModel:
        # What the client forces, it forces once: forced again after the result, the loop would have no end.
        first = self._rounds == 0 and not self._hidden
        choice = self._choice if first or self._choice == "none" else "auto"
        body = self._base | {"messages": [*self._messages, *self._hidden]}
        if self._functions:
            body |= {"tools": self._functions, "tool_choice": choice}
        return CallModel(body, lead=_GAP if self._shown else "", recover=choice != "none")

    def _call_again(self, slot: _Slot) -> CallModel:
        """One retry, which the engine holds to the tool's schema: it does so for `strict` tools only. The model sees
        what was wrong; later rounds see the call as if it had been right at once."""
        name = slot.call.name
        excuse = Result(slot.call.id, _malformed(name, slot.problem))
        messages = [_assistant("", [_valid(slot.call)]), excuse.message()]
        functions = [
            {**function, "function": {**function["function"], "strict": True}}
            if function.get("function", {}).get("name") == name
            else function
            for function in self._functions
        ]
        choice = {"type": "function", "function": {"name": name}}
        body = self._base | {
            "messages": [*self._messages, *self._hidden, *messages],
            "tools": functions,
            "tool_choice": choice,
        }
        body.pop("response_format", None)  # one answer cannot be held to two schemas
        body.pop("structured_outputs", None)
        return CallModel(body, retry=True)

    # Ends

    def _answer(self, turn: Turn) -> Finish:
        reason = "stop" if turn.finish_reason == "tool_calls" else turn.finish_reason
        messages = (*self._hidden, _assistant(turn.content)) if self._hidden else ()
        return Finish("answer", self._shown, reason, self._usage, carry=messages)

    def _hand_over(self, turn: Turn) -> Finish:
        """The client's calls go to the client. Results of ours that it does not see are carried."""
        clients = self._client_slots()
        messages: tuple[dict[str, Any], ...] = ()
        if self._hidden or len(clients) < len(self._slots):
            for index, slot in enumerate(clients):
                known = [*self._messages, *self._hidden, *self._turn_messages(), index]
                slot.call = replace(slot.call, id=f"call_{carry.conversation_id(known)}")
            messages = (*self._hidden, *self._turn_messages())
        reason = "length" if turn.finish_reason == "length" else "tool_calls"
        calls = tuple(slot.call for slot in clients)
        return Finish("client_tools", self._shown, reason, self._usage, calls=calls, carry=messages)

    def _ask(self, asking: list[_Slot]) -> Finish:
        assert self._turn is not None
        pending = Pending(
            self._turn.content, tuple(_pending(slot, slot in asking) for slot in self._slots), tuple(self._hidden)
        )
        calls = tuple(
            {"id": slot.call.id, "name": slot.call.name, "server": slot.tool.server, "arguments": slot.call.arguments}
            for slot in asking
            if slot.tool
        )
        questions = (f"{call['name']}({_short(call['arguments'])})" for call in calls)
        notice = f"[Waiting for approval: {', '.join(questions)}]"
        return self._finish("approval", "stop", notice, approval=Approval(self._approver(pending), calls))

    def _limit(self, why: Why) -> Finish:
        notice = f"[Stopped: {self._reason(why)}]"
        turn = self._turn_messages() if self._turn else []
        return self._finish(why, "length", notice, carried=(*self._hidden, *turn, _assistant(notice)))

    def _finish(
        self,
        why: Why,
        reason: str,
        notice: str,
        *,
        carried: tuple[dict[str, Any], ...] = (),
        approval: Approval | None = None,
    ) -> Finish:
        notice = (_GAP if self._shown else "") + notice
        return Finish(why, self._shown + notice, reason, self._usage, notice=notice, carry=carried, approval=approval)

    def _reason(self, why: Why) -> str:
        allowed = {
            "rounds": f"{self._limits.rounds} rounds of tool calls",
            "calls": f"{self._limits.calls} tool calls",
            "seconds": f"{self._limits.seconds:g} seconds",
            "tokens": f"{self._limits.tokens} tokens",
        }
        return f"one request may take {allowed[why]}."

    # A turn's calls

    def _slot(self, call: Call, cut: bool) -> _Slot:
        call = replace(call, id=self._unique(call.id))
        if call.name in self._clients:
            return _Slot(call)
        slot = _Slot(call, self._tools.get(call.name))
        if not slot.tool:
            known = ", ".join(sorted({*self._tools, *self._clients}))
            slot.fail(f"there is no tool {call.name!r}. There are: {known}.")
        else:
            self._prepare(slot, cut)
        return slot

    def _prepare(self, slot: _Slot, cut: bool = False) -> None:
        assert slot.tool is not None
        try:
            arguments = args.prepare(slot.call.arguments, slot.tool.parameters, cut=cut)
        except args.ArgumentsError as error:
            slot.problem = str(error)
            return
        slot.call, slot.problem = _valid(slot.call, arguments), ""
        slot.ready = PreparedCall(slot.call, slot.tool, arguments)

    def _written_again(self, slot: _Slot, calls: Sequence[Call], cut: bool) -> None:
        self._retrying = None
        again = next((call for call in calls if call.name == slot.call.name), None)
        first, problem = slot.call, slot.problem
        if again:
            slot.call = replace(first, arguments=again.arguments)
            self._prepare(slot, cut)
            problem = slot.problem
        if not slot.ready:
            slot.call = first
            slot.fail(_malformed(first.name, problem))

    def _refuse_beyond_limits(self) -> None:
        """What this request has no room for is answered at once, so that a client's call beside it is not lost."""
        open_ = [slot for slot in self._slots if slot.tool and not slot.result]
        left = self._limits.calls - self._ran
        stop = self._stop() or ("calls" if left <= 0 else None)
        self._refused = stop if open_ else None
        for slot in open_[0 if stop else left :]:
            slot.fail(f"not run: {self._reason(stop or 'calls')}")

    def _unique(self, call_id: str) -> str:
        """Engines repeat ids, or leave them out; the results would go to the wrong calls."""
        base, count = call_id or "call", 1
        unique = base
        while unique in self._ids or not unique:
            count += 1
            unique = f"{base}-{count}"
        self._ids.add(unique)
        return unique

    def _client_slots(self) -> list[_Slot]:
        return [slot for slot in self._slots if not slot.tool and not slot.result]

    def _turn_messages(self) -> list[dict[str, Any]]:
        """The turn as the model sees it: its calls in its order, then the results that there are, in the same order."""
        assert self._turn is not None
        calls = [slot.call for slot in self._slots]
        return [
            _assistant(self._turn.content, calls),
            *(slot.result.message() for slot in self._slots if slot.result),
        ]

    def _resume(self, decision: Decision) -> None:
        """Go on with the turn that waited, right after the client's messages."""
        if (last := self._messages[-1]).get("role") == "assistant" and not last.get("tool_calls"):
            self._messages.pop()  # the question, as the client saw it
        pending = decision.pending
        self._hidden = list(pending.hidden)
        self._turn = Turn(pending.content, tuple(Call(one.id, one.name, one.arguments) for one in pending.calls))
        for one in pending.calls:
            self._ids.add(one.id)
            slot = _Slot(Call(one.id, one.name, one.arguments), self._tools.get(one.name))
            self._slots.append(slot)
            if one.state == "client":
                slot.tool = None
            elif one.state == "ours":
                slot.result = Result(one.id, one.result)
            elif one.id not in decision.granted:
                slot.fail(
                    "the user denied this call." + (f" The user says: {decision.reason}" if decision.reason else "")
                )
            elif not slot.tool or (slot.tool.server, slot.tool.remote_name) != (one.server, one.remote_name):
                slot.fail(f"{one.name} is no longer there, or is another tool now.")
            else:
                slot.granted = True
                self._prepare(slot)
                if slot.problem:  # no retry: consent was to these arguments
                    slot.fail(_malformed(one.name, slot.problem))
        self._refuse_beyond_limits()


def _with_recovered(turn: Turn) -> tuple[str, tuple[Call, ...]]:
    """The turn's text without calls, and all its calls. One that is in both places was made once."""
    content, recovered = hermes.recover(turn.content)
    if not recovered:
        return content, turn.calls
    made = {(call.name, _comparable(call.arguments)) for call in turn.calls}
    return content, (*turn.calls, *(call for call in recovered if (call.name, _comparable(call.arguments)) not in made))


def _comparable(text: str) -> str:
    try:
        return json.dumps(args.parse(text), sort_keys=True)
    except args.ArgumentsError:
        return text


def _valid(call: Call, arguments: dict[str, Any] | None = None) -> Call:
    """The call as it can stand in a conversation: templates and engines read arguments as an object. The model's own
    text stays wherever it is one. Only what is shown is made valid here: nothing runs with it."""
    try:
        if isinstance(json.loads(call.arguments), dict):
            return call
    except (ValueError, RecursionError):
        pass
    return replace(call, arguments=json.dumps(arguments or {}, ensure_ascii=False))


def _malformed(name: str, problem: str) -> str:
    return f"{name} was not run: {problem}. Call it with arguments that fit its schema."


def _assistant(content: str, calls: Sequence[Call] = ()) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    return message | ({"tool_calls": [call.message() for call in calls]} if calls else {})


def _pending(slot: _Slot, asks: bool) -> PendingCall:
    call, tool = slot.call, slot.tool
    names = (tool.server, tool.remote_name) if tool else ("", "")
    state = "ask" if asks else "ours" if slot.result else "client"
    return PendingCall(call.id, call.name, call.arguments, state, *names, slot.result.text if slot.result else "")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_QUESTION else text[: _LONGEST_QUESTION - 1] + "…"
