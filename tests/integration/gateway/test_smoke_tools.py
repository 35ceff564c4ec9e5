"""The smoke test's tool checks, on a gateway that says what it is told to: they pass, and each of them can fail."""

import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console

from hearth_gateway.smoke import run
from hearth_gateway.smoke.model import CHINESE, ENGLISH

TOOLS = {
    "files": ["list_directory", "read_file", "write_file", "create_directory"],
    "commands": ["run_command"],
    "browser": ["browser_navigate", "browser_snapshot"],
    "search": ["search"],
}
LIST = "List the files in hearth-smoke. Then read hearth-smoke/notes.txt"
PAGE = "Open http://hearth.internal/ and tell me what the page says."
CURL, SLEEP, EXPR = "Run 'curl -sS http://1.1.1.1/'", "Run 'sleep 999'", "Run 'expr 4170 + 7'"
Turn = tuple[list[tuple[str, bool]], str]  # (tool, whether it failed) of each call, and what is said at the end


@dataclass
class Gateway:
    state: str = "ready"
    tools: dict[str, list[str]] = field(default_factory=lambda: dict(TOOLS))
    turns: dict[str, Turn] = field(
        default_factory=lambda: {
            ENGLISH.search: ([("x_search", False)], "It is 417 metres high."),
            CHINESE.search: ([("x_search", False)], "417米"),
            LIST: ([("x_list_directory", False), ("x_read_file", False)], "notes.txt\nIt opens at 9:30."),
            EXPR: ([("x_run_command", False)], "4177"),
            CURL: ([("x_run_command", True)], "It failed."),
            SLEEP: ([("x_run_command", True)], "It was killed."),
            PAGE: ([("x_browser_navigate", False), ("x_browser_snapshot", False)], "Hosts that it reaches: a.example."),
        }
    )
    results: dict[str, str] = field(default_factory=dict)  # of tools that are called by hand, by their arguments
    by_hand: list[dict[str, str]] = field(default_factory=list)
    finish: str = "stop"

    async def listed(self, _: web.Request) -> web.Response:
        if not self.tools:
            return web.json_response({}, status=404)
        servers = [
            {"label": label, "state": self.state, "detail": "no socket", "tools": [f"x_{name}" for name in names]}
            for label, names in self.tools.items()
        ]
        data = [
            {"name": f"x_{name}", "server": label, "remote_name": name}
            for label, names in self.tools.items()
            for name in names
        ]
        return web.json_response({"data": data, "servers": servers, "problem": None})

    async def called(self, request: web.Request) -> web.Response:
        arguments = (await request.json())["arguments"]
        self.by_hand.append(arguments)
        left = "0\n" if "command" in arguments else ""
        content = self.results.get(arguments.get("command") or arguments["path"], left)
        return web.json_response({"content": content, "is_error": content.startswith("Error")})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        calls, said = self.turns.get(body["messages"][-1]["content"], ([], ""))
        if not body.get("stream") or "tools" not in body or body["tools"][0]["type"] != "mcp":
            return web.json_response({})  # the model's own checks fail here, and are not this file's
        offered = body["tools"][0]["allowed_tools"]
        chunks = [
            {"choices": [{"delta": {}, "finish_reason": None}], "hearth": {"type": f"tool.{what}", "name": name} | more}
            for name, failed in calls
            if name in offered
            for what, more in (("started", {}), ("finished", {"is_error": failed}))
        ]
        chunks += [{"choices": [{"delta": {"content": said}, "finish_reason": None}]}]
        chunks += [{"choices": [{"delta": {}, "finish_reason": self.finish}]}, {"choices": [], "usage": {}}]
        text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
        return web.Response(text=text, content_type="text/event-stream")


@pytest.fixture
async def gateway() -> AsyncIterator[tuple[Gateway, str]]:
    gateway, app = Gateway(), web.Application()
    app.router.add_get("/v1/tools", gateway.listed)
    app.router.add_post("/v1/tools/{name}", gateway.called)
    app.router.add_post("/v1/chat/completions", gateway.chat)
    async with TestServer(app) as server:
        yield gateway, str(server.make_url("/"))


async def outcomes(url: str) -> dict[str, tuple[str, str]]:
    """(outcome, detail) of each check of the tools, by its name."""
    output = io.StringIO()
    await run(url, timeout=5, console=Console(file=output, width=300))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.getvalue().splitlines() if "│" in line]
    names = [row[0] for row in rows]
    return {row[0]: (row[1], row[4]) for row in rows[names.index("tool servers") :]}


async def test_tools_that_work_pass(gateway: tuple[Gateway, str]) -> None:
    stack, url = gateway
    seen = await outcomes(url)
    assert [name for name, (outcome, _) in seen.items() if outcome != "pass"] == []
    assert list(seen) == [
        "tool servers", "a folder to work in", "search, English", "search, Chinese", "list, then read", "command",
        "command without network", "command without end", "page", "the folder removed",
    ]  # fmt: skip
    # Nothing but its own folder is touched.
    paths = [arguments["path"] for arguments in stack.by_hand if "path" in arguments]
    assert paths
    assert all(path.split("/")[0] == "hearth-smoke" for path in paths)
    assert stack.by_hand[-1] == {"command": "rm -r hearth-smoke"}


async def test_a_stack_without_tools_is_not_asked_for_them(gateway: tuple[Gateway, str]) -> None:
    stack, url = gateway
    stack.tools = {}
    assert await outcomes(url) == {"tool servers": ("pass", "none")}


async def test_other_tools_than_ours_do(gateway: tuple[Gateway, str]) -> None:
    stack, url = gateway
    stack.tools = {"commands": ["run_command"], "search": ["find"]}
    seen = await outcomes(url)
    assert list(seen) == ["tool servers", "command", "command without network", "command without end"]
    assert {outcome for outcome, _ in seen.values()} == {"pass"}


async def test_a_server_that_is_away_is_named(gateway: tuple[Gateway, str]) -> None:
    stack, url = gateway
    stack.state = "reconnecting"
    seen = await outcomes(url)
    assert seen["tool servers"][0] == "fail"
    assert "commands: reconnecting, no socket" in seen["tool servers"][1]


@pytest.mark.parametrize(
    ("check", "text", "turn"),
    [
        ("search, English", ENGLISH.search, ([("x_search", False)], "I found nothing.")),
        ("search, English", ENGLISH.search, ([], "It is 417 metres high.")),
        ("search, Chinese", CHINESE.search, ([("x_search", True)], "417米")),
        ("list, then read", LIST, ([("x_list_directory", False)], "It opens at 9:30.")),
        ("list, then read", LIST, ([("x_list_directory", False), ("x_read_file", False)], "Closed.")),
        ("command", EXPR, ([("x_run_command", False)], "4176")),
        ("command", EXPR, ([("x_run_command", True)], "4177")),
        ("command without network", CURL, ([("x_run_command", False)], "<html>")),
        ("command without end", SLEEP, ([("x_run_command", False)], "Done.")),
        ("page", PAGE, ([("x_browser_navigate", False)], "Hosts that it reaches: none.")),
        ("page", PAGE, ([("x_browser_navigate", False), ("x_browser_snapshot", False)], "It is empty.")),
    ],
)
async def test_a_model_or_a_tool_that_does_wrong_fails(
    gateway: tuple[Gateway, str], check: str, text: str, turn: Turn
) -> None:
    stack, url = gateway
    stack.turns[text] = turn
    seen: dict[str, Any] = await outcomes(url)
    assert [name for name, (outcome, _) in seen.items() if outcome == "fail"] == [check]


async def test_what_still_runs_fails(gateway: tuple[Gateway, str]) -> None:
    stack, url = gateway
    stack.results = {"ps -eo args | grep -c '^sleep 999'; true": "1\n"}
    assert (await outcomes(url))["command without end"] == ("fail", "it still runs: 1")


async def test_a_tool_that_fails_by_hand_is_named(gateway: tuple[Gateway, str]) -> None:
    stack, url = gateway
    stack.results = {"hearth-smoke/notes.txt": "Error: read-only"}
    assert (await outcomes(url))["list, then read"] == ("fail", "files/write_file: Error: read-only")


async def test_an_answer_that_was_cut_off_fails(gateway: tuple[Gateway, str]) -> None:
    stack, url = gateway
    stack.finish = "length"
    assert (await outcomes(url))["command"] == ("fail", "finish_reason is 'length'")
