"""Many clients at once: who waits, who is sent away, and that no place is kept by one who is gone or does not read."""

import asyncio
import json
import os
import random
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from tests.integration.gateway.conftest import CHAT, Start, ask, error_of, metric_reaches, origin
from tests.integration.gateway.fake_engine import EVENTS, Exchange, FakeEngine, completion

from hearth_gateway.auth import issue


class Door:
    """A script of the engine: answers wait until they are let go."""

    def __init__(self) -> None:
        self.asked: list[Exchange] = []
        self.busiest = self.busy = 0
        self.open = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        self.asked.append(exchange)
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            if exchange.body.get("stream"):
                await exchange.start_stream()
                await exchange.chunk(EVENTS[1])
                await self.open.wait()
                await exchange.chunk(EVENTS[-1])
                await exchange.end_stream()
            else:
                await self.open.wait()
                await exchange.answer(completion())
        finally:
            self.busy -= 1


@pytest.fixture
def door(engine: FakeEngine) -> Door:
    engine.completes = door = Door()
    return door


async def post(client: aiohttp.ClientSession, **more: Any) -> int:
    async with client.post(CHAT, **({"json": ask()} | more)) as answer:
        await answer.read()
        return answer.status


class TestAdmission:
    @pytest.mark.parametrize("stream", [False, True])
    async def test_the_engine_is_asked_so_many_at_once_and_the_others_wait(
        self, start: Start, door: Door, stream: bool
    ) -> None:
        """A stream keeps its place until its end, not until its first byte."""
        client = await start(max_in_flight=2)
        tasks = [asyncio.create_task(post(client, json=ask(stream=stream))) for _ in range(7)]
        await metric_reaches(client, 5.0, "hearth_queued")
        await metric_reaches(client, 2.0, "hearth_engine_in_flight")
        door.open.set()
        assert await asyncio.gather(*tasks) == [200] * 7
        assert (len(door.asked), door.busiest) == (7, 2)
        await metric_reaches(client, 0.0, "hearth_engine_in_flight")
        await metric_reaches(client, 5.0, "hearth_queue_seconds_count")

    async def test_beyond_the_queue_it_is_429_and_the_openai_client_tries_again(self, start: Start, door: Door) -> None:
        client = await start(max_in_flight=1, max_queued=1)
        tasks = [asyncio.create_task(post(client)) for _ in range(2)]
        await metric_reaches(client, 1.0, "hearth_queued")
        async with client.post(CHAT, json=ask()) as answer:
            assert answer.status == 429
            assert int(answer.headers["retry-after"]) >= 1
            assert (await error_of(answer))["type"] == "rate_limit_error"
        await metric_reaches(client, 1.0, "hearth_refused_requests_total", "queue_full")
        async with openai.AsyncOpenAI(base_url=f"{await origin(client)}/v1", api_key="x", max_retries=1) as sdk:
            question = [{"role": "user", "content": "hi"}]
            retried = asyncio.create_task(sdk.chat.completions.create(model="hearth-tiny", messages=question))
            await metric_reaches(client, 2.0, "hearth_refused_requests_total", "queue_full")
            door.open.set()
            assert (await retried).choices[0].message.content
        assert await asyncio.gather(*tasks) == [200, 200]

    async def test_who_waits_too_long_gets_503(self, start: Start, door: Door) -> None:
        client = await start(max_in_flight=1, queue_timeout=0.05)
        first = asyncio.create_task(post(client))
        await metric_reaches(client, 1.0, "hearth_engine_in_flight")
        async with client.post(CHAT, json=ask()) as answer:
            assert (answer.status, (await error_of(answer))["code"]) == (503, "queue_timeout")
        door.open.set()
        assert await first == 200
        assert len(door.asked) == 1

    async def test_a_client_that_leaves_the_queue_is_never_asked_for(self, start: Start, door: Door) -> None:
        client = await start(max_in_flight=1)
        names = ("first", "leaves", "stays")
        tasks = {}
        for waiting, name in enumerate(names):
            body = ask(messages=[{"role": "user", "content": name}])
            tasks[name] = asyncio.create_task(post(client, json=body))
            await metric_reaches(client, float(waiting), "hearth_queued")
            await metric_reaches(client, 1.0, "hearth_engine_in_flight")
        tasks["leaves"].cancel()
        await metric_reaches(client, 1.0, "hearth_queued")
        await metric_reaches(client, 1.0, "hearth_requests_total", CHAT, 'status="499"')
        door.open.set()
        assert [await tasks[name] for name in ("first", "stays")] == [200, 200]
        assert [exchange.body["messages"][0]["content"] for exchange in door.asked] == ["first", "stays"]

    async def test_a_request_that_is_refused_anyway_takes_no_place(self, start: Start, door: Door) -> None:
        client = await start(max_in_flight=1, max_queued=0, requests_per_minute=1)
        for _ in range(3):
            assert await post(client, json=ask(n=1000)) == 400
        door.open.set()
        assert await post(client) == 200

    async def test_an_engine_that_fails_gives_the_place_back(self, start: Start, engine: FakeEngine) -> None:
        async def fails(exchange: Exchange) -> None:
            if exchange.body.get("stream"):
                await exchange.start_stream()
                await exchange.chunk(EVENTS[0])
            exchange.cut()

        engine.completes = fails
        client = await start(max_in_flight=1, max_queued=0)
        for stream in (False, True, False, True):
            assert await post(client, json=ask(stream=stream)) == (200 if stream else 503)

    async def test_clients_that_come_and_go_leave_nothing_behind(self, start: Start, engine: FakeEngine) -> None:
        chance = random.Random(4)

        async def streams(exchange: Exchange) -> None:
            await exchange.start_stream()
            for event in EVENTS:
                await exchange.chunk(event)
                await asyncio.sleep(chance.choice([0, 0.001, 0.01]))
                if chance.random() < 0.02:
                    exchange.cut()
            await exchange.end_stream()

        engine.completes = streams
        client = await start(max_in_flight=8, max_queued=16)

        async def visit() -> str:
            async with client.post(CHAT, json=ask(stream=True)) as answer:
                if answer.status == 429:
                    return "refused"
                received = b""
                while chunk := await answer.content.readany():
                    received += chunk
                    if chance.random() < 0.05:
                        answer.close()
                        return "left"
                assert answer.status != 200 or received.endswith(EVENTS[-1]) or b'data: {"error"' in received
                return "whole" if received.endswith(EVENTS[-1]) else "broken"

        async def impatient() -> str:
            try:
                return await asyncio.wait_for(visit(), chance.choice([0.01, 0.1, 30, 30, 30]))
            except TimeoutError:
                return "left"

        tasks = []
        for _ in range(400):
            tasks.append(asyncio.create_task(impatient()))
            await asyncio.sleep(chance.choice([0, 0, 0.002]))
        ends = Counter(await asyncio.gather(*tasks))
        assert min(ends["whole"], ends["left"], ends["refused"]) > 0, ends
        await metric_reaches(client, 0.0, "hearth_engine_in_flight")
        await metric_reaches(client, 0.0, "hearth_queued")
        await metric_reaches(client, 1.0, "hearth_in_flight")  # the request for these metrics
        engine.completes = Door()
        engine.completes.open.set()
        assert [await post(client) for _ in range(9)] == [200] * 9


class TestBodies:
    """All that wait together have so much memory for what they asked."""

    async def test_beyond_the_room_for_bodies_it_is_429_until_one_is_answered(self, start: Start, door: Door) -> None:
        client = await start(max_in_flight=1, max_bodies_bytes=100_000)
        large = ask(messages=[{"role": "user", "content": "x" * 60_000}])
        running, waiting = (asyncio.create_task(post(client, json=body)) for body in (large, ask()))
        await metric_reaches(client, 1.0, "hearth_queued")
        async with client.post(CHAT, json=large) as answer:
            assert (answer.status, (await error_of(answer))["code"]) == (429, "bodies_full")
            assert int(answer.headers["retry-after"]) >= 1
        await metric_reaches(client, 1.0, "hearth_refused_requests_total", "bodies_full")
        door.open.set()
        assert await asyncio.gather(running, waiting) == [200, 200]
        await metric_reaches(client, 0.0, "hearth_request_body_bytes")
        assert await post(client, json=large) == 200

    async def test_one_alone_always_passes(self, start: Start, engine: FakeEngine) -> None:
        client = await start(max_bodies_bytes=1024)
        assert await post(client, json=ask(messages=[{"role": "user", "content": "x" * 60_000}])) == 200

    async def test_one_that_does_not_tell_its_length_counts_as_the_largest_and_who_leaves_gives_it_back(
        self, start: Start, engine: FakeEngine
    ) -> None:
        client = await start(max_body_bytes=10_000, max_bodies_bytes=12_000)
        begun, never = asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield b'{"model": '
            begun.set()
            await never.wait()

        headers = {"content-type": "application/json"}
        sending = asyncio.create_task(client.post(CHAT, data=slowly(), headers=headers))
        await begun.wait()
        await metric_reaches(client, 10_000.0, "hearth_request_body_bytes")
        assert await post(client, json=ask(messages=[{"role": "user", "content": "x" * 3000}])) == 429
        assert await post(client) == 200
        sending.cancel()
        await metric_reaches(client, 0.0, "hearth_request_body_bytes")

    async def test_what_nobody_reads_takes_no_room(self, start: Start, engine: FakeEngine, tmp_path: Path) -> None:
        keys = tmp_path / "keys"
        issue(keys, "ann")
        client = await start(api_keys_file=keys, max_bodies_bytes=1024, metrics_public=True)
        assert await post(client, json=ask(messages=[{"role": "user", "content": "x" * 3000}])) == 401
        await metric_reaches(client, 0.0, "hearth_request_body_bytes")


class TestKeys:
    async def test_a_key_that_floods_does_not_keep_another_waiting(
        self, start: Start, door: Door, tmp_path: Path
    ) -> None:
        file = tmp_path / "keys"
        headers = {name: {"authorization": f"Bearer {issue(file, name)}"} for name in ("greedy", "modest")}
        client = await start(max_in_flight=1, api_keys_file=file, metrics_public=True)

        async def send(name: str) -> None:
            body = ask(messages=[{"role": "user", "content": name}])
            assert await post(client, json=body, headers=headers[name]) == 200

        tasks = [asyncio.create_task(send("greedy")) for _ in range(10)]
        await metric_reaches(client, 9.0, "hearth_queued")
        tasks.append(asyncio.create_task(send("modest")))
        await metric_reaches(client, 10.0, "hearth_queued")
        door.open.set()
        await asyncio.gather(*tasks)
        order = [exchange.body["messages"][0]["content"] for exchange in door.asked]
        assert order.index("modest") <= 2

    async def test_requests_a_minute_are_each_keys_own(self, start: Start, engine: FakeEngine, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        alice, bob = ({"authorization": f"Bearer {issue(file, name)}"} for name in ("alice", "bob"))
        client = await start(requests_per_minute=2, api_keys_file=file)
        assert [await post(client, headers=alice) for _ in range(3)] == [200, 200, 429]
        assert await post(client, headers=bob) == 200

    @pytest.mark.parametrize("stream", [False, True])
    async def test_tokens_a_minute_count_what_the_answer_tells(
        self, start: Start, engine: FakeEngine, stream: bool
    ) -> None:
        client = await start(tokens_per_minute=23)  # an answer of the fake engine is 12
        statuses = [await post(client, json=ask(stream=stream)) for _ in range(3)]
        assert statuses == [200, 200, 429]

    async def test_a_stream_that_does_not_tell_is_counted_by_its_events(self, start: Start, engine: FakeEngine) -> None:
        async def silent(exchange: Exchange) -> None:
            await exchange.start_stream()
            for _ in range(500):
                await exchange.chunk(EVENTS[1])
            await exchange.end_stream()

        engine.completes = silent
        client = await start(tokens_per_minute=500)
        assert await post(client, json=ask(stream=True)) == 200
        async with client.post(CHAT, json=ask()) as answer:
            assert answer.status == 429
            assert "500 tokens a minute" in (await error_of(answer))["message"]


async def test_the_batch_window_lets_a_burst_through_together(start: Start, engine: FakeEngine, door: Door) -> None:
    client = await start(batch_window_ms=300)
    await client.get("/v1/models")  # so that asking for the catalog is not what holds them
    tasks = [asyncio.create_task(post(client)) for _ in range(3)]
    await metric_reaches(client, 3.0, "hearth_engine_in_flight")
    assert door.asked == []
    door.open.set()
    assert await asyncio.gather(*tasks) == [200] * 3


class TestClientsThatDoNotRead:
    @pytest.fixture
    async def gateway(self, engine: FakeEngine, free_port: int, tmp_path: Path) -> AsyncIterator[str]:
        """A process of its own: what closes such connections belongs to the listening socket."""
        tools = tmp_path / "hearth.tools.yaml"
        tools.write_text("servers: {t: {command: [/no/such/program]}}")
        settings = {"HEARTH_ENGINE_URL": engine.url, "HEARTH_PORT": str(free_port), "HEARTH_CLIENT_TIMEOUT": "1",
                    "HEARTH_TOOLS_FILE": str(tools)}  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from hearth_gateway.cli import main; main()", "serve", env=os.environ | settings
        )
        url = f"http://127.0.0.1:{free_port}"
        try:
            async with aiohttp.ClientSession() as session, asyncio.timeout(120):
                while True:
                    try:
                        async with session.get(f"{url}/healthz"):
                            break
                    except aiohttp.ClientConnectionError:
                        await asyncio.sleep(0.05)
            yield url
        finally:
            process.terminate()
            await process.wait()

    @pytest.mark.parametrize("more", [{}, {"tools": [{"type": "mcp", "server_label": "t"}]}], ids=["", "with tools"])
    async def test_one_that_takes_nothing_loses_its_place_and_a_slow_one_gets_everything(
        self, gateway: str, engine: FakeEngine, more: dict[str, Any]
    ) -> None:
        cut_off = asyncio.Event()

        async def pours(exchange: Exchange) -> None:
            await exchange.start_stream()
            try:
                while exchange.headers["x-request-id"] == "asleep":
                    await exchange.chunk(EVENTS[1] * 500)
            except ConnectionError:
                cut_off.set()
                raise
            for _ in range(400):
                await exchange.chunk(EVENTS[1] * 500)
            await exchange.chunk(EVENTS[-1])
            await exchange.end_stream()

        engine.completes = pours
        loop = asyncio.get_running_loop()
        asleep = socket.socket()
        asleep.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        asleep.setblocking(False)
        host, port = gateway.removeprefix("http://").split(":")
        await loop.sock_connect(asleep, (host, int(port)))
        body = json.dumps(ask(stream=True) | more).encode()
        await loop.sock_sendall(
            asleep,
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"x-request-id: asleep\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body),
        )
        await asyncio.wait_for(engine.was_asked.wait(), 10)
        async with aiohttp.ClientSession(gateway, read_bufsize=4096) as client:
            async with client.post(CHAT, json=ask(stream=True) | more, headers={"x-request-id": "slow"}) as answer:
                events, last = 0, b""
                async for chunk in answer.content.iter_chunked(500_000):
                    events, last = events + (last + chunk).count(EVENTS[1]), (last + chunk)[-len(EVENTS[1]) + 1 :]
                    await asyncio.sleep(0.05)
                assert last.endswith(EVENTS[-1])
                assert events == 400 * 500
            await asyncio.wait_for(cut_off.wait(), 30)
            await metric_reaches(client, 0.0, "hearth_engine_in_flight")
            await metric_reaches(client, 1.0, "hearth_requests_total", CHAT, 'status="499"')
        asleep.close()
