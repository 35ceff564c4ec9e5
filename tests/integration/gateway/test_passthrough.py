"""What comes out of the engine reaches the client byte by byte; what goes in is what the gateway let through."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from tests.integration.gateway.conftest import CHAT, ask, error_of, metric_reaches
from tests.integration.gateway.fake_engine import CONTEXT, EVENTS, Exchange, FakeEngine, completion

CLIENTS = {path.stem: path.read_bytes() for path in (Path(__file__).parents[2] / "fixtures/clients").glob("*.json")}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("stream", [False, True])
async def test_bytes_pass_untouched(client: aiohttp.ClientSession, engine: FakeEngine, path: str, stream: bool) -> None:
    question = {"messages": [{"role": "user", "content": "hi"}]} if "chat" in path else {"prompt": "hi"}
    async with client.post(path, json=question | {"stream": stream}) as answer:
        assert answer.status == 200
        assert await answer.read() == (b"".join(EVENTS) if stream else completion())
        expected = "text/event-stream; charset=utf-8" if stream else "application/json"
        assert answer.headers["content-type"] == expected
    assert engine.asked.path == path


async def test_a_stream_arrives_while_the_engine_still_writes(
    client: aiohttp.ClientSession, engine: FakeEngine
) -> None:
    arrived = asyncio.Event()

    async def waits_for_the_client(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.chunk(EVENTS[0])
        await arrived.wait()
        await exchange.chunk(EVENTS[-1])
        await exchange.end_stream()

    engine.completes = waits_for_the_client
    async with asyncio.timeout(5), client.post(CHAT, json=ask(stream=True)) as answer:
        assert await answer.content.readany() == EVENTS[0]
        arrived.set()
        assert await answer.content.read() == EVENTS[-1]


async def test_events_torn_apart_by_the_network_are_put_together(
    client: aiohttp.ClientSession, engine: FakeEngine
) -> None:
    async def byte_by_byte(exchange: Exchange) -> None:
        await exchange.start_stream()
        for byte in b"".join(EVENTS):
            await exchange.chunk(bytes([byte]))
        await exchange.end_stream()

    engine.completes = byte_by_byte
    async with client.post(CHAT, json=ask(stream=True)) as answer:
        assert await answer.read() == b"".join(EVENTS)


@pytest.mark.parametrize("after", [b"", b"0\r\n\r\n"], ids=["end comes by itself", "end comes with it"])
async def test_a_stream_that_comes_in_one_piece(
    client: aiohttp.ClientSession, engine: FakeEngine, after: bytes
) -> None:
    async def at_once(exchange: Exchange) -> None:
        data = b"".join(EVENTS)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        await exchange.send(head + b"%x\r\n%s\r\n" % (len(data), data) + after)
        if not after:
            await exchange.end_stream()

    engine.completes = at_once
    for asked in (1, 2):
        async with client.post(CHAT, json=ask(stream=True)) as answer:
            assert await answer.read() == b"".join(EVENTS)
        await metric_reaches(client, float(asked), "hearth_time_to_first_token_seconds_count", CHAT)
        await metric_reaches(client, 3.0 * asked, "hearth_generated_tokens_total")


async def test_what_comes_after_the_end_is_no_end(client: aiohttp.ClientSession, engine: FakeEngine) -> None:
    async def babbles(exchange: Exchange) -> None:
        data = b"".join(EVENTS) + b"and more"
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        await exchange.send(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))

    engine.completes = babbles
    async with client.post(CHAT, json=ask(stream=True)) as answer:
        received = await answer.read()
    assert received.startswith(b"".join(EVENTS))
    assert b"engine_broken" in received


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b""], ids=["crlf", "lf", "none"])
async def test_any_line_ending_passes(client: aiohttp.ClientSession, engine: FakeEngine, end: bytes) -> None:
    async def speaks(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.chunk(b"data: [DONE]" + end)
        await exchange.end_stream()

    engine.completes = speaks
    async with client.post(CHAT, json=ask(stream=True)) as answer:
        assert await answer.read() == b"data: [DONE]" + end


async def test_garbage_that_claims_to_be_json_passes_too(client: aiohttp.ClientSession, engine: FakeEngine) -> None:
    async def garbage(exchange: Exchange) -> None:
        await exchange.answer(b"\x00\xff not json")

    engine.completes = garbage
    async with client.post(CHAT, json=ask()) as answer:
        assert (answer.status, await answer.read()) == (200, b"\x00\xff not json")


@pytest.mark.parametrize("name", sorted(CLIENTS))
async def test_real_clients(client: aiohttp.ClientSession, engine: FakeEngine, name: str) -> None:
    headers = {"content-type": "application/json", "authorization": "Bearer x", "x-stainless-timeout": "600"}
    given = json.loads(CLIENTS[name])
    async with client.post(CHAT, data=CLIENTS[name], headers=headers) as answer:
        if name == "ui-tars-step":
            assert answer.status == 400
            assert "this model reads text only" in (await error_of(answer))["message"]
            return
        assert answer.status == 200
        assert (await answer.read()).endswith(b"[DONE]\n\n" if given.get("stream") else b"}")
    assert engine.asked.body["messages"] == given["messages"]
    assert engine.asked.body.get("max_tokens", 0) <= CONTEXT
    assert not engine.asked.body.keys() & {"thinking", "stop_sequences"}


class TestHeaders:
    async def test_the_engine_sees_no_header_of_the_client_but_the_listed_ones(
        self, client: aiohttp.ClientSession, engine: FakeEngine
    ) -> None:
        sent = {"authorization": "Bearer secret", "cookie": "a=b", "x-request-id": "r-1", "x-session-id": "s-1",
                "accept-encoding": "gzip, br", "x-forwarded-for": "1.2.3.4"}  # fmt: skip
        async with client.post(CHAT, json=ask(), headers=sent):
            pass
        assert engine.asked.headers.keys() == {"host", "content-type", "content-length", "x-request-id", "x-session-id"}
        assert engine.asked.headers["x-request-id"] == "r-1"
        assert engine.asked.headers["x-session-id"] == "s-1"

    async def test_hop_by_hop_headers_end_at_the_gateway(
        self, client: aiohttp.ClientSession, engine: FakeEngine
    ) -> None:
        async def chatty(exchange: Exchange) -> None:
            more = "connection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nserver: uvicorn\r\nx-kept: 1\r\n"
            await exchange.answer(b"{}", more=more)

        engine.completes = chatty
        async with client.post(CHAT, json=ask()) as answer:
            assert answer.headers["x-kept"] == "1"
            assert not {"x-hop", "keep-alive", "connection", "server"} & {name.lower() for name in answer.headers}
            assert len(answer.headers.getall("date")) == 1

    async def test_connections_to_the_engine_are_reused(
        self, client: aiohttp.ClientSession, engine: FakeEngine
    ) -> None:
        for stream in (False, True, False, True):
            async with client.post(CHAT, json=ask(stream=stream)) as answer:
                await answer.read()
        assert engine.connections == 1


class TestRequestId:
    async def test_the_clients_own_comes_back(self, client: aiohttp.ClientSession) -> None:
        async with client.get("/healthz", headers={"x-request-id": "mine-1"}) as answer:
            assert answer.headers["x-request-id"] == "mine-1"

    @pytest.mark.parametrize("given", [None, "", "has space", "x" * 129, "ü"])
    async def test_one_is_made_where_none_or_an_odd_one_was_given(
        self, client: aiohttp.ClientSession, engine: FakeEngine, given: str | None
    ) -> None:
        headers = {} if given is None else {"x-request-id": given}
        async with client.post(CHAT, json=ask(), headers=headers) as answer:
            made = answer.headers["x-request-id"]
        assert len(made) == 32
        assert engine.asked.headers["x-request-id"] == made

    async def test_errors_have_one_too(self, client: aiohttp.ClientSession) -> None:
        async with client.get("/nowhere", headers={"x-request-id": "mine-1"}) as answer:
            assert answer.headers.getall("x-request-id") == ["mine-1"]
