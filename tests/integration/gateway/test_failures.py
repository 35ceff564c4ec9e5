"""When the engine fails, the client gets an error that it can parse, and knows whether to try again."""

import asyncio
import json

import aiohttp
import openai
import pytest
from tests.integration.gateway.conftest import CHAT, Start, ask, error_of, metric_reaches, origin
from tests.integration.gateway.fake_engine import EVENTS, Exchange, FakeEngine


async def test_an_engine_that_is_down_is_503_with_retry_after(start: Start, free_port: int) -> None:
    client = await start(engine_url=f"http://127.0.0.1:{free_port}")
    for request in (client.post(CHAT, json=ask()), client.get("/v1/models")):
        async with request as answer:
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) > 0
            assert (await error_of(answer))["code"] == "engine_unavailable"


async def test_an_engine_that_goes_down_is_503_too_and_back_when_it_is(
    client: aiohttp.ClientSession, engine: FakeEngine
) -> None:
    async with client.post(CHAT, json=ask()) as answer:
        assert answer.status == 200
    await engine.stop()
    async with client.post(CHAT, json=ask()) as answer:
        assert (answer.status, (await error_of(answer))["code"]) == (503, "engine_unavailable")
    await engine.start(engine.port)
    async with client.post(CHAT, json=ask()) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_connection_lost_before_the_answer_is_503(
    client: aiohttp.ClientSession, engine: FakeEngine, stream: bool
) -> None:
    async def hangs_up(exchange: Exchange) -> None:
        exchange.cut()

    engine.completes = hangs_up
    async with client.post(CHAT, json=ask(stream=stream)) as answer:
        assert answer.status == 503
        assert "retry-after" in answer.headers
        await error_of(answer)


async def test_an_engine_that_never_answers_is_504(start: Start, engine: FakeEngine) -> None:
    async def never(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    engine.completes = never
    client = await start(engine_timeout=0.1)
    async with client.post(CHAT, json=ask()) as answer:
        assert (answer.status, (await error_of(answer))["code"]) == (504, "engine_timeout")
    await asyncio.wait_for(engine.asked.aborted.wait(), 5)


@pytest.mark.parametrize("noise", [b"\x16\x03\x01 this is not HTTP\r\n\r\n", b"HTTP/9.9 what\r\n\r\n"])
async def test_what_is_not_http_is_502(client: aiohttp.ClientSession, engine: FakeEngine, noise: bytes) -> None:
    async def babbles(exchange: Exchange) -> None:
        await exchange.send(noise)

    engine.completes = babbles
    async with client.post(CHAT, json=ask()) as answer:
        assert (answer.status, (await error_of(answer))["code"]) == (502, "engine_broken")


async def test_a_whole_answer_that_breaks_off_is_502(client: aiohttp.ClientSession, engine: FakeEngine) -> None:
    async def breaks_off(exchange: Exchange) -> None:
        await exchange.send(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"id":')
        exchange.writer.close()
        await asyncio.Event().wait()

    engine.completes = breaks_off
    async with client.post(CHAT, json=ask()) as answer:
        assert (answer.status, (await error_of(answer))["code"]) == (502, "engine_broken")


class TestErrorsOfTheEngine:
    async def test_in_the_right_shape_they_pass_untouched(
        self, client: aiohttp.ClientSession, engine: FakeEngine
    ) -> None:
        body = b'{"error": {"message": "too long",  "type": "BadRequestError", "param": null, "code": 400}}'

        async def refuses(exchange: Exchange) -> None:
            await exchange.answer(body, 400)

        engine.completes = refuses
        async with client.post(CHAT, json=ask(stream=True)) as answer:
            assert (answer.status, await answer.read()) == (400, body)

    @pytest.mark.parametrize("body", [b"<h1>Traceback: secret.py</h1>", b'{"detail": "x"}', b'{"error": "x"}', b"[]"])
    @pytest.mark.parametrize("status", [500, 503, 404])
    async def test_in_another_shape_they_are_replaced(
        self, client: aiohttp.ClientSession, engine: FakeEngine, body: bytes, status: int
    ) -> None:
        async def fails(exchange: Exchange) -> None:
            await exchange.answer(body, status, "text/html")

        engine.completes = fails
        async with client.post(CHAT, json=ask()) as answer:
            assert answer.status == status
            assert (await error_of(answer))["message"] == f"The engine answered {status}."


class TestStreamsThatBreak:
    async def cut_after(self, client: aiohttp.ClientSession, engine: FakeEngine, *pieces: bytes) -> bytes:
        async def cuts(exchange: Exchange) -> None:
            await exchange.start_stream()
            for piece in pieces:
                await exchange.chunk(piece)
            await asyncio.sleep(0.05)  # let them be read: an abort discards what is on its way
            exchange.cut()

        engine.completes = cuts
        async with client.post(CHAT, json=ask(stream=True)) as answer:
            assert answer.status == 200
            return await answer.read()

    def error_in(self, event: bytes) -> dict[str, object]:
        assert event.startswith(b"data: ")
        error: dict[str, object] = json.loads(event[6:])["error"]
        assert error.keys() == {"message", "type", "param", "code", "request_id"}
        return error

    async def test_between_events_an_error_event_follows(
        self, client: aiohttp.ClientSession, engine: FakeEngine
    ) -> None:
        received = await self.cut_after(client, engine, *EVENTS[:3])
        assert received.startswith(b"".join(EVENTS[:3]))
        assert self.error_in(received.removeprefix(b"".join(EVENTS[:3])).strip())["code"]

    async def test_within_an_event_the_client_does_not_see_the_torn_one(
        self, client: aiohttp.ClientSession, engine: FakeEngine
    ) -> None:
        received = await self.cut_after(client, engine, EVENTS[0] + EVENTS[1][:20])
        *whole, last = [event for event in received.split(b"\n\n") if event.strip()]
        assert whole == [EVENTS[0].strip()]
        assert self.error_in(last.strip())["code"]

    async def test_before_the_first_event_the_status_says_so(
        self, client: aiohttp.ClientSession, engine: FakeEngine
    ) -> None:
        """The head waits for the first bytes, so this failure is one that clients know to retry."""

        async def cuts(exchange: Exchange) -> None:
            await exchange.start_stream()
            await asyncio.sleep(0.05)
            exchange.cut()

        engine.completes = cuts
        async with client.post(CHAT, json=ask(stream=True)) as answer:
            assert answer.status == 502
            assert (await error_of(answer))["code"] == "engine_broken"

    async def test_the_openai_client_raises_what_the_event_says(
        self, client: aiohttp.ClientSession, engine: FakeEngine
    ) -> None:
        async def cuts(exchange: Exchange) -> None:
            await exchange.start_stream()
            await exchange.chunk(EVENTS[1])
            await asyncio.sleep(0.05)
            exchange.cut()

        engine.completes = cuts
        async with openai.AsyncOpenAI(base_url=f"{await origin(client)}/v1", api_key="x", max_retries=0) as sdk:
            stream = await sdk.chat.completions.create(
                model="hearth-tiny", messages=[{"role": "user", "content": "hi"}], stream=True
            )
            with pytest.raises(openai.APIError, match="engine"):
                async for _ in stream:
                    pass

    async def test_a_stream_that_stalls_ends_with_a_timeout_event(self, start: Start, engine: FakeEngine) -> None:
        async def stalls(exchange: Exchange) -> None:
            await exchange.start_stream()
            await exchange.chunk(EVENTS[0])
            await asyncio.Event().wait()

        engine.completes = stalls
        client = await start(engine_timeout=0.1)
        async with client.post(CHAT, json=ask(stream=True)) as answer:
            received = await answer.read()
        assert received.startswith(EVENTS[0])
        assert self.error_in(received.removeprefix(EVENTS[0]).strip())["code"] == "engine_timeout"
        await asyncio.wait_for(engine.asked.aborted.wait(), 5)

    async def test_a_stream_that_pauses_is_not_cut_however_long_it_takes_in_all(
        self, start: Start, engine: FakeEngine
    ) -> None:
        async def pauses(exchange: Exchange) -> None:
            await exchange.start_stream()
            for data in EVENTS:
                await asyncio.sleep(0.3)
                await exchange.chunk(data)
            await exchange.end_stream()

        engine.completes = pauses
        client = await start(engine_timeout=1)
        async with client.post(CHAT, json=ask(stream=True)) as answer:
            assert await answer.read() == b"".join(EVENTS)


class TestCancellation:
    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_client_that_leaves_cancels_the_engines_work(
        self, client: aiohttp.ClientSession, engine: FakeEngine, stream: bool
    ) -> None:
        async def endless(exchange: Exchange) -> None:
            if not stream:
                await asyncio.Event().wait()
            await exchange.start_stream()
            while True:
                await exchange.chunk(EVENTS[1])
                await asyncio.sleep(0.01)

        engine.completes = endless
        request = asyncio.create_task(client.post(CHAT, json=ask(stream=stream)))
        if stream:
            answer = await request
            await answer.content.readany()
            answer.close()
        else:
            await engine.was_asked.wait()
            request.cancel()
        await asyncio.wait_for(engine.asked.aborted.wait(), 5)
        await metric_reaches(client, 1.0, "hearth_requests_total", CHAT, 'status="499"')

    async def test_a_client_that_leaves_while_the_engine_is_silent_mid_stream(
        self, client: aiohttp.ClientSession, engine: FakeEngine
    ) -> None:
        async def falls_silent(exchange: Exchange) -> None:
            await exchange.start_stream()
            await exchange.chunk(EVENTS[0])
            await asyncio.Event().wait()

        engine.completes = falls_silent
        async with client.post(CHAT, json=ask(stream=True)) as answer:
            await answer.content.readany()
            answer.close()
        await asyncio.wait_for(engine.asked.aborted.wait(), 5)

    async def test_others_are_not_disturbed(self, client: aiohttp.ClientSession, engine: FakeEngine) -> None:
        async def slow(exchange: Exchange) -> None:
            await asyncio.sleep(0.2)
            await exchange.answer(b'{"ok": 1}')

        engine.completes = slow
        leaving = asyncio.create_task(client.post(CHAT, json=ask()))
        staying = asyncio.create_task(client.post(CHAT, json=ask()))
        await asyncio.sleep(0.1)
        leaving.cancel()
        async with await staying as answer:
            assert await answer.json() == {"ok": 1}
