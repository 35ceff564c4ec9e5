"""What the engine's prefix cache lives on: each prompt of a conversation begins with the one before, byte for byte."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mcp_types
import pytest
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hearth_gateway.request import dump
from hearth_gateway.tools.carry import restore
from hearth_gateway.tools.config import ServerConfig
from hearth_gateway.tools.loop import CallModel, CallTools, Finish, Limits, Loop
from hearth_gateway.tools.selection import select
from hearth_gateway.tools.server import offered
from hearth_gateway.tools.types import Call, Result, Tool, Turn

TEMPLATE = Path(__file__).parents[4] / "models/tiny/chat_template.jinja"
READ: dict[str, Any] = {
    "name": "read_file",
    "description": "Read a file.",
    "inputSchema": {
        "type": "object",
        "properties": {"head": {"type": "integer"}, "path": {"type": "string", "minLength": 1}},
        "required": ["path"],
    },
}
LIST: dict[str, Any] = {"name": "list_directory", "inputSchema": {"type": "object", "properties": {}}}
SEARCH: dict[str, Any] = {
    "name": "search",
    "description": "Search.",
    "inputSchema": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
}
HOSTED = [{"type": "mcp", "server_label": "web"}, {"type": "mcp", "server_label": "files"}]
MINE = {"type": "function", "function": {"name": "click", "parameters": {"type": "object"}}}


def backwards(value: Any) -> Any:
    """The same JSON with its keys the other way round, as another version of a server may send it."""
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return value


def catalog(*, other_way: bool) -> Sequence[Tool]:
    files, web = [READ, LIST], [SEARCH]
    if other_way:
        files, web = [backwards(one) for one in reversed(files)], [backwards(one) for one in web]
    of_files = offered("files", "files_", ServerConfig(url="http://h/"), map(mcp_types.Tool.model_validate, files))
    of_web = offered("web", "", ServerConfig(url="http://h/"), map(mcp_types.Tool.model_validate, web))
    return (*of_web, *of_files) if other_way else (*of_files, *of_web)


def prompt(body: dict[str, Any]) -> str:
    """What the engine makes of a request, arguments read as JSON as it reads them."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    sent = json.loads(dump(body))
    for message in sent["messages"]:
        for call in message.get("tool_calls", []):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    template = environment.from_string(TEMPLATE.read_text("utf-8"))
    return template.render(messages=sent["messages"], tools=sent["tools"], add_generation_prompt=True)


def play(messages: list[dict[str, Any]], turns: list[Turn], tools: Sequence[Tool]) -> tuple[list[str], dict[str, Any]]:
    """The prompts of one request's loop, and the message that the client gets."""
    request = {"messages": restore(messages), "tools": [*HOSTED, MINE]}
    selection = select(request, tools, ("files", "web"))
    assert selection
    loop, prompts = Loop(selection.body, selection.tools, Limits(), lambda _: ""), []
    while not isinstance(action := loop.action(), Finish):
        match action:
            case CallModel():
                prompts.append(prompt(action.body))
                loop.model_said(turns.pop(0))
            case CallTools():
                loop.tools_returned([Result(one.call.id, f"{one.tool.name} 说: ok") for one in action.calls])
    return prompts, action.message()


@pytest.mark.parametrize("changes", [False, True], ids=["", "servers answer in another order"])
def test_each_prompt_begins_with_the_last_one(changes: bool) -> None:
    looks = Call("1", "search", '{"query": "tea", "limit": 1}')
    reads = Call("2", "files_read_file", '{"head":3,"path":"a.txt"')  # a bracket short
    lists = Call("3", "files_list_directory", "")
    clicks = Call("4", "click", '{"x": 1}')
    conversation = [{"role": "user", "content": "搜索 tea"}]
    prompts: list[str] = []
    for number, turns in enumerate(
        (
            [Turn("Let me see.", (looks, lists)), Turn("", (reads,)), Turn("It is tea.")],
            [Turn("And now", (lists, clicks), "tool_calls")],
            [Turn("Clicked.")],
        )
    ):
        asked, message = play(conversation, turns, catalog(other_way=changes and number % 2 == 1))
        prompts += asked
        conversation.append(message)
        if calls := message.get("tool_calls"):
            conversation.append({"role": "tool", "tool_call_id": calls[0]["id"], "content": "done"})
        else:
            conversation.append({"role": "user", "content": "Go on."})
    assert len(prompts) == 5
    for before, after in itertools.pairwise(prompts):
        assert after.startswith(before)
        assert len(after) > len(before)
