"""The smoke test itself: it passes on a working stack, and each of its checks can fail."""

import io
import json
from typing import Any

import aiohttp
import pytest
from rich.console import Console
from tests.integration.gateway.conftest import origin
from tests.integration.gateway.fake_engine import EVENTS, Exchange, FakeEngine, completion

from hearth_gateway.smoke import CHECKS as ALL
from hearth_gateway.smoke import run
from hearth_gateway.smoke.model import CHINESE, ENGLISH

CHECKS = [check for check in ALL if not check.needs]  # no tools here: they are test_smoke_tools.py's
Spoken = dict[str, Any]


async def smoke(url: str) -> tuple[bool, str]:
    output = io.StringIO()
    passed = await run(url, "a-key", timeout=5, console=Console(file=output, width=200))
    return passed, output.getvalue()


def said(text: str) -> Spoken:
    return {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}


def called(*calls: tuple[str, str]) -> Spoken:
    made = [
        {"id": f"call-{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(calls)
    ]
    return {"message": {"role": "assistant", "content": None, "tool_calls": made}, "finish_reason": "tool_calls"}


def query(text: str) -> str:
    return json.dumps({"query": text}, ensure_ascii=False)


# What a model that works says to the last message of a conversation; anything else is "Red, green."
SENSIBLE: dict[str, Spoken] = {
    ENGLISH.systems: said("1. Windows\n2. macOS\n3. Linux"),
    CHINESE.systems: said("常见的操作系统有:安卓、鸿蒙和Ubuntu。"),
    ENGLISH.search: called(("search", query(ENGLISH.sought))),
    CHINESE.search: called(("search", json.dumps({"query": CHINESE.sought}))),
    ENGLISH.result: said("It is 417 metres high."),
    CHINESE.result: said("我找到了:哈尔登塔高417米。"),
    ENGLISH.introduction: said("Hello, Priya!"),
    CHINESE.introduction: said("你好,林晓!"),
    ENGLISH.who: said("Your name is Priya."),
    CHINESE.who: said("你叫林晓。"),
}


def sensible(exchange: Exchange, changed: dict[str, Spoken] | None = None) -> bytes:
    """An answer whose prompt counts a token a message, as a real one grows with the conversation."""
    answer = json.loads(completion())
    messages = exchange.body.get("messages", [{"content": ""}])
    if spoken := (SENSIBLE | (changed or {})).get(messages[-1]["content"]):
        answer["choices"] = [{"index": 0, **spoken}]
    answer["usage"] |= {"prompt_tokens": len(messages), "total_tokens": len(messages) + 3}
    return json.dumps(answer).encode()


@pytest.fixture
def working(engine: FakeEngine) -> FakeEngine:
    respond = engine.completes

    async def completes(exchange: Exchange) -> None:
        if exchange.body.get("stream"):
            await respond(exchange)
        else:
            await exchange.answer(sensible(exchange))

    engine.completes = completes
    return engine


async def test_a_working_stack_passes(client: aiohttp.ClientSession, working: FakeEngine) -> None:
    passed, table = await smoke(await origin(client) + "/v1/")
    assert passed, table
    assert table.count("│ pass │") == len(CHECKS)
    assert "hearth-tiny, qwen3-4b-gptq" in table
    assert "Red, grün." in table


async def test_nobody_there_fails_every_check(free_port: int) -> None:
    passed, table = await smoke(f"http://127.0.0.1:{free_port}")
    assert not passed
    assert table.count("│ fail │") == len(CHECKS)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"object": "text"}, "object is 'text'"),
        ({"choices": []}, "lacks something"),
        ({"usage": None}, "lacks something"),
        ({"usage": {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}}, "0 tokens"),
        ({"usage": {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 5}}, "does not add up"),
        ({"content": ""}, "the answer is empty"),
        ({"finish_reason": "tool_calls"}, "finish_reason is 'tool_calls'"),
        ({"finish_reason": "length"}, "cut off after 3 of 32 tokens"),
    ],
)
async def test_a_wrong_plain_answer_fails(
    client: aiohttp.ClientSession, working: FakeEngine, change: dict[str, Any], complaint: str
) -> None:
    respond = working.completes

    async def completes(exchange: Exchange) -> None:
        body = exchange.body
        if body.get("stream") or "prompt" in body or body["messages"][-1]["content"] in SENSIBLE:
            await respond(exchange)
            return
        answer = json.loads(sensible(exchange))
        if "content" in change:
            answer["choices"][0]["message"] |= change
        elif "finish_reason" in change:
            answer["choices"][0] |= change
        else:
            answer |= change
        await exchange.answer(json.dumps(answer).encode())

    working.completes = completes
    passed, table = await smoke(await origin(client))
    assert not passed
    assert complaint in table
    assert table.count("│ fail │") == 2  # the plain answer and the two turns


@pytest.mark.parametrize(
    ("events", "complaint"),
    [
        (EVENTS[:-1], "error event"),
        (EVENTS[1:], "the role was None"),
        ([EVENTS[0], *EVENTS[3:]], None),
        ([*EVENTS[:3], *EVENTS[4:]], "finish_reason is None"),
        ([*EVENTS[:4], EVENTS[5]], "no event had usage"),
        ([*EVENTS[:4], *EVENTS[1:]], "after finish_reason"),
        ([EVENTS[0], EVENTS[5]], "no delta had content"),
        ([b'data: {"error": {"message": "dead"}}\n\n', EVENTS[5]], "error event"),
        ([b"data: nonsense\n\n"], "lacks something"),
    ],
)
async def test_a_wrong_stream_fails(
    client: aiohttp.ClientSession, working: FakeEngine, events: list[bytes], complaint: str | None
) -> None:
    respond = working.completes

    async def completes(exchange: Exchange) -> None:
        if not exchange.body.get("stream"):
            await respond(exchange)
            return
        await exchange.start_stream()
        for data in events:
            await exchange.chunk(data)
        await exchange.end_stream()

    working.completes = completes
    passed, table = await smoke(await origin(client))
    assert passed == (complaint is None), table
    assert (complaint or "pass") in table


async def test_a_stream_that_is_none_fails(client: aiohttp.ClientSession, working: FakeEngine) -> None:
    async def completes(exchange: Exchange) -> None:
        await exchange.answer(sensible(exchange))

    working.completes = completes
    passed, table = await smoke(await origin(client))
    assert not passed
    assert "status 200, application/json" in table


async def test_a_stack_that_forgets_the_first_turn_fails(client: aiohttp.ClientSession, engine: FakeEngine) -> None:
    passed, table = await smoke(await origin(client))  # the fake engine always counts nine tokens of prompt
    assert not passed
    assert "the second prompt has 9 tokens, the first had 9" in table


@pytest.mark.parametrize(
    ("turn", "spoken", "complaint"),
    [
        (ENGLISH.systems, said("Windows, Windows, Windows"), "asked for operating systems, the answer was 'Windows, W"),
        (CHINESE.systems, said("红色,绿色。"), "asked for operating systems, the answer was '红色"),
        (ENGLISH.search, said("I cannot search."), "finish_reason is 'stop', the answer 'I cannot search.'"),
        (
            CHINESE.search,
            called(("search", query("哈尔登的塔"))),
            "was to search for '哈尔登塔的高度'",
        ),
        (ENGLISH.search, called(("browse", query(ENGLISH.sought))), "called ['browse']"),
        (ENGLISH.search, called(*[("search", query(ENGLISH.sought))] * 2), "called ['search', 'search']"),
        (ENGLISH.search, called(("search", '{"query": "the heig')), 'the arguments are no query: {"query": "the heig'),
        (ENGLISH.search, called(("search", '{"q": "the height of the Halden tower"}')), "the arguments are no query"),
        (ENGLISH.search, called(("search", '["the height of the Halden tower"]')), "the arguments are no query"),
        (ENGLISH.search, called(("search", '{"query": 7}')), "the arguments are no query"),
        (CHINESE.result, said("没有找到结果。"), "the search told '哈尔登塔高417米。'"),
        (ENGLISH.result, called(("search", query(ENGLISH.sought))), "the answer is empty"),
        (ENGLISH.who, said("I do not know."), "was told 'My name is Priya.', asked 'What is my name?', said 'I do not"),
        (CHINESE.who, said("你叫小明。"), "was told '我叫林晓。'"),
    ],
)
async def test_an_answer_without_sense_fails(
    client: aiohttp.ClientSession, working: FakeEngine, turn: str, spoken: Spoken, complaint: str
) -> None:
    respond = working.completes

    async def completes(exchange: Exchange) -> None:
        if exchange.body.get("stream"):
            await respond(exchange)
        else:
            await exchange.answer(sensible(exchange, {turn: spoken}))

    working.completes = completes
    passed, table = await smoke(await origin(client))
    assert not passed
    assert complaint in " ".join(table.replace("│", " ").split())
    assert table.count("│ fail │") == 1


async def test_the_three_turns_carry_the_models_own_answers(client: aiohttp.ClientSession, working: FakeEngine) -> None:
    await smoke(await origin(client))
    asked = [e.body for e in working.exchanges if e.method == "POST" and "messages" in e.body]
    (last,) = [body["messages"] for body in asked if body["messages"][-1]["content"] == ENGLISH.who]
    assert [message["role"] for message in last] == ["user", "assistant"] * 2 + ["user"]
    assert last[0]["content"] == ENGLISH.introduction
    assert last[3]["content"] == SENSIBLE[ENGLISH.systems]["message"]["content"]
