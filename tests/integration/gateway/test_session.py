"""The engine's side hears which conversation a request belongs to, whatever the resource and the round."""

import re
from typing import Any

import aiohttp
from tests.integration.chat.conftest import Chat, Model, chat, model, said, server  # noqa: F401 - fixtures
from tests.integration.gateway.conftest import CHAT, Start, ask
from tests.integration.gateway.fake_engine import FakeEngine

from hearth_gateway import auth

OURS = {"type": "mcp", "server_label": "t"}
ANSWER = {"role": "assistant", "content": "Red, green."}
MORE = {"role": "user", "content": "And then?"}


def sessions(engine: FakeEngine) -> list[str]:
    """Of the completions that were asked for, in order."""
    return [
        exchange.headers["x-session-id"]
        for exchange in engine.exchanges
        if exchange.path in (CHAT, "/v1/completions")
    ]  # fmt: skip


async def post(client: aiohttp.ClientSession, path: str, **body: Any) -> dict[str, Any]:
    async with client.post(path, json=body) as answer:
        assert answer.status == 200, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


async def test_two_turns_of_a_chat_are_one(client: aiohttp.ClientSession, engine: FakeEngine) -> None:
    first = ask()
    await post(client, CHAT, **first)
    await post(client, CHAT, **first | {"messages": [*first["messages"], ANSWER, MORE]})
    await post(client, CHAT, **first | {"messages": [MORE]})
    one, again, other = sessions(engine)
    assert one == again != other
    assert re.fullmatch("[0-9a-f]{32}", one)


async def test_a_prompt_that_goes_on_is_one(client: aiohttp.ClientSession, engine: FakeEngine) -> None:
    first = "Once upon a time. " * 40
    await post(client, "/v1/completions", model="hearth-tiny", prompt=first)
    await post(client, "/v1/completions", model="hearth-tiny", prompt=first + "The end.")
    one, again = sessions(engine)
    assert one == again


async def test_a_response_and_what_follows_it_are_one(start: Start, model: Model, engine: FakeEngine) -> None:  # noqa: F811
    client = await start()
    model.turns = [said("One."), said("Two."), said("Three.")]
    first = await post(client, "/v1/responses", model="hearth-tiny", input="Count.")
    second = await post(client, "/v1/responses", model="hearth-tiny", input="On.", previous_response_id=first["id"])
    await post(client, "/v1/responses", model="hearth-tiny", input="On.", previous_response_id=second["id"])
    assert len(set(sessions(engine))) == 1


async def test_all_rounds_of_a_tool_loop_and_the_turn_after_it_are_one(
    chat: Chat, model: Model, engine: FakeEngine  # noqa: F811
) -> None:  # fmt: skip
    client = await chat()
    model.turns = [said("", ("t_add", {"a": 2, "b": 3})), said("It is 5."), said("Yes.")]
    first = ask(tools=[OURS])
    done = await post(client, CHAT, **first)
    await post(client, CHAT, **ask(messages=[*first["messages"], done["choices"][0]["message"], MORE]))
    assert len(sessions(engine)) == 3
    assert len(set(sessions(engine))) == 1


async def test_the_client_s_own_name_for_it_stands(client: aiohttp.ClientSession, engine: FakeEngine) -> None:
    async with client.post(CHAT, json=ask(user="anna"), headers={"x-session-id": "s-1"}):
        pass
    async with client.post(CHAT, json=ask(user="anna"), headers={"x-session-id": "not a name"}):
        pass
    await post(client, CHAT, **ask(user="anna", messages=[MORE]))
    named, user, same_user = sessions(engine)
    assert named == "s-1"
    assert user == same_user
    assert "anna" not in user


async def test_the_same_words_under_two_keys_are_two(start: Start, engine: FakeEngine, tmp_path: Any) -> None:
    file = tmp_path / "keys"
    keys = [auth.issue(file, name) for name in ("anna", "ben")]
    client = await start(api_keys_file=file)
    for key in keys:
        async with client.post(CHAT, json=ask(), headers={"authorization": f"Bearer {key}"}) as answer:
            assert answer.status == 200
    anna, ben = sessions(engine)
    assert anna != ben
    assert not any(key in anna + ben for key in keys)
