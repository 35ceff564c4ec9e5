"""What the model does with the stack's tool servers: every call goes through the gateway's loop."""

import orjson

from hearth_gateway.smoke.model import Speech
from hearth_gateway.smoke.stack import WHOLE_ANSWER_TOKENS, Json, Seen, Stack, excerpt, expect, user

# Tools by server and what it calls them.
LIST, READ, WRITE, MAKE = "files/list_directory", "files/read_file", "files/write_file", "files/create_directory"
RUN = "commands/run_command"
SEARCH = "search/search"
OPEN, LOOK = "browser/browser_navigate", "browser/browser_snapshot"
# What the checks write and read, in the workspace.
FOLDER = "hearth-smoke"
_NOTES = "The Bramley museum opens at 9:30."
_TOLD = "9:30"
_PAGE = "http://hearth.internal/"  # the egress proxy's own
_PAGE_TELLS = "Hosts that it reaches"


async def servers(stack: Stack) -> Seen:
    """Also takes note of what there is: the other checks run where their tools do."""
    if (listed := await stack.find("/v1/tools")) is None:
        return Seen("none")
    expect(not listed["problem"], f"{listed['problem']}")
    away = [f"{one['label']}: {one['state']}, {one['detail']}" for one in listed["servers"] if one["state"] != "ready"]
    expect(not away, "; ".join(away))
    stack.tools = {f"{tool['server']}/{tool['remote_name']}": tool["name"] for tool in listed["data"]}
    return Seen(", ".join(f"{one['label']} ({len(one['tools'])} tools)" for one in listed["servers"]))


async def prepares(stack: Stack) -> Seen:
    await _by_hand(stack, MAKE, path=FOLDER)
    return Seen(FOLDER)


async def searches(speech: Speech, stack: Stack) -> Seen:
    note = f"{speech.sought}: {speech.result}"
    await _by_hand(stack, WRITE, path=f"{FOLDER}/{speech.language}.md", content=note)
    said, _ = await _asked(stack, speech.search, {SEARCH: False})
    expect(speech.told in said, f"the workspace has {note!r}, the answer was {excerpt(said)}")
    return Seen(excerpt(said))


async def lists_and_reads(stack: Stack) -> Seen:
    await _by_hand(stack, WRITE, path=f"{FOLDER}/notes.txt", content=_NOTES)
    text = f"List the files in {FOLDER}. Then read {FOLDER}/notes.txt"
    said, rounds = await _asked(stack, text, {LIST: False, READ: False})
    expect(_TOLD in said, f"the file says {_NOTES!r}, the answer was {excerpt(said)}")
    return Seen(f"{rounds} calls: {excerpt(said)}")


async def runs_a_command(stack: Stack) -> Seen:
    said, _ = await _asked(stack, "Run 'expr 4170 + 7'", {RUN: False})
    expect("4177" in said, f"the answer was {excerpt(said)}")
    return Seen(excerpt(said))


async def reaches_nothing(stack: Stack) -> Seen:
    said, _ = await _asked(stack, "Run 'curl -sS http://1.1.1.1/'", {RUN: True})
    return Seen(excerpt(said))


async def is_killed(stack: Stack) -> Seen:
    said, _ = await _asked(stack, "Run 'sleep 999'", {RUN: True})
    left = await _by_hand(stack, RUN, command="ps -eo args | grep -c '^sleep 999'; true")
    expect(left.strip() == "0", f"it still runs: {left}")
    return Seen(excerpt(said))


async def reads_a_page(stack: Stack) -> Seen:
    text = f"Open {_PAGE} and tell me what the page says."
    said, _ = await _asked(stack, text, {OPEN: False, LOOK: False})
    expect(_PAGE_TELLS in said, f"the answer was {excerpt(said)}")
    return Seen(excerpt(said))


async def tidies(stack: Stack) -> Seen:
    await _by_hand(stack, RUN, command=f"rm -r {FOLDER}")
    return Seen(f"{FOLDER} is removed")


async def _by_hand(stack: Stack, tool: str, **arguments: str) -> str:
    """What a tool of the stack says, without the model."""
    called = await stack.post(f"/v1/tools/{stack.tools[tool]}", {"arguments": arguments})
    expect(not called["is_error"], f"{tool}: {called['content']}")
    return str(called["content"])


async def _asked(stack: Stack, text: str, wanted: dict[str, bool]) -> tuple[str, int]:
    """The answer, and how many calls were made for it. Each tool of `wanted`, all of one server, must have been called,
    and must have failed or not, as it says there."""
    server = next(iter(wanted)).partition("/")[0]
    expected = {stack.tools[tool]: failed for tool, failed in wanted.items()}
    offered = {"type": "mcp", "server_label": server, "allowed_tools": list(expected)}
    said, called, finish = "", list[Json](), None
    async for data in stack.stream([user(text)], tools=[offered], max_tokens=WHOLE_ANSWER_TOKENS):
        if data == "[DONE]":
            continue
        event = orjson.loads(data)
        expect("error" not in event, f"error event: {data[:200]}")
        if (told := event.get("hearth")) and told["type"] == "tool.finished":
            called.append(told)
        for choice in event["choices"]:
            said += choice["delta"].get("content") or ""
            finish = choice["finish_reason"] or finish
    outcome = {call["name"]: call["is_error"] for call in called}
    seen = ", ".join(f"{name}{' failed' * failed}" for name, failed in outcome.items()) or "no tool"
    expect(outcome == expected, f"asked {text!r}, called {seen}, said {excerpt(said)}")
    expect(finish == "stop", f"finish_reason is {finish!r}")
    return said, len(called)
