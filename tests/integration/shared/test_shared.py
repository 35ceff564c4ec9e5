"""Limits, approvals, responses and carried turns hold across gateways; without Redis each goes on by itself."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.integration.chat.conftest import Chat, Model, said
from tests.integration.gateway.conftest import CHAT, Start, ask, error_of, metric_reaches
from tests.integration.gateway.fake_engine import USAGE
from tests.integration.shared.conftest import Gateway, Redis, eventually

from hearth_gateway import auth
from hearth_gateway.app import create_app
from hearth_gateway.settings import Settings, SettingsError, load

OURS = {"type": "mcp", "server_label": "t"}
RESPONSES = "/v1/responses"


async def status(client: aiohttp.ClientSession, key: str = "") -> int:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with client.post(CHAT, json=ask(), headers=headers) as answer:
        return answer.status


async def post(client: aiohttp.ClientSession, path: str, **body: Any) -> dict[str, Any]:
    async with client.post(path, json=body) as answer:
        assert answer.status == 200, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


class TestRates:
    async def test_a_minute_s_requests_are_those_of_all_gateways(self, gateway: Gateway) -> None:
        one, other = await gateway(requests_per_minute=4), await gateway(requests_per_minute=4)
        assert [await status(client) for client in (one, other, one, other)] == [200] * 4
        async with other.post(CHAT, json=ask()) as answer:
            assert answer.status == 429
            assert (await error_of(answer))["code"] == "rate_limit_exceeded"
            assert 1 <= int(answer.headers["retry-after"]) <= 15
        assert await status(one) == 429

    async def test_requests_at_once_are_counted_one_by_one(self, gateway: Gateway) -> None:
        gateways = [await gateway(requests_per_minute=10) for _ in range(3)]
        asked = await asyncio.gather(*(status(client) for client in gateways * 10))
        assert sorted(asked) == [200] * 10 + [429] * 20

    async def test_it_fills_again(self, gateway: Gateway) -> None:
        one, other = await gateway(requests_per_minute=600), await gateway(requests_per_minute=600)
        await asyncio.gather(*(status(one) for _ in range(620)))

        async def again() -> bool:
            return await status(other) == 200

        await eventually(again)

    async def test_tokens_too(self, gateway: Gateway) -> None:
        limit = 2 * USAGE["total_tokens"]
        one, other = await gateway(tokens_per_minute=limit), await gateway(tokens_per_minute=limit)
        assert [await status(one), await status(one)] == [200, 200]

        async def used_up() -> bool:
            return await status(other) == 429

        await eventually(used_up)

    async def test_a_key_s_rate_is_its_own(self, gateway: Gateway, tmp_path: Path) -> None:
        keys = [auth.issue(tmp_path / "keys", name) for name in ("anna", "ben")]
        settings = {"requests_per_minute": 1, "api_keys_file": tmp_path / "keys"}
        one, other = await gateway(**settings), await gateway(**settings)
        assert [await status(one, keys[0]), await status(other, keys[0])] == [200, 429]
        assert [await status(one, keys[1]), await status(other, keys[1])] == [200, 429]

    async def test_nothing_is_left_of_a_key_that_rests(self, gateway: Gateway, redis: Redis) -> None:
        client = await gateway(requests_per_minute=6000)
        await status(client)
        assert 0 < int(redis.cli("pttl", "hearth:requests:")) <= 2000

    async def test_a_tool_called_by_hand_counts(self, chat: Chat, redis: Redis) -> None:
        clients = [
            await chat(settings={"shared_state_url": redis.url, "requests_per_minute": 1}) for _ in range(2)
        ]  # fmt: skip
        asked = []
        for client in clients:
            async with client.post("/v1/tools/t_add", json={"arguments": {"a": 1, "b": 2}}) as answer:
                asked.append(answer.status)
        assert asked == [200, 429]


class TestResponses:
    async def test_one_gateway_goes_on_from_another_s(self, gateway: Gateway, model: Model) -> None:
        one, other = await gateway(), await gateway()
        model.turns = [said("One."), said("Two.")]
        first = await post(one, RESPONSES, model="hearth-tiny", input="Count.")
        await post(other, RESPONSES, model="hearth-tiny", input="On.", previous_response_id=first["id"])
        assert [message["content"] for message in model.asked[1]["messages"]] == ["Count.", "One. ", "On."]

    async def test_what_one_deletes_the_other_does_not_know(self, gateway: Gateway, model: Model) -> None:
        one, other = await gateway(), await gateway()
        model.turns = [said("One.")]
        path = f"{RESPONSES}/{(await post(one, RESPONSES, model='hearth-tiny', input='Count.'))['id']}"
        async with other.get(path) as answer:
            assert (await answer.json())["output"][0]["content"][0]["text"] == "One. "
        async with other.delete(path) as answer:
            assert answer.status == 200
        for method in ("GET", "DELETE"):
            async with one.request(method, path) as answer:
                assert answer.status == 404

    async def test_it_is_its_user_s_alone_and_has_an_end(
        self, gateway: Gateway, model: Model, tmp_path: Path, redis: Redis
    ) -> None:
        keys = [auth.issue(tmp_path / "keys", name) for name in ("anna", "ben")]
        client = await gateway(api_keys_file=tmp_path / "keys", responses_seconds=100)
        model.turns = [said("One.")]
        anna, ben = ({"authorization": f"Bearer {key}"} for key in keys)
        async with client.post(RESPONSES, json={"model": "hearth-tiny", "input": "Count."}, headers=anna) as answer:
            id = (await answer.json())["id"]
        async with client.get(f"{RESPONSES}/{id}", headers=ben) as answer:
            assert answer.status == 404
        assert 90_000 < int(redis.cli("pttl", f"hearth:response:anna:{id}")) <= 100_000

    async def test_one_that_is_too_large_is_not_kept(self, gateway: Gateway, model: Model) -> None:
        client = await gateway(responses_bytes=2**20, max_body_bytes=2**24)
        model.turns = [said("One.")]
        noise = "".join(chr(0x4E00 + index * 7919 % 20_000) for index in range(2_000_000))
        done = await post(client, RESPONSES, model="hearth-tiny", input=noise)
        async with client.get(f"{RESPONSES}/{done['id']}") as answer:
            assert answer.status == 404


class TestTurns:
    async def test_an_approval_that_one_asked_for_another_takes(self, chat: Chat, model: Model, redis: Redis) -> None:
        shared = {"shared_state_url": redis.url}
        one, other = [await chat({"approval": "always"}, settings=shared) for _ in range(2)]
        model.turns = [said("", ("t_add", {"a": 2, "b": 3})), said("It is 5.")]
        first = await post(one, CHAT, **ask(tools=[OURS]))
        token = first["choices"][0]["message"]["hearth"]["approval"]["token"]
        done = await post(other, CHAT, **ask(tools=[OURS], hearth_approval={"token": token, "approve": True}))
        assert done["choices"][0]["message"]["content"] == "It is 5."

    async def test_a_turn_that_one_carries_another_finds(self, chat: Chat, model: Model, redis: Redis) -> None:
        """Of a client that keeps its calls' ids and writes everything else anew."""
        look_up = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
        one, other = [await chat(settings={"shared_state_url": redis.url}) for _ in range(2)]
        model.turns = [said("", ("t_add", {"a": 2, "b": 3})), said("", ("look_up", {})), said("Done.")]
        first = (await post(one, CHAT, **ask(tools=[OURS, look_up])))["choices"][0]["message"]
        call = first["tool_calls"][0]
        told = [*ask()["messages"], {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": call["id"], "content": "found"}]  # fmt: skip
        await post(other, CHAT, **ask(tools=[OURS, look_up], messages=told))
        assert [message["role"] for message in model.asked[-1]["messages"]] == [
            "user", "assistant", "tool", "assistant", "tool",
        ]  # fmt: skip


class TestWithoutRedis:
    async def test_limits_hold_for_each_gateway_and_everyone_is_answered(self, gateway: Gateway, redis: Redis) -> None:
        one, other = await gateway(requests_per_minute=3), await gateway(requests_per_minute=3)
        assert await status(one) == 200
        redis.kill()
        assert [await status(one) for _ in range(3)] == [200, 200, 429]
        assert [await status(other) for _ in range(4)] == [200, 200, 200, 429]
        async with one.get("/metrics") as answer:
            assert 'hearth_shared_state_errors_total{what="rates"}' in await answer.text()

    async def test_it_is_asked_again_when_it_is_back(self, gateway: Gateway, redis: Redis) -> None:
        client = await gateway(requests_per_minute=100)
        redis.kill()
        assert await status(client) == 200
        redis.start()

        async def counted() -> bool:
            assert await status(client) == 200
            return redis.cli("exists", "hearth:requests:").strip() == "1"

        await eventually(counted)

    async def test_a_stored_response_is_503_and_new_ones_are_answered(
        self, gateway: Gateway, model: Model, redis: Redis
    ) -> None:
        client = await gateway()
        model.turns = [said("One."), said("Two.")]
        first = await post(client, RESPONSES, model="hearth-tiny", input="Count.")
        redis.kill()
        async with client.get(f"{RESPONSES}/{first['id']}") as answer:
            assert (answer.status, (await error_of(answer))["code"]) == (503, "shared_state_unavailable")
            assert "retry-after" in answer.headers
        more = {"model": "hearth-tiny", "input": "On.", "previous_response_id": first["id"]}
        async with client.post(RESPONSES, json=more) as answer:
            assert answer.status == 503
        await post(client, RESPONSES, model="hearth-tiny", input="Again.")

    async def test_one_that_answers_nothing_counts_as_down(self, gateway: Gateway, redis: Redis) -> None:
        client = await gateway(requests_per_minute=100)
        redis.pause()
        assert await status(client) == 200
        await metric_reaches(client, 1.0, "hearth_shared_state_errors_total", "rates")
        redis.pause(False)

    async def test_a_gateway_does_not_start_without_it(self, redis: Redis) -> None:
        redis.kill()
        app = create_app(Settings(shared_state_url=redis.url))
        with pytest.raises(SettingsError, match="HEARTH_SHARED_STATE_URL: "):
            async with app.router.lifespan_context(app):
                pass


class TestPassword:
    async def test_it_is_read_from_a_file(self, start: Start, redis: Redis, tmp_path: Path) -> None:
        redis.kill()
        redis.password = "s3cret"
        redis.start()
        file = tmp_path / "password"
        file.write_text("s3cret\n")
        client = await start(shared_state_url=redis.url, shared_state_password_file=file, requests_per_minute=1)
        assert [await status(client), await status(client)] == [200, 429]

    async def test_a_wrong_one_is_named_and_not_shown(self, redis: Redis, tmp_path: Path) -> None:
        redis.kill()
        redis.password = "s3cret"
        redis.start()
        file = tmp_path / "password"
        file.write_text("wr0ng")
        app = create_app(Settings(shared_state_url=redis.url, shared_state_password_file=file))
        with pytest.raises(SettingsError) as caught:
            async with app.router.lifespan_context(app):
                pass
        assert "HEARTH_SHARED_STATE_URL: " in str(caught.value)
        assert "wr0ng" not in str(caught.value)

    def test_one_in_the_address_is_refused_and_not_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEARTH_SHARED_STATE_URL", "redis://:s3cret@host:6379")
        with pytest.raises(SettingsError, match="HEARTH_SHARED_STATE_PASSWORD_FILE") as caught:
            load()
        assert "s3cret" not in str(caught.value)
