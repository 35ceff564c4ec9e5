"""Streams with tool progress in them, read by the clients that people use from Node."""

import json
from typing import Any

import pytest
from tests.integration.chat.conftest import Chat, Model, said
from tests.integration.gateway.conftest import ask, origin
from tests.integration.gateway.fake_engine import USAGE
from tests.integration.suites.conftest import HERE, Node

OURS = {"type": "mcp", "server_label": "t"}
LOOK_UP = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
TURNS = [said("Let me see.", ("t_steps", {})), said("It is done.")]
TEXT = "Let me see. \n\nIt is done. "


async def read(node: Node, script: str, chat: Chat, **fields: Any) -> Any:
    """What a script makes of the answer to a request for tools of ours."""
    client = await chat(default=["t"])
    done = await node(HERE / script, f"{await origin(client)}/v1", json.dumps(ask(**fields)))
    assert done.status == 0, done.errors
    return json.loads(done.output)


def text_and_ends(chunks: list[dict[str, Any]]) -> tuple[str, list[str]]:
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    return text, [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


def progress(chunks: list[dict[str, Any]]) -> list[str]:
    return [chunk["hearth"]["type"] for chunk in chunks if "hearth" in chunk]


TOLD = ["tool.started", *["tool.progress"] * 3, "tool.finished"]


async def test_the_openai_sdk(node: Node, chat: Chat, model: Model) -> None:
    model.turns = TURNS * 2
    read_by = await read(node, "openai_client.mjs", chat, tools=[OURS])
    chunks, final = read_by["chunks"], read_by["final"]
    assert text_and_ends(chunks) == (TEXT, ["stop"])
    assert progress(chunks) == TOLD
    assert [chunk["usage"]["total_tokens"] for chunk in chunks if chunk.get("usage")] == [2 * USAGE["total_tokens"]]
    assert final["choices"][0]["message"]["content"] == TEXT
    assert final["choices"][0]["finish_reason"] == "stop"
    assert final["usage"]["total_tokens"] == 2 * USAGE["total_tokens"]


async def test_the_openai_sdk_gets_the_clients_own_call_after_ours(node: Node, chat: Chat, model: Model) -> None:
    model.turns = [said("", ("t_steps", {}), ("look_up", {"x": 1}))] * 2
    read_by = await read(node, "openai_client.mjs", chat, tools=[OURS, LOOK_UP])
    assert text_and_ends(read_by["chunks"])[1] == ["tool_calls"]
    assert progress(read_by["chunks"]) == TOLD
    choice = read_by["final"]["choices"][0]
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["look_up"]
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"x": 1}
    assert choice["message"]["hearth"]["carry"], "the accumulator drops what the next request should bring back"


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
async def test_agent_tars(node: Node, chat: Chat, model: Model, options: dict[str, Any]) -> None:
    model.turns = list(TURNS)
    chunks = (await read(node, "tarko_client.mjs", chat, **options))["chunks"]
    assert text_and_ends(chunks) == (TEXT, ["stop"])
    assert progress(chunks) == TOLD
    told = [chunk["usage"]["completion_tokens"] for chunk in chunks if chunk.get("usage")]
    assert told == ([2 * USAGE["completion_tokens"]] if options else [])


async def test_agent_tars_gets_its_own_call_after_ours(node: Node, chat: Chat, model: Model) -> None:
    model.turns = [said("", ("t_steps", {})), said("", ("look_up", {"x": 1}))]
    chunks = (await read(node, "tarko_client.mjs", chat, tools=[OURS, LOOK_UP]))["chunks"]
    assert text_and_ends(chunks)[1] == ["tool_calls"]
    deltas = [call for chunk in chunks for choice in chunk["choices"] for call in choice["delta"].get("tool_calls", [])]
    assert [(call["index"], call["type"], call["function"]["name"]) for call in deltas] == [(0, "function", "look_up")]
    assert json.loads("".join(call["function"]["arguments"] for call in deltas)) == {"x": 1}
