"""`hearth-gateway replay` reproduces conversations with tools from the log alone: no tool server, no key, no memory."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.integration.chat.conftest import Chat, Model, said
from tests.integration.gateway.conftest import CHAT, ask
from tests.integration.tools.conftest import Process

from hearth_gateway.cli import main
from hearth_gateway.replay import read

OURS = {"type": "mcp", "server_label": "t"}
LOOK_UP = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
RESPONSES = "/v1/responses"


async def send(client: aiohttp.ClientSession, path: str = CHAT, **body: Any) -> Any:
    async with client.post(path, json=body) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.read() if body.get("stream") else await answer.json()


async def everything(client: aiohttp.ClientSession, model: Model) -> int:
    """Conversations of every kind; their number."""
    quick, add = ("t_echo", {"text": "quick"}), ("t_add", {"a": 1, "b": 1})
    for stream in (False, True):
        model.turns = [said("I look.", quick, ("t_meet", {"name": f"m{stream}", "of": 1}), quick)]
        model.turns += [said("", ("t_add", '{"a": 1')), said("", add), said("", ("t_fail", {})), said("So.")]
        await send(client, **ask(tools=[OURS], stream=stream))
    model.turns = [said("Nothing to do.")]
    await send(client, **ask())

    model.turns = [said("", add, ("look_up", {})), said("Both.")]
    message = (await send(client, **ask(tools=[OURS, LOOK_UP])))["choices"][0]["message"]
    written_anew = {"role": "assistant", "content": "", "tool_calls": message["tool_calls"]}
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "found"}
    await send(client, **ask(messages=[*ask()["messages"], written_anew, result]))  # what it lacks is only kept here

    model.turns = [said("", ("t_write_once_dead", {"name": "w"})), said("As you wish.")]
    message = (await send(client, **ask(tools=[OURS])))["choices"][0]["message"]
    decision = {"token": message["hearth"]["approval"]["token"], "approve": False, "reason": "no"}
    await send(client, **ask(messages=[*ask()["messages"], message], tools=[OURS], hearth_approval=decision))

    model.turns = [said("", ("t_write_once_dead", {"name": "w"})), said("", add), said("2")]
    asked = await send(client, RESPONSES, input="hello", tools=[OURS])
    answer = {"type": "mcp_approval_response", "approval_request_id": asked["output"][-1]["id"], "approve": False}
    more = {"previous_response_id": asked["id"], "tools": [OURS]}
    await send(client, RESPONSES, input=[answer], **more)
    assert model.turns == []
    return 9


async def test_every_byte_is_the_same(
    chat: Chat, model: Model, server: Process, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "replay.jsonl"
    client = await chat({"approval": {"write_once_dead": "always"}}, settings={"replay_log": file})
    number = await everything(client, model)
    (tmp_path / "hearth.tools.yaml").unlink()
    await server.kill()
    recorded = read(file)
    assert [result.name for result in recorded[0].tools] == ["t_echo", "t_meet", "t_echo", "t_add", "t_fail"]
    assert await asyncio.to_thread(main, ["replay", str(file)]) == 0
    assert f"{number} conversations, 0 different" in capsys.readouterr().out


async def test_a_tool_s_result_that_was_another_is_a_difference(
    chat: Chat, model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "replay.jsonl"
    client = await chat(settings={"replay_log": file})
    model.turns = [said("", ("t_add", {"a": 1, "b": 2})), said("3")]
    await send(client, **ask(tools=[OURS]))
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    changed = [line | {"arguments": '{"a":1,"b":3}'} if line["kind"] == "tool" else line for line in lines]
    file.write_text("".join(json.dumps(line) + "\n" for line in changed))
    assert await asyncio.to_thread(main, ["replay", str(file)]) == 1
    assert 't_add is called with {"a":1,"b":2}, which is not in the log' in capsys.readouterr().out
