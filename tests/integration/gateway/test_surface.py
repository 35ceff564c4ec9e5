"""Everything around the relay: paths, limits, keys, the catalog, readiness, metrics."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.integration.gateway.conftest import CHAT, Start, ask, error_of, metric_reaches
from tests.integration.gateway.fake_engine import CONTEXT, EVENTS, NAMES, Exchange, FakeEngine

from hearth_gateway.auth import issue


class TestPaths:
    @pytest.mark.parametrize(
        "path",
        ["/", "/v1", "/responses", "/v1/responses/", "/v1/embeddings", "/tokenize", "/detokenize", "/pause",
         "/metrics/", "/v1/chat/completions/", "/invocations", "/update_weights", "/v1/load_lora_adapter", "/health",
         "/version", "/docs", "/openapi.json", "/v1/chat/completions/../../tokenize", "/v1//chat/completions"],
    )  # fmt: skip
    async def test_what_is_not_listed_is_404_and_never_reaches_the_engine(
        self, client: aiohttp.ClientSession, engine: FakeEngine, path: str
    ) -> None:
        async with client.post(path, json=ask()) as answer:
            assert answer.status in (404, 405)
            await error_of(answer)
        assert engine.exchanges == []

    async def test_the_wrong_method_is_405_and_says_which_is_right(self, client: aiohttp.ClientSession) -> None:
        async with client.get(CHAT) as answer:
            assert (answer.status, answer.headers["allow"]) == (405, "POST")
            assert (await error_of(answer))["code"] == "method_not_allowed"

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
    async def test_a_body_that_a_web_page_could_send_unasked_is_415(
        self, client: aiohttp.ClientSession, kind: str
    ) -> None:
        async with client.post(CHAT, data=json.dumps(ask()).encode(), headers={"content-type": kind}) as answer:
            assert answer.status == 415
            await error_of(answer)

    async def test_a_bad_request_is_400_and_names_the_parameter(
        self, client: aiohttp.ClientSession, engine: FakeEngine
    ) -> None:
        async with client.post(CHAT, json=ask(n=1000)) as answer:
            assert (answer.status, (await error_of(answer))["param"]) == (400, "n")
        assert not any(exchange.method == "POST" for exchange in engine.exchanges)

    async def test_a_web_page_may_call_only_when_its_origin_is_listed(self, start: Start) -> None:
        client = await start(cors_origins=["https://chat.example"])
        for origin, allowed in (("https://chat.example", "https://chat.example"), ("https://evil.example", None)):
            async with client.get("/healthz", headers={"origin": origin}) as answer:
                assert answer.headers.get("access-control-allow-origin") == allowed

    async def test_a_page_that_claims_to_be_from_here_is_refused(self, start: Start, engine: FakeEngine) -> None:
        """Its name was made to mean 127.0.0.1: for its browser it is the gateway's own page, and nothing is asked."""
        client = await start(cors_origins=["https://chat.example"])
        for origin, status in (
            ("http://evil.example:8080", 403),
            ("https://chat.example", 200),
            ("", 200),
            ("null", 200),
        ):
            headers = {"origin": origin, "host": "evil.example:8080"} if origin else {}
            async with client.post(CHAT, json=ask(), headers=headers) as answer:
                assert answer.status == status
                if status == 403:
                    assert (await error_of(answer))["code"] == "origin_not_allowed"
                    assert engine.exchanges == []
        anybody = await start(cors_origins=["*"])
        async with anybody.post(CHAT, json=ask(), headers={"origin": "http://evil.example"}) as answer:
            assert answer.status == 200


class TestBodySize:
    LIMIT = 2048

    @pytest.fixture
    async def limited(self, start: Start) -> aiohttp.ClientSession:
        return await start(max_body_bytes=self.LIMIT)

    def body(self, size: int) -> bytes:
        frame = len(json.dumps(ask(messages=[{"role": "user", "content": ""}])))
        return json.dumps(ask(messages=[{"role": "user", "content": "x" * (size - frame)}])).encode()

    async def post(self, client: aiohttp.ClientSession, data: Any) -> aiohttp.ClientResponse:
        return await client.post(CHAT, data=data, headers={"content-type": "application/json"})

    async def pieces(self, body: bytes) -> AsyncIterator[bytes]:
        for begin in range(0, len(body), 512):
            yield body[begin : begin + 512]

    @pytest.mark.parametrize("chunked", [False, True])
    async def test_up_to_the_limit_passes(self, limited: aiohttp.ClientSession, chunked: bool) -> None:
        body = self.body(self.LIMIT)
        async with await self.post(limited, self.pieces(body) if chunked else body) as answer:
            assert answer.status == 200

    @pytest.mark.parametrize("chunked", [False, True])
    @pytest.mark.parametrize("size", [LIMIT + 1, 50 * LIMIT])
    async def test_beyond_it_is_413(
        self, limited: aiohttp.ClientSession, engine: FakeEngine, chunked: bool, size: int
    ) -> None:
        body = self.body(size)
        async with await self.post(limited, self.pieces(body) if chunked else body) as answer:
            assert answer.status == 413
            assert "2048" in (await error_of(answer))["message"]
        assert engine.exchanges == []


def remove(file: Path, name: str) -> None:
    """What an administrator does with an editor."""
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith(name)))


class TestKeys:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "keys"

    def bearer(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    async def test_with_a_key_file_only_known_keys_may_ask(self, start: Start, engine: FakeEngine, file: Path) -> None:
        keys = [issue(file, "alice"), issue(file, "bob")]
        client = await start(api_keys_file=file)
        for key in keys:
            async with client.post(CHAT, json=ask(), headers=self.bearer(key)) as answer:
                assert answer.status == 200
        asked = len(engine.exchanges)
        for headers in ({}, self.bearer("wrong"), self.bearer(""), {"authorization": f"Basic {keys[0]}"},
                        self.bearer(keys[0] + "x"), self.bearer(keys[0][:-1])):  # fmt: skip
            async with client.post(CHAT, json=ask(), headers=headers) as answer:
                assert answer.status == 401
                assert answer.headers["www-authenticate"] == "Bearer"
                assert (await error_of(answer))["code"] == "invalid_api_key"
        assert len(engine.exchanges) == asked

    async def test_unknown_paths_need_a_key_and_probes_do_not(self, start: Start, file: Path) -> None:
        issue(file, "alice")
        client = await start(api_keys_file=file)
        for path, status in (("/healthz", 200), ("/readyz", 200), ("/metrics", 401), ("/v1/models", 401), ("/x", 401)):
            async with client.get(path) as answer:
                assert (path, answer.status) == (path, status)

    async def test_who_has_a_key_may_ask_from_any_page(self, start: Start, file: Path) -> None:
        headers = self.bearer(issue(file, "alice")) | {"origin": "http://any.example"}
        client = await start(api_keys_file=file)
        async with client.post(CHAT, json=ask(), headers=headers) as answer:
            assert answer.status == 200

    async def test_metrics_may_be_public(self, start: Start, file: Path) -> None:
        issue(file, "alice")
        client = await start(api_keys_file=file, metrics_public=True)
        async with client.get("/metrics") as answer:
            assert answer.status == 200

    async def test_a_new_key_works_at_once_and_a_removed_one_no_more(self, start: Start, file: Path) -> None:
        alice = issue(file, "alice")
        client = await start(api_keys_file=file)
        bob = issue(file, "bob")
        async with client.get("/v1/models", headers=self.bearer(bob)) as answer:
            assert answer.status == 200
        remove(file, "alice")
        async with client.get("/v1/models", headers=self.bearer(alice)) as answer:
            assert answer.status == 401

    @pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_text("half a line")])
    async def test_a_file_that_breaks_leaves_the_last_keys_in_force(
        self, start: Start, file: Path, damage: Callable[[Path], Any]
    ) -> None:
        alice = issue(file, "alice")
        client = await start(api_keys_file=file)
        damage(file)
        for key, status in ((alice, 200), ("wrong", 401)):
            async with client.get("/v1/models", headers=self.bearer(key)) as answer:
                assert answer.status == status

    async def test_an_empty_file_lets_nobody_in(self, start: Start, file: Path) -> None:
        issue(file, "alice")
        remove(file, "alice")
        client = await start(api_keys_file=file)
        async with client.get("/v1/models", headers=self.bearer("")) as answer:
            assert answer.status == 401

    async def test_neither_keys_nor_prompts_nor_answers_are_logged(
        self, start: Start, engine: FakeEngine, file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def fails(exchange: Exchange) -> None:
            await exchange.send(b"HTTP/9.9 an answer\r\n\r\n")

        engine.completes = fails
        caplog.set_level("DEBUG", "hearth_gateway")
        key = issue(file, "alice")
        client = await start(api_keys_file=file)
        for headers in (self.bearer(key), self.bearer("wrong-key")):
            async with client.post(CHAT, json=ask(messages=[{"role": "user", "content": "a secret"}]), headers=headers):
                pass
        assert caplog.text  # the failure itself is
        assert not any(word in caplog.text for word in (key, "wrong-key", "a secret", "an answer"))


class TestModels:
    async def test_each_name_is_listed_and_the_weights_path_is_not(self, client: aiohttp.ClientSession) -> None:
        async with client.get("/v1/models") as answer:
            body = await answer.json()
        assert [card["id"] for card in body["data"]] == list(NAMES)
        assert body["object"] == "list"
        assert body["data"][0]["max_model_len"] == CONTEXT
        assert "secret-path" not in json.dumps(body)

    async def test_one_model_can_be_retrieved(self, client: aiohttp.ClientSession) -> None:
        async with client.get(f"/v1/models/{NAMES[1]}") as answer:
            assert (await answer.json())["id"] == NAMES[1]
        async with client.get("/v1/models/org/unknown") as answer:
            assert (answer.status, (await error_of(answer))["code"]) == (404, "model_not_found")

    async def test_the_list_is_asked_once_for_many_requests(
        self, client: aiohttp.ClientSession, engine: FakeEngine
    ) -> None:
        await asyncio.gather(*(client.post(CHAT, json=ask()) for _ in range(8)))
        assert len([exchange for exchange in engine.exchanges if exchange.method == "GET"]) == 1

    @pytest.mark.parametrize("body", [b'{"object":"list","data":[]}', b"garbage", b'{"data": [5]}', b"[]"])
    async def test_an_engine_that_lists_nothing_decides_itself(
        self, client: aiohttp.ClientSession, engine: FakeEngine, body: bytes
    ) -> None:
        async def lists(exchange: Exchange) -> None:
            await exchange.answer(body)

        engine.lists = lists
        async with client.post(CHAT, json=ask(model="mock-0", max_tokens=65_535)) as answer:
            assert answer.status == 200
        assert engine.asked.body["model"] == "mock-0"
        async with client.get("/v1/models") as answer:
            assert (await answer.json())["data"] == []

    @pytest.mark.parametrize("status", [500, 503])
    async def test_an_engine_that_cannot_tell_yet_is_503(
        self, client: aiohttp.ClientSession, engine: FakeEngine, status: int
    ) -> None:
        async def starting(exchange: Exchange) -> None:
            await exchange.answer(b"starting", status)

        told, engine.lists = engine.lists, starting
        async with client.post(CHAT, json=ask()) as answer:
            assert (answer.status, (await error_of(answer))["code"]) == (503, "engine_unavailable")
        engine.lists = told
        async with client.post(CHAT, json=ask()) as answer:
            assert answer.status == 200

    async def test_an_old_list_is_better_than_none(
        self, client: aiohttp.ClientSession, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hearth_gateway.engine._CATALOG_AGE", 0.0)

        async def fails(exchange: Exchange) -> None:
            exchange.cut()

        for lists in (engine.lists, fails):
            engine.lists = lists
            async with client.get("/v1/models") as answer:
                assert len((await answer.json())["data"]) == len(NAMES)


class TestReadiness:
    async def probe(self, client: aiohttp.ClientSession) -> tuple[int, dict[str, str]]:
        async with client.get("/readyz") as answer:
            return answer.status, await answer.json()

    async def test_a_fresh_gateway_asks_the_engine_for_a_token(
        self, client: aiohttp.ClientSession, engine: FakeEngine
    ) -> None:
        assert await self.probe(client) == (200, {"status": "ready"})
        assert engine.asked.path == "/v1/completions"
        assert engine.asked.body == {"prompt": "1", "max_tokens": 1, "model": NAMES[0]}

    @pytest.mark.parametrize("stream", [False, True])
    async def test_an_answered_request_is_proof_enough(
        self, client: aiohttp.ClientSession, engine: FakeEngine, stream: bool
    ) -> None:
        async with client.post(CHAT, json=ask(stream=stream)) as answer:
            await answer.read()
        asked = len(engine.exchanges)
        assert (await self.probe(client))[0] == 200
        assert len(engine.exchanges) == asked

    async def test_an_engine_whose_stream_is_an_error_is_no_proof(
        self, client: aiohttp.ClientSession, engine: FakeEngine
    ) -> None:
        async def dies(exchange: Exchange) -> None:
            if not exchange.body.get("stream"):
                await exchange.answer(b'{"error": {"message": "dead"}}', 500)
                return
            await exchange.start_stream()
            await exchange.chunk(b'data: {"error": {"message": "EngineCore died"}}\n\ndata: [DONE]\n\n')
            await exchange.end_stream()

        engine.completes = dies
        async with client.post(CHAT, json=ask(stream=True)) as answer:
            await answer.read()
        assert (await self.probe(client))[0] == 503

    async def test_it_flips_when_the_engine_hangs_and_back_when_it_works_again(
        self, start: Start, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hearth_gateway.engine._PROBE_PAUSE", 0.0)
        client = await start(ready_within=0.05, ready_timeout=0.1)
        assert (await self.probe(client))[0] == 200
        healthy = engine.completes

        async def hangs(exchange: Exchange) -> None:
            await asyncio.Event().wait()

        engine.completes = hangs
        await asyncio.sleep(0.06)
        status, body = await self.probe(client)
        assert (status, body["status"]) == (503, "not ready")
        assert "did not answer in time" in body["reason"]
        engine.completes = healthy
        assert (await self.probe(client))[0] == 200

    async def test_a_lost_engine_is_noticed_at_once(self, client: aiohttp.ClientSession, engine: FakeEngine) -> None:
        assert (await self.probe(client))[0] == 200
        await engine.stop()
        async with client.post(CHAT, json=ask()) as answer:
            assert answer.status == 503
        status, body = await self.probe(client)
        assert status == 503
        assert "not reachable" in body["reason"]

    @pytest.mark.parametrize("body", [b"{}", b"garbage", b'{"usage": {"completion_tokens": 0}}', b"[]"])
    async def test_an_answer_without_a_token_is_no_proof(
        self, client: aiohttp.ClientSession, engine: FakeEngine, body: bytes
    ) -> None:
        async def empty(exchange: Exchange) -> None:
            await exchange.answer(body)

        engine.completes = empty
        async with client.post(CHAT, json=ask()) as answer:
            assert await answer.read() == body
        assert (await self.probe(client))[0] == 503

    async def test_many_probes_cost_the_engine_one(self, client: aiohttp.ClientSession, engine: FakeEngine) -> None:
        async def fails(exchange: Exchange) -> None:
            await exchange.answer(b"{}", 500)

        engine.completes = fails
        answers = await asyncio.gather(*(self.probe(client) for _ in range(10)))
        assert {status for status, _ in answers} == {503}
        assert len([exchange for exchange in engine.exchanges if exchange.method == "POST"]) == 1

    async def test_the_gateway_is_alive_whatever_the_engine_does(self, start: Start, free_port: int) -> None:
        client = await start(engine_url=f"http://127.0.0.1:{free_port}")
        async with client.get("/healthz") as answer:
            assert answer.status == 200


class TestMetrics:
    async def test_requests_by_route_and_status(self, client: aiohttp.ClientSession) -> None:
        await client.post(CHAT, json=ask())
        await client.post(CHAT, json=ask(n=1000))
        await client.get("/nowhere/1")
        await client.get("/nowhere/2")
        await metric_reaches(client, 1.0, "hearth_requests_total", CHAT, '"200"')
        await metric_reaches(client, 1.0, "hearth_requests_total", CHAT, '"400"')
        await metric_reaches(client, 2.0, "hearth_requests_total", 'route="other"', '"404"')

    async def test_what_is_one_of_many_is_counted_by_its_kind(self, client: aiohttp.ClientSession) -> None:
        for path in (f"/v1/models/{NAMES[0]}", f"/v1/models/{NAMES[1]}", "/v1/models/a/b", "/v1/responses/none"):
            await client.get(path)
        await metric_reaches(client, 2.0, "hearth_requests_total", 'route="/v1/models/{name}"', '"200"')
        await metric_reaches(client, 1.0, "hearth_requests_total", 'route="/v1/responses/{id}"', '"404"')
        await metric_reaches(client, 1.0, "hearth_requests_total", 'route="other"', '"404"')

    async def test_seconds_by_route(self, client: aiohttp.ClientSession) -> None:
        await client.post(CHAT, json=ask())
        await client.get("/nowhere/1")
        await metric_reaches(client, 1.0, "hearth_request_seconds_count", CHAT)
        await metric_reaches(client, 1.0, "hearth_request_seconds_count", 'route="other"')

    async def test_time_to_first_token(self, client: aiohttp.ClientSession) -> None:
        async with client.post(CHAT, json=ask(stream=True)) as answer:
            await answer.read()
        await metric_reaches(client, 1.0, "hearth_time_to_first_token_seconds_count", CHAT)

    @pytest.mark.parametrize("stream", [False, True])
    async def test_tokens_that_the_engine_reports(self, client: aiohttp.ClientSession, stream: bool) -> None:
        async with client.post(CHAT, json=ask(stream=stream)) as answer:
            await answer.read()
        await metric_reaches(client, 3.0, "hearth_generated_tokens_total")

    async def test_requests_in_flight(self, client: aiohttp.ClientSession, engine: FakeEngine) -> None:
        async def endless(exchange: Exchange) -> None:
            await exchange.start_stream()
            await exchange.chunk(EVENTS[0])
            await asyncio.Event().wait()

        engine.completes = endless
        async with client.post(CHAT, json=ask(stream=True)) as answer:
            await answer.content.readany()
            await metric_reaches(client, 2.0, "hearth_in_flight")  # the other is this one
            answer.close()
        await metric_reaches(client, 1.0, "hearth_in_flight")

    async def test_failed_exchanges_with_the_engine(self, start: Start, free_port: int) -> None:
        client = await start(engine_url=f"http://127.0.0.1:{free_port}")
        await client.post(CHAT, json=ask())
        await metric_reaches(client, 1.0, "hearth_engine_errors_total", "engine_unavailable")


async def test_an_error_of_the_gateway_itself_is_500_in_shape(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> bytes:
        raise RuntimeError("a bug, with details")

    monkeypatch.setattr("hearth_gateway.relay.clean", broken)
    client = await start()
    async with client.post(CHAT, json=ask()) as answer:
        assert answer.status == 500
        error = await error_of(answer)
        assert "details" not in json.dumps(error)
        assert answer.headers["x-request-id"] in caplog.text
    await metric_reaches(client, 1.0, "hearth_requests_total", CHAT, '"500"')
