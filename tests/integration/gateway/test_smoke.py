"""The smoke test itself: it passes on a working stack, and each of its checks can fail."""

import io
import json
from typing import Any

import aiohttp
import pytest
from rich.console import Console
from tests.integration.gateway.conftest import origin
from tests.integration.gateway.fake_engine import EVENTS, Exchange, FakeEngine, completion

from hearth_gateway.smoke import CHECKS, run


async def smoke(url: str) -> tuple[bool, str]:
    output = io.StringIO()
    passed = await run(url, "a-key", timeout=5, console=Console(file=output, width=200))
    return passed, output.getvalue()


def longer_each_time(exchange: Exchange) -> bytes:
    """A plain answer whose prompt counts a token a message, as a real one grows with the conversation."""
    answer = json.loads(completion())
    prompt = len(exchange.body.get("messages", [0]))
    answer["usage"] |= {"prompt_tokens": prompt, "total_tokens": prompt + 3}
    return json.dumps(answer).encode()


@pytest.fixture
def working(engine: FakeEngine) -> FakeEngine:
    respond = engine.completes

    async def completes(exchange: Exchange) -> None:
        if exchange.body.get("stream"):
            await respond(exchange)
        else:
            await exchange.answer(longer_each_time(exchange))

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
        if exchange.body.get("stream") or "prompt" in exchange.body:
            await respond(exchange)
            return
        answer = json.loads(longer_each_time(exchange))
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
        (EVENTS[:-1], "without [DONE]"),
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
        await exchange.answer(longer_each_time(exchange))

    working.completes = completes
    passed, table = await smoke(await origin(client))
    assert not passed
    assert "status 200, application/json" in table


async def test_a_stack_that_forgets_the_first_turn_fails(client: aiohttp.ClientSession, engine: FakeEngine) -> None:
    passed, table = await smoke(await origin(client))  # the fake engine always counts nine tokens of prompt
    assert not passed
    assert "the second prompt has 9 tokens, the first had 9" in table
