"""What the engine says: whole and in a stream, in one turn and several, in both languages."""

import re
from dataclasses import dataclass
from time import monotonic
from typing import Any

import orjson

from hearth_gateway.smoke.stack import (
    ANSWER_TOKENS,
    WHOLE_ANSWER_TOKENS,
    Failed,
    Json,
    Seen,
    Stack,
    excerpt,
    expect,
    user,
)

_QUESTION = {"role": "user", "content": "Name three colours."}
_FOLLOW_UP = {"role": "user", "content": "And two more."}
_SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Search the web.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    },
}
# Whatever a model chooses to name, by what all names of one system have in common.
_SYSTEMS = {
    "Windows": "windows|视窗",
    "macOS": "mac ?os|os x|苹果电脑",
    "Linux": "linux|ubuntu|debian|fedora",
    "Unix": "unix|bsd|solaris",
    "Android": "android|安卓",
    "iOS": "(?<![a-z])(ipad|i)os",
    "ChromeOS": "chrome ?os",
    "HarmonyOS": "harmony|鸿蒙",
}


@dataclass(frozen=True)
class Speech:
    """What the functional checks say in one language. `result` is what the search returns, `told` what it tells."""

    language: str
    systems: str
    search: str
    sought: str
    result: str
    told: str
    introduction: str
    name: str
    who: str


ENGLISH = Speech(
    language="English",
    systems="List three common operating systems.",
    search="Search for 'the height of the Halden tower'.",
    sought="the height of the Halden tower",
    result="The Halden tower is 417 metres high.",
    told="417",
    introduction="My name is Priya.",
    name="Priya",
    who="What is my name?",
)
CHINESE = Speech(
    language="Chinese",
    systems="请列出三个常见的操作系统。",
    search="搜索‘哈尔登塔的高度’",
    sought="哈尔登塔的高度",
    result="哈尔登塔高417米。",
    told="417",
    introduction="我叫林晓。",
    name="林晓",
    who="我叫什么名字?",
)


async def ready(stack: Stack) -> Seen:
    answer = await stack.get("/readyz")
    expect(answer.get("status") == "ready", f"{answer}")
    return Seen("the engine produced a token")


async def models(stack: Stack) -> Seen:
    """Also chooses the model that the other checks ask."""
    names = [card["id"] for card in (await stack.get("/v1/models"))["data"]]
    expect(bool(names), "no model is served")
    stack.model = names[0]
    return Seen(", ".join(names))


async def plain_answer(stack: Stack) -> Seen:
    started = monotonic()
    answer = await stack.chat([_QUESTION])
    took, tokens = monotonic() - started, _check_answer(answer)
    return Seen(f"{tokens} tokens: {excerpt(answer['choices'][0]['message']['content'])}", tpot=took / tokens)


async def streamed_answer(stack: Stack) -> Seen:
    started, arrivals, text = monotonic(), [], ""
    role = finish = usage = last = None
    async for last in stack.stream([_QUESTION]):
        if last == "[DONE]":
            continue
        event = orjson.loads(last)
        expect("error" not in event, f"error event: {last[:200]}")
        usage = event.get("usage") or usage
        for choice in event["choices"]:
            expect(finish is None, "a delta came after finish_reason")
            role, finish = choice["delta"].get("role", role), choice["finish_reason"]
            if content := choice["delta"].get("content"):
                arrivals.append(monotonic())
                text += content
    expect(last == "[DONE]", f"the stream ended without [DONE], with {last!r}")
    expect(role == "assistant", f"the role was {role!r}")
    expect(bool(text), "no delta had content")
    expect(usage is not None, "no event had usage")
    tokens = _check_end(finish, usage)
    tpot = (arrivals[-1] - arrivals[0]) / (tokens - 1) if tokens > 1 else None
    return Seen(f"{tokens} tokens: {excerpt(text)}", arrivals[0] - started, tpot)


async def two_turns(stack: Stack) -> Seen:
    """The second prompt holds the first turn, so it is longer than the first prompt and answer together."""
    first = await stack.chat([_QUESTION])
    _check_answer(first)
    started = monotonic()
    second = await stack.chat([_QUESTION, first["choices"][0]["message"], _FOLLOW_UP])
    took, tokens = monotonic() - started, _check_answer(second)
    before, now = first["usage"]["prompt_tokens"], second["usage"]["prompt_tokens"]
    expect(now > before, f"the second prompt has {now} tokens, the first had {before}")
    return Seen(f"prompts of {before} and {now} tokens", tpot=took / tokens)


async def knows(speech: Speech, stack: Stack) -> Seen:
    text, tpot = await _asked(stack, [user(speech.systems)])
    named = [name for name, spelled in _SYSTEMS.items() if re.search(spelled, text, re.IGNORECASE)]
    expect(len(named) >= 2, f"asked for operating systems, the answer was {excerpt(text)}")
    return Seen(", ".join(named), tpot=tpot)


async def calls_a_tool(speech: Speech, stack: Stack) -> Seen:
    started = monotonic()
    answer = await stack.chat([user(speech.search)], tools=[_SEARCH], max_tokens=WHOLE_ANSWER_TOKENS)
    took, choice = monotonic() - started, answer["choices"][0]
    finish, content = choice["finish_reason"], choice["message"].get("content") or ""
    expect(finish == "tool_calls", f"finish_reason is {finish!r}, the answer {excerpt(content)}")
    called = [call["function"] for call in choice["message"]["tool_calls"]]
    expect([call["name"] for call in called] == ["search"], f"called {[call['name'] for call in called]}")
    (arguments,) = (call["arguments"] for call in called)
    try:
        query = orjson.loads(arguments)["query"]
        found = speech.sought in query
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise Failed(f"the arguments are no query: {arguments}") from None
    expect(found, f"was to search for {speech.sought!r}, called with {arguments}")
    return Seen(f"search({arguments})", tpot=took / answer["usage"]["completion_tokens"])


async def uses_a_result(speech: Speech, stack: Stack) -> Seen:
    arguments = orjson.dumps({"query": speech.sought}).decode()
    call = {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": arguments}}
    conversation = [
        user(speech.search),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": speech.result},
    ]
    text, tpot = await _asked(stack, conversation, tools=[_SEARCH])
    expect(speech.told in text, f"the search told {speech.result!r}, the answer was {excerpt(text)}")
    return Seen(excerpt(text), tpot=tpot)


async def remembers(speech: Speech, stack: Stack) -> Seen:
    """A name told in the first turn is known in the third."""
    conversation: list[Json] = []
    text, tpot = "", None
    for turn in (speech.introduction, speech.systems, speech.who):
        conversation.append(user(turn))
        text, tpot = await _asked(stack, conversation)
        conversation.append({"role": "assistant", "content": text})
    expect(speech.name in text, f"was told {speech.introduction!r}, asked {speech.who!r}, said {excerpt(text)}")
    return Seen(excerpt(text), tpot=tpot)


async def _asked(stack: Stack, messages: list[Json], **more: Any) -> tuple[str, float]:
    """The whole answer's text, and seconds for each of its tokens."""
    started = monotonic()
    answer = await stack.chat(messages, max_tokens=WHOLE_ANSWER_TOKENS, **more)
    tokens = _check_answer(answer, WHOLE_ANSWER_TOKENS)
    return str(answer["choices"][0]["message"]["content"]), (monotonic() - started) / tokens


def _check_answer(answer: Json, allowed: int = ANSWER_TOKENS) -> int:
    """Tokens of a complete, non-empty answer."""
    expect(answer.get("object") == "chat.completion", f"object is {answer.get('object')!r}")
    choice = answer["choices"][0]
    expect(choice["message"]["role"] == "assistant", f"the role was {choice['message']['role']!r}")
    expect(bool(choice["message"]["content"]), "the answer is empty")
    return _check_end(choice["finish_reason"], answer["usage"], allowed)


def _check_end(finish: str | None, usage: Any, allowed: int = ANSWER_TOKENS) -> int:
    tokens = usage["completion_tokens"]
    expect(finish in ("stop", "length"), f"finish_reason is {finish!r}")
    expect(1 <= tokens <= allowed, f"{tokens} tokens, {allowed} were allowed")
    expect(finish == "stop" or tokens == allowed, f"cut off after {tokens} of {allowed} tokens")
    total = usage["prompt_tokens"] + tokens
    expect(usage["total_tokens"] == total, f"usage does not add up: {usage}")
    return int(tokens)
