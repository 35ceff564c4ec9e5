"""Functional checks against a running stack, as a client sees it. A check is a function that says what it saw, or
raises Failed; append it to CHECKS and it runs."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any

import aiohttp
import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Json = dict[str, Any]

_ANSWER_TOKENS = 32
_WHOLE_ANSWER_TOKENS = 192  # a large model says more than it was asked for
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

    systems: str
    search: str
    sought: str
    result: str
    told: str
    introduction: str
    name: str
    who: str


ENGLISH = Speech(
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
    systems="请列出三个常见的操作系统。",
    search="搜索‘哈尔登塔的高度’",
    sought="哈尔登塔的高度",
    result="哈尔登塔高417米。",
    told="417",
    introduction="我叫林晓。",
    name="林晓",
    who="我叫什么名字?",
)


class Failed(Exception):  # noqa: N818 - it reads as the check's outcome
    """The stack did not do what it should; the message says what it did."""


@dataclass(frozen=True)
class Seen:
    """What a check saw. `ttft` and `tpot` are seconds to the first token, and for each token after it."""

    detail: str
    ttft: float | None = None
    tpot: float | None = None


@dataclass
class Stack:
    """A running gateway."""

    session: aiohttp.ClientSession
    model: str = field(default="", init=False)

    async def get(self, path: str) -> Json:
        async with self.session.get(path) as answer:
            return _json(answer.status, await answer.read())

    async def chat(self, messages: list[Json], **more: Any) -> Json:
        request = self._request(messages) | more
        async with self.session.post("/v1/chat/completions", json=request) as answer:
            return _json(answer.status, await answer.read())

    async def stream(self, messages: list[Json]) -> AsyncIterator[str]:
        """The data of each event."""
        request = self._request(messages) | {"stream": True, "stream_options": {"include_usage": True}}
        async with self.session.post("/v1/chat/completions", json=request) as answer:
            if answer.content_type != "text/event-stream":
                raise Failed(f"status {answer.status}, {answer.content_type}: {(await answer.text())[:200]}")
            async for line in answer.content:
                if line.startswith(b"data: "):
                    yield line[6:].decode().strip()

    def _request(self, messages: list[Json]) -> Json:
        return {"model": self.model, "messages": messages, "max_tokens": _ANSWER_TOKENS, "temperature": 0}


def _json(status: int, body: bytes) -> Json:
    expect(status == 200, f"status {status}: {body[:200].decode(errors='replace')}")
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Failed(f"not JSON: {body[:200]!r}") from None
    expect(isinstance(answer, dict), f"not an object: {body[:200]!r}")
    return dict(answer)


def expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Failed(otherwise)


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
    return Seen(f"{tokens} tokens: {_excerpt(answer['choices'][0]['message']['content'])}", tpot=took / tokens)


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
    return Seen(f"{tokens} tokens: {_excerpt(text)}", arrivals[0] - started, tpot)


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
    text, tpot = await _asked(stack, [_user(speech.systems)])
    named = [name for name, spelled in _SYSTEMS.items() if re.search(spelled, text, re.IGNORECASE)]
    expect(len(named) >= 2, f"asked for operating systems, the answer was {_excerpt(text)}")
    return Seen(", ".join(named), tpot=tpot)


async def calls_a_tool(speech: Speech, stack: Stack) -> Seen:
    started = monotonic()
    answer = await stack.chat([_user(speech.search)], tools=[_SEARCH], max_tokens=_WHOLE_ANSWER_TOKENS)
    took, choice = monotonic() - started, answer["choices"][0]
    finish, content = choice["finish_reason"], choice["message"].get("content") or ""
    expect(finish == "tool_calls", f"finish_reason is {finish!r}, the answer {_excerpt(content)}")
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
        _user(speech.search),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": speech.result},
    ]
    text, tpot = await _asked(stack, conversation, tools=[_SEARCH])
    expect(speech.told in text, f"the search told {speech.result!r}, the answer was {_excerpt(text)}")
    return Seen(_excerpt(text), tpot=tpot)


async def remembers(speech: Speech, stack: Stack) -> Seen:
    """A name told in the first turn is known in the third."""
    conversation: list[Json] = []
    text, tpot = "", None
    for turn in (speech.introduction, speech.systems, speech.who):
        conversation.append(_user(turn))
        text, tpot = await _asked(stack, conversation)
        conversation.append({"role": "assistant", "content": text})
    expect(speech.name in text, f"was told {speech.introduction!r}, asked {speech.who!r}, said {_excerpt(text)}")
    return Seen(_excerpt(text), tpot=tpot)


def _user(text: str) -> Json:
    return {"role": "user", "content": text}


async def _asked(stack: Stack, messages: list[Json], **more: Any) -> tuple[str, float]:
    """The whole answer's text, and seconds for each of its tokens."""
    started = monotonic()
    answer = await stack.chat(messages, max_tokens=_WHOLE_ANSWER_TOKENS, **more)
    tokens = _check_answer(answer, _WHOLE_ANSWER_TOKENS)
    return str(answer["choices"][0]["message"]["content"]), (monotonic() - started) / tokens


def _check_answer(answer: Json, allowed: int = _ANSWER_TOKENS) -> int:
    """Tokens of a complete, non-empty answer."""
    expect(answer.get("object") == "chat.completion", f"object is {answer.get('object')!r}")
    choice = answer["choices"][0]
    expect(choice["message"]["role"] == "assistant", f"the role was {choice['message']['role']!r}")
    expect(bool(choice["message"]["content"]), "the answer is empty")
    return _check_end(choice["finish_reason"], answer["usage"], allowed)


def _check_end(finish: str | None, usage: Any, allowed: int = _ANSWER_TOKENS) -> int:
    tokens = usage["completion_tokens"]
    expect(finish in ("stop", "length"), f"finish_reason is {finish!r}")
    expect(1 <= tokens <= allowed, f"{tokens} tokens, {allowed} were allowed")
    expect(finish == "stop" or tokens == allowed, f"cut off after {tokens} of {allowed} tokens")
    total = usage["prompt_tokens"] + tokens
    expect(usage["total_tokens"] == total, f"usage does not add up: {usage}")
    return int(tokens)


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")


CHECKS: list[tuple[str, Callable[[Stack], Awaitable[Seen]]]] = [
    ("ready", ready),
    ("models", models),
    ("plain answer", plain_answer),
    ("streamed answer", streamed_answer),
    ("two-turn conversation", two_turns),
    *(
        (f"{name}, {language}", partial(check, speech))
        for name, check in (
            ("text", knows),
            ("tool call", calls_a_tool),
            ("tool result", uses_a_result),
            ("three turns", remembers),
        )
        for language, speech in (("English", ENGLISH), ("Chinese", CHINESE))
    ),
]


async def run(url: str, api_key: str | None = None, timeout: float = 120, console: Console | None = None) -> bool:  # noqa: ASYNC109
    """Run all checks against the gateway at `url`, `timeout` seconds for each request; print a table.

    Returns whether all passed. A failure does not stop the others: the table shows what still works.
    """
    url = url.rstrip("/").removesuffix("/v1")
    table = Table("check", "", "TTFT, ms", "TPOT, ms", "detail", title=f"smoke test of {url}")
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    limits = aiohttp.ClientTimeout(total=timeout)
    passed = True
    async with aiohttp.ClientSession(url, headers=headers, timeout=limits, json_serialize=_dumps) as session:
        stack = Stack(session)
        for name, check in CHECKS:
            try:
                seen = await check(stack)
            except Failed as failure:
                passed, outcome, seen = False, "[red]fail", Seen(str(failure))
            except (KeyError, IndexError, TypeError, AttributeError, orjson.JSONDecodeError) as error:
                passed, outcome, seen = False, "[red]fail", Seen(f"the answer lacks something: {error!r}")
            except (aiohttp.ClientError, OSError) as error:
                passed, outcome, seen = False, "[red]fail", Seen(str(error) or f"no answer in {timeout:g} s")
            else:
                outcome = "[green]pass"
            table.add_row(name, outcome, _milliseconds(seen.ttft), _milliseconds(seen.tpot), escape(seen.detail))
    (console or Console()).print(table)
    return passed


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.1f}"
