"""What a client does below HTTP: bytes on a socket that are not quite a request, or several, or come too slowly."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import pytest
from tests.integration.gateway.conftest import CHAT, Start, ask, metric_reaches
from tests.integration.gateway.fake_engine import Exchange, FakeEngine, completion

from hearth_gateway.connection import LARGEST_HEAD

BODY = json.dumps(ask()).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
LENGTH = b"content-length: %d\r\n" % len(BODY)
CHUNKED = b"transfer-encoding: chunked\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
WHOLE = HEAD + LENGTH + b"\r\n" + BODY
SMUGGLED = HEAD.replace(b"chat/", b"") + b'content-length: 14\r\n\r\n{"prompt":"x"}'
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@dataclass
class Wire:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def heard(self) -> bytes:
        """All that comes until the gateway closes."""
        data = b""
        async with asyncio.timeout(60):
            try:
                while piece := await self.reader.read(2**16):
                    data += piece
            except ConnectionResetError:
                pass  # closed with bytes of ours unread
        return data

    async def says(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await self.heard()

    async def hears(self, mark: bytes) -> bytes:
        async with asyncio.timeout(60):
            return await self.reader.readuntil(mark)


Connect = Callable[[aiohttp.ClientSession], Awaitable[Wire]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    wires: list[Wire] = []

    async def connect(client: aiohttp.ClientSession) -> Wire:
        async with client.get("/healthz") as answer:
            assert answer.url.port
            wires.append(Wire(*await asyncio.open_connection("127.0.0.1", answer.url.port)))
        return wires[-1]

    yield connect
    for wire in wires:
        wire.writer.close()


def asked(engine: FakeEngine) -> list[str]:
    return [exchange.path for exchange in engine.exchanges if exchange.method == "POST"]


def statuses(heard: bytes) -> list[int]:
    return [int(status) for status in _STATUS.findall(heard)]


class TestSmuggling:
    """What two servers could read as one request or as two."""

    @pytest.mark.parametrize(
        "data",
        [
            HEAD + LENGTH + CHUNKED + b"\r\n" + CHUNKS,
            HEAD + CHUNKED + b"content-length: 4\r\n\r\n" + CHUNKS,
            HEAD + LENGTH + b"content-length: 5\r\n\r\n" + BODY,
            HEAD + LENGTH + LENGTH + b"\r\n" + BODY,
            HEAD + b"content-length: %d, %d\r\n\r\n" % (len(BODY), len(BODY)) + BODY,
            HEAD + b"content-length: +%d\r\n\r\n" % len(BODY) + BODY,
            HEAD + b"content-length: -1\r\n\r\n" + BODY,
            HEAD + b"content-length: 0x%x\r\n\r\n" % len(BODY) + BODY,
            HEAD + b"content-length: 1 2\r\n\r\n" + BODY,
            HEAD + b"content-length : %d\r\n\r\n" % len(BODY) + BODY,
            HEAD + b"content-length: 18446744073709551617\r\n\r\n" + BODY,
            HEAD + b"transfer-encoding: xchunked\r\n" + LENGTH + b"\r\n" + BODY,
            HEAD + b"transfer-encoding: xchunked\r\n\r\n" + CHUNKS,
            HEAD + b"transfer-encoding: chunked, identity\r\n\r\n" + CHUNKS,
            HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n" + CHUNKS,
            HEAD + b"transfer-encoding : chunked\r\n\r\n" + CHUNKS,
            HEAD + b"transfer-encoding: \x0bchunked\r\n" + LENGTH + b"\r\n" + BODY,
            HEAD + b"transfer-encoding:\r\n chunked\r\n\r\n" + CHUNKS,
            HEAD + CHUNKED + b"transfer-encoding: identity\r\n\r\n" + CHUNKS,
            HEAD + b"x-a: 1\r\n transfer-encoding: chunked\r\n" + LENGTH + b"\r\n" + BODY,
            HEAD + b"x-a: b\ntransfer-encoding: chunked\r\n" + LENGTH + b"\r\n" + BODY,
            HEAD + b"x-a: b\rtransfer-encoding: chunked\r\n" + LENGTH + b"\r\n" + BODY,
            (HEAD + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + BODY,
            HEAD + CHUNKED + b"\r\n%x;a\nb\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
            HEAD + CHUNKED + b"\r\n%x \r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
            HEAD + CHUNKED + b"\r\n0x%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
            HEAD + CHUNKED + b"\r\n-1\r\n%s\r\n0\r\n\r\n" % BODY,
            HEAD + CHUNKED + b"\r\n1%016x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
            HEAD + CHUNKED + b"\r\n%x\n%s\n0\n\n" % (len(BODY), BODY),
            HEAD + CHUNKED + b"\r\n%x\r\n%s0\r\n\r\n" % (len(BODY), BODY),
            HEAD + b"x-a: \x00\r\n" + LENGTH + b"\r\n" + BODY,
            HEAD + b"no colon\r\n" + LENGTH + b"\r\n" + BODY,
            HEAD + b": no name\r\n" + LENGTH + b"\r\n" + BODY,
            b" " + WHOLE,
            b"GET /healthz\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"CONNECT engine:8000 HTTP/1.1\r\nhost: x\r\n\r\n",
            HEAD.replace(b"1.1", b"1.2") + LENGTH + b"\r\n" + BODY,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ],
    )
    async def test_an_unclear_request_is_refused_and_the_connection_closed(
        self, client: aiohttp.ClientSession, engine: FakeEngine, connect: Connect, data: bytes
    ) -> None:
        heard = await (await connect(client)).says(data + SMUGGLED)
        assert len(statuses(heard)) <= 1  # none where the answer was lost to bytes that nobody read
        assert set(statuses(heard)) <= {400, 501}
        if heard:
            assert json.loads(heard.partition(b"\r\n\r\n")[2])["error"]["code"]
        assert asked(engine) == []

    @pytest.mark.parametrize("extension", [b"", b";a=b", b';a="b"'])
    async def test_a_clear_one_and_the_next_are_two(
        self, client: aiohttp.ClientSession, engine: FakeEngine, connect: Connect, extension: bytes
    ) -> None:
        first = HEAD + CHUNKED + b"\r\n%x%s\r\n%s\r\n0\r\n\r\n" % (len(BODY), extension, BODY)
        heard = await (await connect(client)).says(first + WHOLE.replace(b"host", b"connection: close\r\nhost"))
        assert statuses(heard) == [200, 200]
        assert asked(engine) == [CHAT, CHAT]

    async def test_nothing_is_read_after_the_last_request_of_a_connection(
        self, client: aiohttp.ClientSession, engine: FakeEngine, connect: Connect
    ) -> None:
        heard = await (await connect(client)).says(WHOLE.replace(b"host", b"connection: close\r\nhost") + SMUGGLED)
        assert statuses(heard) == [200]
        assert asked(engine) == [CHAT]

    async def test_a_body_that_a_path_does_not_want_is_no_request(
        self, client: aiohttp.ClientSession, engine: FakeEngine, connect: Connect
    ) -> None:
        head = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(SMUGGLED)
        assert statuses(await (await connect(client)).says(head + SMUGGLED)) == [200]
        assert asked(engine) == []

    async def test_a_trailer_is_no_header(
        self, client: aiohttp.ClientSession, engine: FakeEngine, connect: Connect
    ) -> None:
        """An intermediary has checked the headers before it saw any trailer."""
        trailers = (
            b"x-session-id: evil\r\nx-request-id: evil\r\ncontent-type: text/plain\r\nauthorization: Bearer x\r\n"
        )
        body = b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(BODY), BODY, trailers)
        heard = await (await connect(client)).says(HEAD + CHUNKED + b"connection: close\r\n\r\n" + body)
        assert statuses(heard) == [200]
        (exchange,) = (exchange for exchange in engine.exchanges if exchange.method == "POST")
        assert exchange.headers["x-session-id"] != "evil"
        assert exchange.headers["x-request-id"] != "evil"

    async def test_named_by_connection_the_length_still_counts(
        self, client: aiohttp.ClientSession, engine: FakeEngine, connect: Connect
    ) -> None:
        hop = b"connection: content-length, content-type, x-request-id, close\r\n"
        assert statuses(await (await connect(client)).says(HEAD + hop + LENGTH + b"\r\n" + BODY)) == [200]
        assert asked(engine) == [CHAT]

    async def test_an_upgrade_is_not_followed(
        self, client: aiohttp.ClientSession, engine: FakeEngine, connect: Connect
    ) -> None:
        """The parser reads no further after one: its body would be lost, and what follows be read by nobody."""
        upgrade = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
        refused = await (await connect(client)).says(HEAD + upgrade + LENGTH + b"\r\n" + BODY + SMUGGLED)
        assert b"unsupported_upgrade" in refused
        plain = await (await connect(client)).says(
            b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + upgrade + b"\r\n" + SMUGGLED
        )
        assert statuses(plain) == [200]
        assert b"connection: close" in plain
        assert asked(engine) == []


class TestTargets:
    @pytest.mark.parametrize(
        ("target", "status"),
        [
            (b"http://engine:8000/tokenize", 404), (b"HTTP://engine/v1/../tokenize", 404), (b"//tokenize", 404),
            (b"/v1/../tokenize", 404), (b"/v1/%2e%2e/tokenize", 404), (b"/v1/%252e%252e/tokenize", 404),
            (b"/v1/..%2ftokenize", 404), (b"/v1/..%5ctokenize", 404), (b"/v1/chat/completions/..;/tokenize", 404),
            (b"/v1/chat/completions;/../../tokenize", 404), (b"/v1/chat/completions%2f..%2f..%2ftokenize", 404),
            (b"/V1/CHAT/COMPLETIONS", 404), (b"/v1/chat/completions%00", 404), (b"/v1/chat/completions%20", 404),
            (b"/v1/chat/completions/", 404), (b"/./v1/chat/completions", 404), (b"/v1/chat//completions", 404),
            (b"/v1/models/%2e%2e/%2e%2e/tokenize", 405), (b"/v1/responses/..%2f..%2ftokenize", 404),
            (b"/v1/chat/completions%0d%0ax-a: b", 400), (b"/v1/\xff", 400), (b"/v1/\x00", 400), (b"tokenize", 400),
            (b"*", 404),
        ],
    )  # fmt: skip
    async def test_no_way_of_writing_a_target_leads_past_the_list(
        self, client: aiohttp.ClientSession, engine: FakeEngine, connect: Connect, target: bytes, status: int
    ) -> None:
        head = HEAD.replace(b"/v1/chat/completions", target) + b"connection: close\r\n"
        assert statuses(await (await connect(client)).says(head + LENGTH + b"\r\n" + BODY)) == [status]
        assert asked(engine) == []

    async def test_a_query_and_a_fragment_change_nothing(
        self, client: aiohttp.ClientSession, engine: FakeEngine, connect: Connect
    ) -> None:
        head = HEAD.replace(b"completions", b"completions?n=100&path=/tokenize#/tokenize") + b"connection: close\r\n"
        assert statuses(await (await connect(client)).says(head + LENGTH + b"\r\n" + BODY)) == [200]
        assert asked(engine) == [CHAT]


class TestHeaders:
    @pytest.mark.parametrize("value", [b"a b", b"a\tb", b"\xe4\xf6", b"x" * 300, b"", b"a\x7fb"])
    @pytest.mark.parametrize("name", [b"x-session-id", b"x-request-id"])
    async def test_an_odd_id_does_not_reach_the_engine(
        self, client: aiohttp.ClientSession, engine: FakeEngine, connect: Connect, name: bytes, value: bytes
    ) -> None:
        head = HEAD + LENGTH + b"connection: close\r\n%s: %s\r\n\r\n" % (name, value)
        heard = await (await connect(client)).says(head + BODY)
        if value == b"a\x7fb":
            assert statuses(heard) in ([200], [400])
        else:
            assert statuses(heard) == [200]
        for exchange in engine.exchanges:
            assert exchange.headers.get(name.decode()) != value.decode("latin-1")

    async def test_a_good_one_does(self, client: aiohttp.ClientSession, engine: FakeEngine, connect: Connect) -> None:
        await (await connect(client)).says(
            HEAD + LENGTH + b"connection: close\r\nx-session-id: s.1:a\r\nx-request-id: r.1\r\n\r\n" + BODY
        )
        assert (engine.asked.headers["x-session-id"], engine.asked.headers["x-request-id"]) == ("s.1:a", "r.1")

    @pytest.mark.parametrize(
        "name",
        [b"host", b"cookie", b"authorization", b"x-forwarded-for", b"forwarded", b"proxy-authorization", b"traceparent",
         b"x-api-key", b"accept-encoding", b"expect", b"te", b"x-http-method-override", b"x-original-url"],
    )  # fmt: skip
    async def test_no_other_header_reaches_the_engine(
        self, client: aiohttp.ClientSession, engine: FakeEngine, connect: Connect, name: bytes
    ) -> None:
        await (await connect(client)).says(
            HEAD + LENGTH + b"connection: close\r\n%s: sent-by-client\r\n\r\n" % name + BODY
        )
        assert "sent-by-client" not in engine.asked.headers.values()

    @pytest.mark.parametrize("name", ["a\r\nset-cookie: x=1\r\n\r\n<script>", "\u2028\x00", "x" * 30_000])
    async def test_what_an_error_repeats_splits_no_answer(self, client: aiohttp.ClientSession, name: str) -> None:
        async with client.post(CHAT, json=ask(model=name)) as answer:
            assert answer.status == 404
            assert answer.content_type == "application/json"
            assert repr(name) in (await answer.json())["error"]["message"]
            assert "set-cookie" not in answer.headers
        async with client.post(CHAT, json=ask(tools=[{"type": "mcp", "server_label": name}])) as answer:
            assert "set-cookie" not in answer.headers

    async def test_a_head_up_to_the_limit_passes_and_a_larger_one_is_431(
        self, client: aiohttp.ClientSession, engine: FakeEngine, connect: Connect
    ) -> None:
        for size, status in ((LARGEST_HEAD - 1000, 200), (LARGEST_HEAD + 1, 431), (20 * LARGEST_HEAD, 431)):
            for filler in (b"x-a: %s\r\n" % (b"a" * size), b"a: b\r\n" * (size // 6)):
                wire = await connect(client)
                heard = await wire.says(HEAD + b"connection: close\r\n" + filler + LENGTH + b"\r\n" + BODY)
                assert statuses(heard) in ([status], [] if status == 431 else [status])
        assert len(asked(engine)) == 2

    async def test_a_head_without_an_end_is_431(self, client: aiohttp.ClientSession, connect: Connect) -> None:
        wire = await connect(client)

        async def goes_on() -> None:
            wire.writer.write(HEAD)
            for _ in range(100 * LARGEST_HEAD // 6000):
                wire.writer.write(b"a: b\r\n" * 1000)
                await wire.writer.drain()
                await asyncio.sleep(0)

        with pytest.raises(ConnectionError):
            await goes_on()


class TestSlow:
    """Times are short here, and nothing is asserted of how long anything took: only that it ends."""

    @pytest.mark.parametrize(
        ("begin", "byte"),
        [(b"POST /v1/chat/", b"a"), (HEAD, b"x-a: b\r\n"), (HEAD + LENGTH + b"\r\n", b"{"),
         (HEAD + CHUNKED + b"\r\n", b"1\r\n{\r\n"), (WHOLE + HEAD, b"x-a: b\r\n")],
    )  # fmt: skip
    async def test_a_request_that_does_not_get_on_is_408(
        self, start: Start, engine: FakeEngine, connect: Connect, begin: bytes, byte: bytes
    ) -> None:
        client = await start(request_timeout=0.3)
        wire = await connect(client)
        wire.writer.write(begin)
        hearing = asyncio.create_task(wire.heard())
        while not hearing.done():
            wire.writer.write(byte)
            await asyncio.sleep(0.02)
        answered = begin.startswith(WHOLE)
        assert statuses(await hearing) == ([200, 408] if answered else [408])
        assert b"request_timeout" in await hearing
        assert len(asked(engine)) == answered
        await metric_reaches(client, 1.0, "hearth_in_flight")  # this one

    async def test_a_connection_that_says_nothing_is_closed_without_a_word(
        self, start: Start, connect: Connect
    ) -> None:
        assert await (await connect(await start(request_timeout=0.2))).heard() == b""

    async def test_slow_bodies_give_their_room_back(self, start: Start, connect: Connect) -> None:
        """A chunked body has the room of the largest: these two have all there is."""
        client = await start(request_timeout=2, max_body_bytes=2048, max_bodies_bytes=4096)
        wires = [await connect(client) for _ in range(2)]
        for wire in wires:
            wire.writer.write(HEAD + CHUNKED + b"\r\n")
        await metric_reaches(client, 4096.0, "hearth_request_body_bytes")
        async with client.post(CHAT, json=ask()) as answer:
            assert answer.status == 429
        for wire in wires:
            assert statuses(await wire.heard()) == [408]
        async with client.post(CHAT, json=ask()) as answer:
            assert answer.status == 200

    async def test_an_engine_that_takes_longer_is_waited_for(
        self, start: Start, engine: FakeEngine, connect: Connect
    ) -> None:
        async def slow(exchange: Exchange) -> None:
            await asyncio.sleep(0.5)
            await exchange.answer(completion())

        engine.completes = slow
        wire = await connect(await start(request_timeout=0.2))
        wire.writer.write(WHOLE + WHOLE)  # the second waits for its turn: that is not the client's fault
        for _ in range(2):
            assert b"200 OK" in await wire.hears(b"\r\n\r\n")
            await wire.hears(b"}")

    async def test_a_refused_body_is_not_read_for_ever(self, start: Start, connect: Connect) -> None:
        wire = await connect(await start(request_timeout=0.3, max_body_bytes=1024))
        wire.writer.write(HEAD + b"content-length: 100000000\r\n\r\n")
        assert b"413" in await wire.hears(b"\r\n\r\n")
        hearing = asyncio.create_task(wire.heard())
        while not hearing.done():
            wire.writer.write(b"x" * 100)
            await asyncio.sleep(0.02)
        assert b"HTTP/1.1" not in await hearing or statuses(await hearing) == [408]


class TestFloods:
    async def test_pipelined_requests_are_answered_one_after_the_other_in_their_order(
        self, client: aiohttp.ClientSession, engine: FakeEngine, connect: Connect
    ) -> None:
        working = most = 0

        async def repeats(exchange: Exchange) -> None:
            nonlocal working, most
            working += 1
            most = max(most, working)
            await asyncio.sleep(0.001)
            working -= 1
            await exchange.answer(completion(exchange.body["messages"][0]["content"]))

        engine.completes = repeats
        count, data = 300, b""
        for number in range(count):
            body = json.dumps(ask(messages=[{"role": "user", "content": f"number {number}."}])).encode()
            last = b"connection: close\r\n" if number == count - 1 else b""
            data += HEAD + last + b"content-length: %d\r\n\r\n" % len(body) + body
        heard = await (await connect(client)).says(data)
        assert statuses(heard) == [200] * count
        assert re.findall(rb"number (\d+)\.", heard) == [b"%d" % number for number in range(count)]
        assert most == 1

    async def test_garbage_does_not_land_in_an_answer_that_is_under_way(
        self, client: aiohttp.ClientSession, engine: FakeEngine, connect: Connect
    ) -> None:
        """Whoever reads the answer would take the error for a part of it."""
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def waits(exchange: Exchange) -> None:
            begun.set()
            await go_on.wait()
            await exchange.answer(completion())

        engine.completes = waits
        wire = await connect(client)
        wire.writer.write(WHOLE)
        await begun.wait()
        wire.writer.write(b"\x00\x01 garbage\r\n\r\n")
        assert await wire.heard() == b""
        await asyncio.wait_for(engine.asked.aborted.wait(), 60)
        go_on.set()

    async def test_others_are_served_while_many_connections_wait(
        self, client: aiohttp.ClientSession, connect: Connect
    ) -> None:
        wires = [await connect(client) for _ in range(200)]
        for wire in wires:
            wire.writer.write(HEAD + LENGTH)
        async with client.post(CHAT, json=ask()) as answer:
            assert answer.status == 200
