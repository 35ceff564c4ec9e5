"""What goes wrong between a model, its tools and its client, each through the whole gateway."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from tests.integration.chat.conftest import Chat, Model, said, until
from tests.integration.gateway.conftest import CHAT, ask, error_of, metric_reaches
from tests.integration.gateway.fake_engine import USAGE, Exchange, FakeEngine, event
from tests.integration.tools.conftest import Process

OURS = {"type": "mcp", "server_label": "t"}
RESPONSES = "/v1/responses"


async def answered(client: aiohttp.ClientSession, **fields: Any) -> dict[str, Any]:
    """A whole chat completion."""
    async with client.post(CHAT, json=ask(tools=[OURS]) | fields) as answer:
        assert answer.status == 200, await answer.text()
        told: dict[str, Any] = await answer.json()
        return told


def results(model: Model, asked: int = -1) -> list[str]:
    """What the model read of its calls."""
    return [message["content"] for message in model.asked[asked]["messages"] if message["role"] == "tool"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("arguments", "again"),
    [('{"a": 2, "b": 3', True), ('{"text": "cut', True), ('{"text": "whole"', False), ("", True)],
    ids=["in a number", "in a string", "at its end", "nothing left"],
)
async def test_cut_arguments(chat: Chat, model: Model, stream: bool, arguments: str, again: bool) -> None:
    """A bracket at the end is all that can be missing, or the model writes the call again; nothing runs with {}."""
    client = await chat()
    name = "t_add" if "a" in arguments.partition(":")[0] else "t_echo"
    written = {"a": 2, "b": 3} if name == "t_add" else {"text": "written again"}
    model.turns = [said("", (name, arguments)), said("", (name, written), finish="stop"), said("ok")]
    if not again:
        del model.turns[1]
    await (await client.post(CHAT, json=ask(tools=[OURS], stream=stream))).read()
    assert results(model) == ["5" if name == "t_add" else "written again" if again else "whole"]
    assert len(model.asked) == 2 + again


async def test_one_tool_on_two_servers(chat: Chat, model: Model, server: Process) -> None:
    client = await chat({"allow": ["header"], "headers": {"x-who": "one"}}, servers={
        "t": {"url": server.url, "allow": ["header"], "headers": {"x-who": "the first"}},
        "u": {"url": server.url, "allow": ["header"], "headers": {"x-who": "the second"}},
    })  # fmt: skip
    model.turns = [said("", ("u_header", {"name": "x-who"}), ("t_header", {"name": "x-who"})), said("ok")]
    await answered(client, tools=[OURS, {"type": "mcp", "server_label": "u"}])
    assert results(model) == ["the second", "the first"]


@pytest.mark.parametrize("stream", [False, True])
async def test_three_rounds(chat: Chat, model: Model, stream: bool) -> None:
    client = await chat()
    steps = [said("", ("t_echo", {"text": str(number)})) for number in range(3)]
    model.turns = [*steps, said("Done.")]
    options = {"stream_options": {"include_usage": True}} if stream else {}
    async with client.post(CHAT, json=ask(tools=[OURS], stream=stream, **options)) as answer:
        text = await answer.text()
    last = json.loads(text.split("data: ")[-2] if stream else text)
    assert last["usage"]["total_tokens"] == 4 * USAGE["total_tokens"]
    assert results(model) == ["0", "1", "2"]
    await metric_reaches(client, 4.0, "hearth_tool_loop_rounds_sum", 'finish="answer"')
    await metric_reaches(client, 3.0, "hearth_tool_calls_total", 'tool="t_echo"', 'outcome="ok"', 'server="t"')
    await metric_reaches(client, 3.0, "hearth_tool_seconds_count", 'tool="t_echo"')
    await metric_reaches(client, 1.0, "hearth_time_to_first_token_seconds_count", CHAT)
    await metric_reaches(client, 1.0, "hearth_requests_total", CHAT, '"200"')


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"rounds": 1}, "1 rounds of tool calls"),
        ({"calls": 1}, "1 tool calls"),
        ({"tokens": USAGE["total_tokens"] + 1}, f"{USAGE['total_tokens'] + 1} tokens"),
    ],
    ids=["rounds", "calls", "tokens"],
)
async def test_each_limit_has_its_own_end(
    chat: Chat, model: Model, stream: bool, limits: dict[str, int], told: str
) -> None:
    client = await chat(limits=limits)
    (why,) = limits
    model.turns = [said("", ("t_echo", {"text": str(number)})) for number in range(2)]
    async with client.post(CHAT, json=ask(tools=[OURS], stream=stream)) as answer:
        text = await answer.text()
    choice = json.loads(text.split("data: ")[-2] if stream else text)["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["delta" if stream else "message"]["hearth"]["finish"] == why
    assert f"[Stopped: one request may take {told}.]" in text
    assert text.count('"finish_reason":"length"') == 1
    assert model.turns == []


async def test_a_tool_that_takes_too_long(chat: Chat, model: Model, server: Process) -> None:
    client = await chat({"timeout": 0.5})
    model.turns = [said("", ("t_hang", {"name": "late"}), ("t_echo", {"text": "quick"})), said("It hangs.")]
    assert (await answered(client))["choices"][0]["message"]["content"] == "It hangs."
    assert results(model) == ["Error: t_hang did not finish within 0.5 s and was cancelled.", "quick"]
    await until(lambda: "late cancelled" in server.lines())
    await metric_reaches(client, 1.0, "hearth_tool_calls_total", 'tool="t_hang"', 'outcome="timeout"')


async def test_a_server_killed_and_started_again_in_the_middle_of_calls(
    chat: Chat, model: Model, server: Process
) -> None:
    client = await chat()
    model.turns = [said("", ("t_read_once_dead", {"name": "r"})), said("", ("t_write_once_dead", {"name": "w"}))]
    model.turns.append(said("One is known."))
    asking = asyncio.create_task(answered(client))
    await server.died()
    await server.start()
    await server.died()
    await asking
    read, written = results(model)
    assert read == "read 2 times"
    assert "whether t_write_once_dead did its work is not known" in written
    assert server.lines().count("w written") == 1
    await server.start()


async def test_a_changed_list_is_the_next_request_s(chat: Chat, model: Model) -> None:
    client = await chat()
    model.turns = [said("", ("t_grow", {})), said("Grown."), said("", ("t_grown", {"a": 1, "b": 1})), said("2")]
    await answered(client)

    async def listed() -> bool:
        async with client.get("/v1/tools") as answer:
            return "t_grown" in [tool["name"] for tool in (await answer.json())["data"]]

    while not await listed():
        pass
    await answered(client)
    first, last = ([tool["function"]["name"] for tool in body["tools"]] for body in (model.asked[1], model.asked[2]))
    assert "t_grown" not in first, "one request has one list"
    assert last == sorted([*first, "t_grown"])
    assert results(model) == ["2"]


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_ends_the_model_s_work(
    chat: Chat, engine: FakeEngine, path: str, stream: bool
) -> None:
    client = await chat()
    speaks = asyncio.Event()

    async def endless(exchange: Exchange) -> None:
        if exchange.body.get("stream"):
            await exchange.start_stream()
            await exchange.chunk(event({"content": "and "}))
        speaks.set()
        await asyncio.Event().wait()

    engine.completes = endless
    body = (ask() if path == CHAT else {"input": "hello"}) | {"tools": [OURS], "stream": stream}
    asking = asyncio.create_task(read(client, path, body))
    await speaks.wait()
    asking.cancel()
    await asyncio.wait_for(engine.asked.aborted.wait(), 10)
    await metric_reaches(client, 1.0, "hearth_requests_total", path, '"499"')
    await metric_reaches(client, 0.0, "hearth_engine_in_flight")


async def read(client: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> None:
    async with client.post(path, json=body) as answer:
        await answer.read()


async def test_tokens_are_counted_of_an_answer_that_its_client_left(chat: Chat, engine: FakeEngine) -> None:
    client = await chat(settings={"tokens_per_minute": 300})
    spoken = asyncio.Event()

    async def speaks(exchange: Exchange) -> None:
        await exchange.start_stream()
        for _ in range(500):
            await exchange.chunk(event({"content": "and "}))
        spoken.set()
        await asyncio.Event().wait()

    engine.completes = speaks
    body = ask(tools=[OURS], stream=True)
    async with client.post(CHAT, json=body) as answer:
        heard = b""
        while heard.count(b"data: ") < 500:
            heard += await answer.content.readany()
    await metric_reaches(client, 0.0, "hearth_engine_in_flight")
    async with client.post(CHAT, json=body) as answer:
        assert answer.status == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert "300 tokens a minute" in (await error_of(answer))["message"]


async def test_an_approval_that_came_too_late(chat: Chat, model: Model, server: Process) -> None:
    client = await chat({"approval": "always"}, settings={"approval_seconds": 0.001})
    model.turns = [said("", ("t_write_once_dead", {"name": "w"}))]
    message = (await answered(client))["choices"][0]["message"]
    decision = {"token": message["hearth"]["approval"]["token"], "approve": True}
    body = ask(messages=[*ask()["messages"], message], tools=[OURS], hearth_approval=decision)
    async with client.post(CHAT, json=body) as answer:
        assert answer.status == 400
        assert (await error_of(answer))["code"] == "approval_expired"
    assert "w written" not in server.lines()
    assert len(model.asked) == 1
