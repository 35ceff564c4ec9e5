"""A request for a response, as the chat request that means the same. No I/O.

A conversation is a list of **items**: what clients send, and what they got as output. All output items of one response
stand in a row. The last of them may have a field `hearth.carry`, as a chat completion's message has: it alone then says
what the model said and read. From a client that writes items anew, the model learns the same, except in how many rounds
it called our tools, and of calls that never ran.

As in `hearth_gateway.request`: a parameter that is dangerous, and would be believed to be honoured, is refused; one
that neither this resource nor chat has is dropped.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from hearth_gateway.errors import Problem, bad_request
from hearth_gateway.request import check_part
from hearth_gateway.tools.carry import FIELD

Item = dict[str, Any]
Message = dict[str, Any]

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_OUTPUT = {"function_call", "mcp_call", "mcp_approval_request", "mcp_list_tools", "reasoning"}  # and what is said
_INPUT = {"message", "function_call", "function_call_output", "mcp_call", "mcp_approval_response"}

_CHAT_ONLY = {
    "function_call", "functions", "logprobs", "max_completion_tokens", "max_tokens", "messages", "n",
    "reasoning_effort", "response_format", "stream_options", "tool_choice", "tools", "top_logprobs",
}  # fmt: skip
_REFUSED = {
    "background": "a response is made while its client waits",
    "conversation": "use previous_response_id",
    "prompt": "there are no stored prompts; use instructions and input",
    "top_logprobs": "log probabilities are given by /v1/chat/completions",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """The user's answer to the calls that the last response asked about."""

    token: str
    granted: tuple[str, ...]
    reason: str


def request_id_of(item_id: str) -> tuple[str, str]:
    """(approval token, call id) that the id of an mcp_approval_request stands for."""
    token, _, call_id = item_id.partition(":")
    return token, call_id


def approval_request(token: str, call: Mapping[str, str]) -> Item:
    """The output item that asks for consent to `call`, {"id", "name", "server", "arguments"}."""
    return {
        "id": f"{token}:{call['id']}",
        "type": "mcp_approval_request",
        "name": call["name"],
        "server_label": call["server"],
        "arguments": call["arguments"],
    }


def check(given: Mapping[str, Any]) -> None:
    """That the parameters of this resource have the type and the bounds that they should. Raises Problem 400."""
    for name, reason in _REFUSED.items():
        if given.get(name):
            raise bad_request(f"{name} is not supported: {reason}.", name, "unsupported_parameter")
    if given.get("truncation") == "auto":
        reason = "a prompt is never cut silently"
        raise bad_request(f"truncation auto is not supported: {reason}.", "truncation", "unsupported_parameter")
    if isinstance(include := given.get("include"), list) and "message.output_text.logprobs" in include:
        reason = _REFUSED["top_logprobs"]
        raise bad_request(f"include: logprobs are not supported: {reason}.", "include", "unsupported_parameter")
    for name, kind, what in (
        ("instructions", str, "a string"),
        ("previous_response_id", str, "a string"),
        ("stream", bool, "true or false"),
        ("store", bool, "true or false"),
        ("parallel_tool_calls", bool, "true or false"),
    ):
        if not isinstance(given.get(name), kind | None):
            raise bad_request(f"{name} should be {what}.", name, "invalid_type")
    for name in ("max_output_tokens", "max_tool_calls"):
        value = given.get(name)
        if value is not None and (type(value) is not int or value < 1):
            raise bad_request(f"{name} should be a whole number of at least 1.", name)
    _check_metadata(given.get("metadata"))


def items_of(value: Any) -> list[Item]:
    """The items of a request's `input`. Raises Problem 400."""
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    if not isinstance(value, list) or not value:
        raise bad_request("input should be a string, or a list of at least one item.", "input", "invalid_type")
    for index, item in enumerate(value):
        where = f"input[{index}]"
        if not isinstance(item, dict):
            raise bad_request(f"{where} should be an object.", where, "invalid_type")
        kind = _kind(item)
        if kind in _OUTPUT | _INPUT:
            continue
        if kind == "item_reference":
            raise bad_request(f"{where}: send the item itself, or use previous_response_id.", where)
        allowed = ", ".join(sorted(_INPUT))
        raise bad_request(f"{where} should be of one of the types {allowed}; it is of type {kind!r}.", where)
    return value


def chat_request(
    given: Mapping[str, Any], earlier: Sequence[Item], items: Sequence[Item], modalities: list[Any]
) -> dict[str, Any]:
    """The request for a chat completion: `earlier` items, which were an input and an output, then `items`. What it has
    beside is not checked yet, and tools of ours are still its `tools` entries. Raises Problem 400."""
    body = {name: value for name, value in given.items() if name not in _CHAT_ONLY}
    body["messages"] = _messages([*earlier, *items], len(earlier), modalities)
    if instructions := given.get("instructions"):
        body["messages"].insert(0, {"role": "system", "content": instructions})
    if tools := given.get("tools"):
        body["tools"] = _tools(tools)
    if (choice := given.get("tool_choice")) is not None:
        body["tool_choice"] = _tool_choice(choice)
    if (most := given.get("max_output_tokens")) is not None:
        body["max_completion_tokens"] = most
    if response_format := _response_format(given.get("text")):
        body["response_format"] = response_format
    return body


def decision(items: Sequence[Item]) -> Decision | None:
    """What the end of the input decides, if anything. Raises Problem 400."""
    answers: list[Item] = []
    for item in reversed(items):
        if _kind(item) != "mcp_approval_response":
            break
        answers.insert(0, item)
    if not answers:
        return None
    granted, reasons, tokens = [], [], set()
    for answer in answers:
        approved = answer.get("approve")
        if not isinstance(approved, bool):
            raise bad_request("mcp_approval_response: approve should be true or false.", "input", "invalid_type")
        token, call_id = request_id_of(_text(answer, "approval_request_id", "input"))
        tokens.add(token)
        if approved:
            granted.append(call_id)
        if reason := answer.get("reason"):
            reasons.append(str(reason))
    if len(tokens) > 1:
        raise bad_request("The mcp_approval_response items answer requests of different responses.", "input")
    return Decision(tokens.pop(), tuple(granted), " ".join(reasons))


# Items


def _kind(item: Mapping[str, Any]) -> str:
    return str(item.get("type") or ("message" if "role" in item else ""))


def _is_output(item: Mapping[str, Any]) -> bool:
    return _kind(item) in _OUTPUT or (_kind(item) == "message" and item.get("role") == "assistant")


def _messages(items: Sequence[Item], earlier: int, modalities: list[Any]) -> list[Message]:
    """`earlier`: how many of the items the client did not send with this request."""
    messages: list[Message] = []
    known: set[str] = set()  # ids of calls
    numbered = [(f"input[{index - earlier}]", item) for index, item in enumerate(items)]
    groups = [(output, list(group)) for output, group in groupby(numbered, lambda one: _is_output(one[1]))]
    for (output, group), (_, following) in zip(groups, [*groups[1:], (False, [])], strict=True):
        if output:
            known.update(str(item.get("call_id")) for _, item in group if _kind(item) == "function_call")
            if not following or _kind(following[0][1]) != "mcp_approval_response":
                messages += _said(group, modalities)
            # else: the approval token, or the carried messages of the response after it, have the whole turn.
            continue
        for number, (where, item) in enumerate(group):
            if _kind(item) == "mcp_approval_response":
                if number and _kind(group[number - 1][1]) != "mcp_approval_response":
                    raise bad_request(f"{where}: it should stand right after the request that it answers.", where)
                if any(_kind(later) != "mcp_approval_response" for _, later in group[number:]):
                    raise bad_request(f"{where}: an mcp_approval_response should be the end of the input.", where)
            else:
                messages.append(_given(item, where, known, modalities))
    if not messages:
        raise bad_request("input should have at least one message.", "input")
    return messages


def _given(item: Item, where: str, known: Collection[str], modalities: list[Any]) -> Message:
    """What the user, the operator or a tool of the client says."""
    if _kind(item) == "function_call_output":
        call_id = _text(item, "call_id", where)
        if call_id not in known:
            message = f"{where}.call_id: there is no function_call {call_id!r} before it."
            raise bad_request(message, f"{where}.call_id", "unknown_call")
        content = _content(item.get("output"), f"{where}.output", modalities)
        return {"role": "tool", "tool_call_id": call_id, "content": content}
    if (role := _ROLES.get(str(item.get("role")))) is None:
        raise bad_request(f"{where}.role should be one of {', '.join(_ROLES)}.", f"{where}.role")
    return {"role": role, "content": _content(item.get("content"), f"{where}.content", modalities)}


def _said(items: Iterable[tuple[str, Item]], modalities: list[Any]) -> list[Message]:
    """The output of one response, as the assistant's messages and the results of our tools."""
    messages: list[Message] = []
    before: list[Message] = []  # of responses that no word of the client parts from this one
    results: list[Message] = []
    turn: Message | None = None
    for where, item in items:
        kind = _kind(item)
        if kind == "message":
            text = _content(item.get("content"), f"{where}.content", ["text"], joined=True)
            if turn is None or turn["content"] or results:
                messages += results
                results = []
                messages.append(turn := {"role": "assistant", "content": ""})
            turn["content"] = text
        elif kind in ("function_call", "mcp_call"):
            call_id = _text(item, "call_id" if kind == "function_call" else "id", where)
            function = {"name": _text(item, "name", where), "arguments": _text(item, "arguments", where)}
            if turn is None:
                messages.append(turn := {"role": "assistant", "content": ""})
            turn.setdefault("tool_calls", []).append({"id": call_id, "type": "function", "function": function})
            if kind == "mcp_call":
                results.append({"role": "tool", "tool_call_id": call_id, "content": _result(item)})
        if isinstance(extra := item.get(FIELD), dict) and extra.get("carry"):  # it ends its response, and has it all
            messages = [*before, {"role": "assistant", "content": "", FIELD: extra}]
            before, results, turn = messages.copy(), [], None
    return messages + results


def _result(item: Item) -> str:
    if isinstance(output := item.get("output"), str):
        return output
    match item.get("error"):
        case {"content": [{"text": str(text)}, *_]} | {"message": str(text)} | str(text):
            return text
    return "Error: no result."


def _content(value: Any, where: str, modalities: list[Any], *, joined: bool = False) -> Any:
    """As chat has it. Text stays text; `joined`: there is nothing else."""
    if value is None or isinstance(value, str):
        return value or ""
    if not isinstance(value, list):
        raise bad_request(f"{where} should be a string or a list of parts.", where, "invalid_type")
    parts = [_part(part, where, modalities) for part in value]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return "".join(texts) if len(texts) == len(parts) and (joined or len(parts) == 1) else parts


def _part(part: Any, where: str, modalities: list[Any]) -> dict[str, Any]:
    match part:
        case {"type": "input_text" | "output_text" | "text", "text": str(text)} | {"type": "refusal", "refusal": text}:
            return {"type": "text", "text": text}
        case {"type": "input_image"}:
            part = {"type": "image_url", "image_url": {"url": part.get("image_url")}}
    check_part(part, where, modalities)
    checked: dict[str, Any] = part
    return checked


def _text(item: Mapping[str, Any], name: str, where: str) -> str:
    if not isinstance(value := item.get(name), str):
        raise bad_request(f"{where}.{name} should be a string.", f"{where}.{name}", "invalid_type")
    return value


# Parameters


def _tools(entries: Any) -> list[Any]:
    if not isinstance(entries, list):
        raise bad_request("tools should be a list.", "tools", "invalid_type")
    return [_tool(entry, f"tools[{index}]") for index, entry in enumerate(entries)]


def _tool(entry: Any, where: str) -> Any:
    match entry:
        case {"type": "mcp"}:
            return entry
        case {"type": "function", "name": str()}:
            wanted = ("name", "description", "parameters", "strict")
            return {"type": "function", "function": {n: entry[n] for n in wanted if entry.get(n) is not None}}
    shapes = '{"type": "function", "name": …, "parameters": …} or {"type": "mcp", "server_label": …}'
    raise bad_request(f"{where} should be {shapes}.", where, "unsupported_tool")


def _tool_choice(choice: Any) -> Any:
    match choice:
        case "auto" | "none" | "required" | {"type": "mcp"}:
            return choice
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
    shapes = '"auto", "none", "required", {"type": "function", "name": …} or {"type": "mcp", "server_label", "name"}'
    raise bad_request(f"tool_choice should be {shapes}.", "tool_choice")


def _response_format(text: Any) -> dict[str, Any] | None:
    match text:
        case None | {"format": None | {"type": "text"}}:
            return None
        case {"format": {"type": "json_object"}}:
            return {"type": "json_object"}
        case {"format": {"type": "json_schema", "name": str(), "schema": dict()} as schema}:
            wanted = ("name", "description", "schema", "strict")
            return {"type": "json_schema", "json_schema": {n: schema[n] for n in wanted if schema.get(n) is not None}}
        case {**rest} if "format" not in rest:
            return None
    raise _not_a_format()


def _not_a_format() -> Problem:
    shapes = '{"type": "text"}, {"type": "json_object"} or {"type": "json_schema", "name": …, "schema": {…}}'
    return bad_request(f"text.format should be {shapes}.", "text.format")


def _check_metadata(metadata: Any) -> None:
    if metadata is None:
        return
    good = isinstance(metadata, dict) and len(metadata) <= 16
    if not good or not all(isinstance(v, str) and len(n) <= 64 and len(v) <= 512 for n, v in metadata.items()):
        allowed = "at most 16 pairs of strings, of at most 64 and 512 characters"
        raise bad_request(f"metadata should be {allowed}.", "metadata")
