"""How a turn that the client saw as one message becomes again what it was: calls, results, calls.

The client gets one assistant message for a whole loop, and sends it back with the next request. What it did not see is
found again in two ways. The message has it in a field of its own, `hearth.carry`: clients that keep the message as it
came, as the OpenAI SDK's objects do, need nothing else, whichever process answers and however late. Clients that write
the message anew keep `tool_calls` with their ids, because their results refer to them: under the first id the same
messages are kept here for a while. The ids that go with it are digests of the whole conversation, so that an id cannot
mean two of them. Ids that hold the results themselves would need no memory, but providers and clients bound an id's
length (OpenAI: 40). When both ways fail, after a restart for example, the conversation is the client's own: valid, and
the model may call again.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from hearth_gateway.errors import Problem, bad_request

FIELD = "hearth"
Message = dict[str, Any]


class CarryStore:
    """Messages by (user, call id): at most `max_bytes` of them, each for `seconds`. The oldest go first."""

    def __init__(self, max_bytes: int, seconds: float) -> None:
        self._max_bytes, self._seconds = max_bytes, seconds
        self._kept: OrderedDict[tuple[str, str], tuple[float, bytes]] = OrderedDict()
        self._size = 0

    def put(self, user: str, call_id: str, messages: Sequence[Message], now: float) -> None:
        """Keep `messages`, unless they alone are too many. `now`: seconds on any clock, the same one for `get`."""
        self._drop((user, call_id))
        data = orjson.dumps(messages)
        self._kept[user, call_id] = now + self._seconds, data
        self._size += len(data)
        while self._kept and (self._size > self._max_bytes or next(iter(self._kept.values()))[0] <= now):
            self._drop(next(iter(self._kept)))

    def get(self, user: str, call_id: str, now: float) -> list[Message] | None:
        expires, data = self._kept.get((user, call_id), (now, b""))
        return orjson.loads(data) if expires > now else None

    def _drop(self, key: tuple[str, str]) -> None:
        if old := self._kept.pop(key, None):
            self._size -= len(old[1])

    def __len__(self) -> int:
        return len(self._kept)


def completed(messages: Any, stored: Callable[[str], list[Message] | None]) -> Any:
    """The client's messages with what is kept of their turns put into the field, as clients send them that keep a
    message as it came; the same object where there is nothing to put. `stored`: the messages kept for a call id, if
    any. Raises Problem 400."""
    if not isinstance(messages, list):
        return messages
    found = {
        index: kept
        for index, message in enumerate(messages)
        if isinstance(message, dict)
        and message.get("role") == "assistant"
        and _field(message, f"messages[{index}].{FIELD}") is None
        and (kept := next((kept for call_id in _call_ids(message) if (kept := stored(call_id))), None))
    }
    if not found:
        return messages
    return [
        message | {FIELD: (message.get(FIELD) or {}) | {"carry": found[index]}} if index in found else message
        for index, message in enumerate(messages)
    ]


def call_ids(messages: Any) -> list[str]:
    """Under which messages may be kept for `completed`."""
    if not isinstance(messages, list):
        return []
    return [
        call_id
        for message in messages
        if isinstance(message, dict) and message.get("role") == "assistant"
        for call_id in _call_ids(message)
    ]


def restore(messages: Any) -> Any:
    """The client's messages with every carried turn put back; anything else stays as it is.

    What comes back in the field is the client's word, like all of its messages: it is checked by shape here, and must
    still pass the check of all messages. Raises Problem 400.
    """
    if not isinstance(messages, list):
        return messages
    restored: list[Any] = []
    order: dict[str, int] | None = None  # of the calls whose results stand at the end of `restored`
    for index, message in enumerate(messages):
        if order and isinstance(message, dict) and message.get("role") == "tool":
            restored.append(message)
            continue
        _put_in_order(restored, order)
        order = None
        if not isinstance(message, dict) or message.get("role") != "assistant":
            restored.append(message)
            continue
        carried = _field(message, f"messages[{index}].{FIELD}")
        if carried is None:
            restored.append({key: value for key, value in message.items() if key != FIELD})
            continue
        restored += carried
        last = next(one for one in reversed(carried) if one["role"] == "assistant")
        order = {call_id: place for place, call_id in enumerate(_call_ids(last))}
    _put_in_order(restored, order)
    return restored


def conversation_id(*parts: Any) -> str:
    """A digest of JSON values, the same for the same values."""
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:24]


def _put_in_order(messages: list[Any], order: Mapping[str, int] | None) -> None:
    """Sort the results at the end of `messages` as the model made the calls: templates print no ids."""
    if not order:
        return
    start = len(messages)
    while start and messages[start - 1].get("role") == "tool":
        start -= 1
    messages[start:] = sorted(messages[start:], key=lambda one: order.get(str(one.get("tool_call_id")), len(order)))


def _call_ids(message: Mapping[str, Any]) -> Iterable[str]:
    calls = message.get("tool_calls")
    entries = calls if isinstance(calls, list) else []
    return [call["id"] for call in entries if isinstance(call, dict) and isinstance(call.get("id"), str)]


def _field(message: Mapping[str, Any], where: str) -> list[Message] | None:
    extra = message.get(FIELD)
    if extra is None:
        return None
    if not isinstance(extra, dict):
        raise _unreadable(where)
    carried = extra.get("carry")
    if carried is None:
        return None
    if not isinstance(carried, list):
        raise _unreadable(f"{where}.carry")
    checked = [_checked(one, f"{where}.carry[{index}]") for index, one in enumerate(carried)]
    if not any(one["role"] == "assistant" for one in checked):
        raise _unreadable(f"{where}.carry")
    return checked


def _checked(message: Any, where: str) -> Message:
    match message:
        case {"role": "tool", "tool_call_id": str(call_id), "content": str(content), **rest} if not rest:
            return {"role": "tool", "tool_call_id": call_id, "content": content}
        case {"role": "assistant", "content": str(content), **rest} if rest.keys() <= {"tool_calls"}:
            calls = rest.get("tool_calls", [])
            if isinstance(calls, list):
                checked = [_checked_call(call, where) for call in calls]
                return {"role": "assistant", "content": content} | ({"tool_calls": checked} if checked else {})
    raise _unreadable(where)


def _checked_call(call: Any, where: str) -> Message:
    match call:
        case {"id": str(call_id), "function": {"name": str(name), "arguments": str(arguments)}}:
            function = {"name": name, "arguments": arguments}
            return {"id": call_id, "type": "function", "function": function}
    raise _unreadable(where)


def _unreadable(where: str) -> Problem:
    return bad_request(f"{where} is not what this gateway wrote: send it back unchanged, or leave it out.", where)
