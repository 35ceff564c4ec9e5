"""What the engine's side loses before the first byte is asked again; what a client has heard of, never."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from tests.integration.chat.conftest import Chat, chat, server  # noqa: F401 - fixtures
from tests.integration.gateway.conftest import CHAT, Start, ask, error_of, metric_reaches
from tests.integration.gateway.fake_engine import EVENTS, Exchange, FakeEngine, Script, event, well_behaved

LOST: dict[str, Script] = {}


def loses(name: str) -> Callable[[Script], Script]:
    def kept(script: Script) -> Script:
        LOST[name] = script
        return script

    return kept


@loses("a connection reset")
async def reset(exchange: Exchange) -> None:
    exchange.cut()


@loses("502")
async def bad_gateway(exchange: Exchange) -> None:
    await exchange.answer(b"no worker", 502, "text/plain")


@loses("a router's own 500")
async def router_error(exchange: Exchange) -> None:
    await exchange.answer(b"error sending request", 500, "text/plain")


@loses("503 in the right shape")
async def unavailable(exchange: Exchange) -> None:
    await exchange.answer(
        json.dumps({"error": {"message": "no workers", "type": "x", "param": None, "code": 503}}).encode(), 503
    )


@loses("a head and then nothing")
async def head_only(exchange: Exchange) -> None:
    await exchange.start_stream()
    await asyncio.sleep(0.05)
    exchange.cut()


@loses("a stream that ends before it begins")
async def empty(exchange: Exchange) -> None:
    await exchange.start_stream()
    await exchange.end_stream()


def first(losses: int, script: Script) -> Callable[[Exchange], Awaitable[None]]:
    """So many requests are lost by `script`, those after them answered."""
    left = losses

    async def answers(exchange: Exchange) -> None:
        nonlocal left
        left -= 1
        await (script if left >= 0 else well_behaved)(exchange)

    return answers


def asked(engine: FakeEngine) -> int:
    return sum(exchange.path == CHAT for exchange in engine.exchanges)


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
async def test_a_lost_request_is_asked_again_and_its_client_sees_nothing_of_it(
    client: aiohttp.ClientSession, engine: FakeEngine, lost: Script
) -> None:
    engine.completes = first(2, lost)
    async with client.post(CHAT, json=ask(stream=True)) as answer:
        assert (answer.status, await answer.read()) == (200, b"".join(EVENTS))
    assert asked(engine) == 3
    assert len({exchange.raw for exchange in engine.exchanges if exchange.path == CHAT}) == 1
    await metric_reaches(client, 2.0, "hearth_engine_retries_total")


@pytest.mark.parametrize("lost", [reset, bad_gateway, unavailable])
async def test_so_is_one_that_wants_a_whole_answer(
    client: aiohttp.ClientSession, engine: FakeEngine, lost: Script
) -> None:
    engine.completes = first(1, lost)
    async with client.post(CHAT, json=ask()) as answer:
        assert answer.status == 200
    assert asked(engine) == 2


async def test_an_engine_that_starts_meanwhile_answers(start: Start, engine: FakeEngine) -> None:
    client = await start()
    async with client.get("/v1/models"):
        pass
    await engine.stop()
    request = asyncio.create_task(client.post(CHAT, json=ask()))
    await metric_reaches(client, 1.0, "hearth_engine_retries_total", "engine_unavailable")
    await engine.start(engine.port)
    async with await request as answer:
        assert answer.status == 200


async def test_it_has_an_end_and_the_last_error_is_the_client_s(start: Start, engine: FakeEngine) -> None:
    engine.completes = unavailable
    client = await start(engine_retries=2)
    async with client.post(CHAT, json=ask()) as answer:
        assert (answer.status, (await error_of(answer))["message"]) == (503, "no workers")
    assert asked(engine) == 3


async def test_it_has_an_end_in_time(start: Start, engine: FakeEngine) -> None:
    engine.completes = reset
    client = await start(engine_retries=100, retry_seconds=0.1)
    async with client.post(CHAT, json=ask()) as answer:
        assert answer.status == 503
    assert 1 < asked(engine) < 5


async def test_none_is_none(start: Start, engine: FakeEngine) -> None:
    engine.completes = reset
    client = await start(engine_retries=0)
    async with client.post(CHAT, json=ask()) as answer:
        assert answer.status == 503
    assert asked(engine) == 1


@pytest.mark.parametrize("status", [400, 404, 429, 500, 504])
async def test_what_the_engine_answered_is_not_asked_again(
    client: aiohttp.ClientSession, engine: FakeEngine, status: int
) -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.answer(b'{"error": {"message": "no", "type": "x", "param": null, "code": "c"}}', status)

    engine.completes = refuses
    async with client.post(CHAT, json=ask()) as answer:
        assert answer.status == status
    assert asked(engine) == 1


async def test_what_takes_too_long_is_not_asked_again(start: Start, engine: FakeEngine) -> None:
    async def never(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    engine.completes = never
    client = await start(engine_timeout=0.1)
    async with client.post(CHAT, json=ask()) as answer:
        assert answer.status == 504
    assert asked(engine) == 1


@pytest.mark.parametrize("politely", [False, True])
async def test_after_the_first_byte_an_error_event_with_the_request_s_id_follows_instead(
    client: aiohttp.ClientSession, engine: FakeEngine, politely: bool
) -> None:
    async def cuts(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.chunk(EVENTS[0] + EVENTS[1][:20])
        await asyncio.sleep(0.05)
        if politely:
            await exchange.end_stream()
        else:
            exchange.cut()

    engine.completes = cuts
    async with client.post(CHAT, json=ask(stream=True), headers={"x-request-id": "r-7"}) as answer:
        received = await answer.read()
    assert received.startswith(EVENTS[0])
    error = json.loads(received.removeprefix(EVENTS[0]).strip().removeprefix(b"data: "))["error"]
    assert (error["code"], error["request_id"]) == ("engine_broken", "r-7")
    assert received.endswith(b"\n\n")
    assert asked(engine) == 1


async def test_a_client_that_leaves_between_two_attempts_ends_them(start: Start, engine: FakeEngine) -> None:
    engine.completes = reset
    client = await start(engine_retries=100, retry_seconds=600)
    request = asyncio.create_task(client.post(CHAT, json=ask()))
    await metric_reaches(client, 3.0, "hearth_engine_retries_total")
    request.cancel()
    await metric_reaches(client, 1.0, "hearth_requests_total", CHAT, 'status="499"')
    before = asked(engine)
    await asyncio.sleep(1.2)  # longer than any pause
    assert asked(engine) == before
    await metric_reaches(client, 0.0, "hearth_engine_in_flight")


class TestToolLoop:
    """Each round is a request of its own to the engine, and what a tool did is not done again."""

    OURS: dict[str, Any] = {"type": "mcp", "server_label": "t"}  # noqa: RUF012

    async def told(self, exchange: Exchange) -> None:
        await exchange.start_stream()
        call = {"id": "c", "type": "function", "function": {"name": "t_add", "arguments": '{"a": 2, "b": 3}'}}
        last = exchange.body["messages"][-1]["role"]
        if last == "user":
            await exchange.chunk(event({"tool_calls": [{"index": 0} | call]}) + event({}, "tool_calls"))
        else:
            await exchange.chunk(event({"content": "It is 5."}) + event({}, "stop"))
        await exchange.chunk(b"data: [DONE]\n\n")
        await exchange.end_stream()

    @pytest.mark.parametrize("path", [CHAT, "/v1/responses"])
    async def test_a_round_that_is_lost_is_asked_again(self, chat: Chat, engine: FakeEngine, path: str) -> None:  # noqa: F811
        client = await chat()
        rounds: list[str] = []

        async def loses_each_once(exchange: Exchange) -> None:
            if exchange.path != CHAT:
                await exchange.answer(b'{"count": 1}')
                return
            rounds.append(exchange.body["messages"][-1]["role"])
            if rounds.count(rounds[-1]) == 1:
                exchange.cut()
            await self.told(exchange)

        engine.completes = loses_each_once
        body = {"messages": [{"role": "user", "content": "2 + 3?"}]} if path == CHAT else {"input": "2 + 3?"}
        async with client.post(
            path, json=body | {"model": "hearth-tiny", "tools": [self.OURS], "stream": True}
        ) as answer:
            assert answer.status == 200
            assert b"It is 5." in await answer.read()
        assert rounds == ["user", "user", "tool", "tool"]
        async with client.get("/metrics") as answer:
            assert 'hearth_tool_calls_total{outcome="ok",server="t",tool="t_add"} 1.0' in await answer.text()

    @pytest.mark.parametrize("path", [CHAT, "/v1/responses"])
    async def test_a_round_that_was_heard_is_not(self, chat: Chat, engine: FakeEngine, path: str) -> None:  # noqa: F811
        client = await chat()

        async def cuts(exchange: Exchange) -> None:
            await exchange.start_stream()
            await exchange.chunk(event({"role": "assistant", "content": "It"}))
            await asyncio.sleep(0.05)
            exchange.cut()

        engine.completes = cuts
        body = {"messages": [{"role": "user", "content": "2 + 3?"}]} if path == CHAT else {"input": "2 + 3?"}
        body |= {"model": "hearth-tiny", "tools": [self.OURS], "stream": True}
        async with client.post(path, json=body, headers={"x-request-id": "r-8"}) as answer:
            received = await answer.text()
        last = json.loads(received.strip().split("data: ")[-1])
        error = last["error"] if path == CHAT else last["response"]["error"]
        assert "broke off" in error["message"]
        assert "r-8" in (error["request_id"] if path == CHAT else error["message"])
        assert asked(engine) == 1
