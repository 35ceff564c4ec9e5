"""Chat completions with our tools: through the openai client, streamed and whole."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI, BadRequestError
from tests.integration.chat.conftest import Chat, Model, said, until
from tests.integration.gateway.conftest import ask, error_of, origin
from tests.integration.gateway.fake_engine import USAGE, Exchange, FakeEngine, event
from tests.integration.tools.conftest import Process

OURS = {"type": "mcp", "server_label": "t"}
LOOK_UP = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
CHAT = "/v1/chat/completions"


async def sdk(client: aiohttp.ClientSession) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{await origin(client)}/v1", api_key="none", max_retries=0)


async def events_of(answer: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    """The data of a stream's events, which must end as streams end."""
    assert answer.status == 200, await answer.text()
    assert answer.content_type == "text/event-stream"
    parts = (await answer.text()).split("\n\n")
    assert parts[-2:] == ["data: [DONE]", ""]
    return [json.loads(part.split("data: ", 1)[1]) for part in parts[:-2]]


async def test_a_whole_answer_after_a_call(chat: Chat, model: Model) -> None:
    client = await chat()
    model.turns = [said("", ("t_add", {"a": 2, "b": 3})), said("It is 5.")]
    async with await sdk(client) as openai:
        done = await openai.chat.completions.create(**ask(tools=[OURS]))
    assert done.choices[0].message.content == "It is 5."
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.total_tokens == 2 * USAGE["total_tokens"]
    first, second = model.asked
    assert "t_add" in [tool["function"]["name"] for tool in first["tools"]]
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "tool"]
    assert second["messages"][-1]["content"] == "5"
    assert second["tools"] == first["tools"]


async def test_a_stream_has_one_id_and_one_end(chat: Chat, model: Model) -> None:
    client = await chat()
    model.turns = [said("Let me see.", ("t_add", {"a": 2, "b": 3})), said("It is five.")]
    async with await sdk(client) as openai:
        stream = await openai.chat.completions.create(
            **ask(tools=[OURS], stream=True, stream_options={"include_usage": True})
        )
        chunks = [chunk async for chunk in stream]
    assert len({chunk.id for chunk in chunks}) == 1
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == "Let me see. \n\nIt is five. "
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
    assert choices[-1].finish_reason == "stop"
    assert not any(choice.delta.tool_calls for choice in choices)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 2 * USAGE["completion_tokens"]


async def test_text_is_the_engine_s_bytes(chat: Chat, engine: FakeEngine) -> None:
    client, seen = await chat(default=["t"]), asyncio.Event()
    words = [event({"role": "assistant", "content": ""}), event({"content": "Just "}), event({"content": "wörds"})]

    async def words_then_end(exchange: Exchange) -> None:
        await exchange.start_stream()
        for word in words:
            await exchange.chunk(word)
        await seen.wait()
        await exchange.chunk(event({}, "stop") + b"data: [DONE]\n\n")
        await exchange.end_stream()

    engine.completes = words_then_end
    async with client.post(CHAT, json=ask(stream=True)) as answer:
        assert await answer.content.readexactly(len(b"".join(words))) == b"".join(words)
        seen.set()
        end = json.loads((await answer.content.readuntil(b"\n\n")).removeprefix(b"data: "))
    assert end["id"] == "chatcmpl-1"
    assert end["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]


async def test_text_that_looks_like_a_call_and_is_none_is_shown(chat: Chat, model: Model) -> None:
    client = await chat(default=["t"])
    model.turns = [said('a <b> and a <tool_caller is text "tool_calls" too')]
    async with client.post(CHAT, json=ask(stream=True)) as answer:
        events = await events_of(answer)
    text = "".join(one["choices"][0]["delta"].get("content", "") for one in events if one["choices"])
    assert text == 'a <b> and a <tool_caller is text "tool_calls" too '


async def test_the_sdk_s_own_accumulator_reads_the_stream(chat: Chat, model: Model) -> None:
    client = await chat()
    model.turns = [said("", ("t_steps", {})), said("Done.")]
    async with await sdk(client) as openai, openai.chat.completions.stream(**ask(tools=[OURS])) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == "Done. "
    assert final.choices[0].finish_reason == "stop"


async def test_what_tools_do_is_told_beside_an_empty_delta(chat: Chat, model: Model) -> None:
    client = await chat()
    model.turns = [said("", ("t_steps", {})), said("Done.")]
    async with client.post(CHAT, json=ask(tools=[OURS], stream=True)) as answer:
        events = await events_of(answer)
    told = [event["hearth"] for event in events if "hearth" in event]
    assert [one["type"] for one in told] == ["tool.started", *["tool.progress"] * 3, "tool.finished"]
    assert told[1]["message"] == "step 1"
    assert {one["name"] for one in told} == {"t_steps"}
    assert all(not event["choices"][0]["delta"].get("content") for event in events if "hearth" in event)


async def test_a_client_that_asks_gets_events(chat: Chat, model: Model) -> None:
    client = await chat()
    model.turns = [said("", ("t_echo", {"text": "hi"})), said("hi")]
    options = {"hearth_events": True}
    async with client.post(CHAT, json=ask(tools=[OURS], stream=True, stream_options=options)) as answer:
        text = await answer.text()
    named = [part for part in text.split("\n\n") if part.startswith("event: hearth.tool\n")]
    assert [json.loads(part.split("data: ")[1])["type"] for part in named] == ["tool.started", "tool.finished"]


async def test_calls_run_at_once_and_results_keep_their_order(chat: Chat, model: Model, server: Process) -> None:
    client = await chat()
    calls = [("t_meet", {"name": "three", "of": 3}), ("t_echo", {"text": "quick"})]
    model.turns = [said("", *calls, *calls[:1], *calls[:1]), said("ok")]
    async with client.post(CHAT, json=ask(tools=[OURS])) as answer:
        assert answer.status == 200
    results = [message for message in model.asked[1]["messages"] if message["role"] == "tool"]
    assert [result["content"] for result in results] == ["met", "quick", "met", "met"]
    made = [call["id"] for call in model.asked[1]["messages"][1]["tool_calls"]]
    assert [result["tool_call_id"] for result in results] == made
    assert server.lines().count("three arrived") == 3


async def test_a_client_with_its_own_tools_is_passed_through(chat: Chat, model: Model, engine: FakeEngine) -> None:
    client = await chat()
    model.turns = [said("", ("look_up", {"x": 1}))]
    async with client.post(CHAT, json=ask(tools=[LOOK_UP])) as answer:
        body = await answer.read()
    assert json.loads(body)["id"] == "chatcmpl-1"  # the engine's own bytes
    assert engine.asked.body["tools"] == [LOOK_UP]


async def test_a_request_without_tools_gets_the_default(chat: Chat, model: Model) -> None:
    client = await chat(default=["t"])
    model.turns = [said("", ("t_echo", {"text": "hi"})), said("hi")]
    async with client.post(CHAT, json=ask()) as answer:
        assert (await answer.json())["choices"][0]["message"]["content"] == "hi"
    assert len(model.asked) == 2


@pytest.mark.parametrize("echoes", [True, False])
async def test_mixed_calls(chat: Chat, model: Model, echoes: bool) -> None:
    """Ours run, the client's come back to it, and its next request goes on with both results, in their order."""
    client = await chat()
    model.turns = [said("", ("t_add", {"a": 1, "b": 1}), ("look_up", {"x": "y"})), said("Both done.")]
    async with await sdk(client) as openai:
        first = await openai.chat.completions.create(**ask(tools=[OURS, LOOK_UP]))
        message = first.choices[0].message
        assert first.choices[0].finish_reason == "tool_calls"
        (call,) = message.tool_calls or []
        assert call.type == "function"
        assert call.function.name == "look_up"
        mine = message.model_dump(exclude_none=True) if echoes else {
            "role": "assistant", "content": message.content, "tool_calls": [call.model_dump()]
        }  # fmt: skip
        result = {"role": "tool", "tool_call_id": call.id, "content": "found"}
        second = await openai.chat.completions.create(
            **ask(messages=[{"role": "user", "content": "hello"}, mine, result], tools=[OURS, LOOK_UP])
        )
    assert second.choices[0].message.content == "Both done."
    messages = model.asked[1]["messages"]
    assert [one["role"] for one in messages] == ["user", "assistant", "tool", "tool"]
    assert [one["content"] for one in messages[2:]] == ["2", "found"]


@pytest.mark.parametrize("stream", [False, True])
async def test_malformed_arguments_are_written_again_by_schema(chat: Chat, model: Model, stream: bool) -> None:
    client = await chat()
    model.turns = [
        said("", ("t_add", '{"a": "two", "b": 3}')), said("", ("t_add", {"a": 2, "b": 3}), finish="stop"), said("5"),
    ]  # fmt: skip
    async with client.post(CHAT, json=ask(tools=[OURS], stream=stream)) as answer:
        assert answer.status == 200
        await answer.read()
    again = model.asked[1]
    assert again["tool_choice"] == {"type": "function", "function": {"name": "t_add"}}
    (strict,) = [tool for tool in again["tools"] if tool["function"].get("strict")]
    assert strict["function"]["name"] == "t_add"
    assert not again.get("stream")
    assert model.asked[2]["messages"][-1]["content"] == "5"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_left_in_the_text_is_found(chat: Chat, model: Model, stream: bool) -> None:
    client = await chat()
    text = 'Wait. <tool_call>\n{"name": "t_echo", "arguments": {"text": "x"}}\n</tool_call>'
    model.turns = [said(text), said("x it is")]
    async with client.post(CHAT, json=ask(tools=[OURS], stream=stream)) as answer:
        shown = await answer.text()
    assert "<tool_call>" not in shown
    assert "Wait." in shown
    assert model.asked[1]["messages"][-1]["content"] == "x"


async def test_an_unknown_tool_and_a_failing_one_are_told_to_the_model(chat: Chat, model: Model) -> None:
    client = await chat()
    model.turns = [said("", ("t_nothing", {}), ("t_fail", {})), said("Sorry.")]
    async with client.post(CHAT, json=ask(tools=[OURS])) as answer:
        assert (await answer.json())["choices"][0]["message"]["content"] == "Sorry."
    unknown, failed = (message["content"] for message in model.asked[1]["messages"][2:])
    assert "there is no tool 't_nothing'" in unknown
    assert "t_add" in unknown
    assert failed.startswith("Error")
    assert "tool fail" in failed


async def test_rounds_have_an_end(chat: Chat, model: Model) -> None:
    client = await chat(limits={"rounds": 2})
    model.turns = [said("", ("t_echo", {"text": str(n)})) for n in range(3)]
    async with client.post(CHAT, json=ask(tools=[OURS])) as answer:
        choice = (await answer.json())["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["hearth"]["finish"] == "rounds"
    assert "2 rounds" in choice["message"]["content"]


async def test_time_has_an_end_and_the_tool_s_call_too(chat: Chat, model: Model, server: Process) -> None:
    client = await chat(limits={"seconds": 1.5})
    model.turns = [said("One moment.", ("t_hang", {"name": "late"}))]
    async with client.post(CHAT, json=ask(tools=[OURS], stream=True)) as answer:
        events = await events_of(answer)
    assert events[-1]["choices"][0]["finish_reason"] == "length"
    assert events[-1]["choices"][0]["delta"]["hearth"]["finish"] == "seconds"
    await until(lambda: "late cancelled" in server.lines())


async def test_a_client_that_goes_takes_its_calls_along(chat: Chat, model: Model, server: Process) -> None:
    client = await chat()
    model.turns = [said("", ("t_hang", {"name": "gone"}))]
    asking = asyncio.create_task(client.post(CHAT, json=ask(tools=[OURS])))
    await until(lambda: "gone started" in server.lines())
    asking.cancel()
    await until(lambda: "gone cancelled" in server.lines())


async def test_a_long_result_is_cut_and_read_on(chat: Chat, model: Model) -> None:
    client = await chat({"result_tokens": 256})
    model.turns = [said("", ("t_big", {"lines": 500})), said("ok")]
    async with client.post(CHAT, json=ask(tools=[OURS])) as answer:
        await answer.read()
    cut = model.asked[1]["messages"][-1]["content"]
    assert "line 0" in cut
    assert "line 499" not in cut
    handle = cut.split('handle="')[1].split('"')[0]
    model.turns = [said("", ("hearth_read_result", {"handle": handle, "find": "line 499"})), said("ok")]
    async with client.post(CHAT, json=ask(tools=[OURS])) as answer:
        await answer.read()
    assert "line 499" in model.asked[3]["messages"][-1]["content"]


async def test_approval_granted_denied_and_forged(chat: Chat, model: Model, server: Process) -> None:
    client = await chat({"approval": "always"})
    call = ("t_add", {"a": 20, "b": 22})
    model.turns = [said("Shall I?", call), said("42"), said("As you wish.")]
    async with await sdk(client) as openai:
        asked = await openai.chat.completions.create(**ask(tools=[OURS]))
        extra: Any = asked.choices[0].message.model_extra
        approval = extra["hearth"]["approval"]
        assert [one["name"] for one in approval["calls"]] == ["t_add"]
        messages = [{"role": "user", "content": "hello"}, asked.choices[0].message.model_dump(exclude_none=True)]

        async def answer(**decision: Any) -> str | None:
            done = await openai.chat.completions.create(
                **ask(messages=messages, tools=[OURS]), extra_body={"hearth_approval": decision}
            )
            return done.choices[0].message.content

        assert await answer(token=approval["token"], approve=True) == "42"
        assert model.asked[1]["messages"][-1]["content"] == "42"
        assert await answer(token=approval["token"], approve=False, reason="no sums today") == "As you wish."
        assert "no sums today" in model.asked[2]["messages"][-1]["content"]
        with pytest.raises(BadRequestError, match="was changed"):
            await answer(token=approval["token"][:-2] + "xx", approve=True)


async def test_a_dead_server_costs_a_clear_error_and_nothing_else(chat: Chat, model: Model, server: Process) -> None:
    client = await chat()
    await server.kill()
    model.turns = [said("", ("t_echo", {"text": "hi"})), said("It is down.")]
    async with client.post(CHAT, json=ask(tools=[OURS])) as answer:
        assert (await answer.json())["choices"][0]["message"]["content"] == "It is down."
    assert model.asked[1]["messages"][-1]["content"].startswith("Error: ")


async def test_the_engine_s_refusal_is_the_client_s(chat: Chat, model: Model, engine: FakeEngine) -> None:
    client = await chat()

    async def refuse(exchange: Any) -> None:
        error = {"message": "The prompt is too long.", "type": "BadRequestError", "code": 400}
        await exchange.answer(json.dumps({"error": error}).encode(), status=400)

    engine.completes = refuse
    async with client.post(CHAT, json=ask(tools=[OURS], stream=True)) as answer:
        assert answer.status == 400
        assert (await error_of(answer))["message"] == "The prompt is too long."


async def test_a_later_round_that_fails_is_the_stream_s_last_event(
    chat: Chat, model: Model, engine: FakeEngine
) -> None:
    client = await chat()
    model.turns = [said("Let me see.", ("t_echo", {"text": "hi"}))]
    first = engine.completes

    async def then_cut(exchange: Any) -> None:
        if model.turns:
            await first(exchange)
        else:
            exchange.cut()

    engine.completes = then_cut
    async with client.post(CHAT, json=ask(tools=[OURS], stream=True)) as answer:
        text = await answer.text()
    assert "see." in text
    last = json.loads(text.strip().rsplit("data: ", 1)[1])
    assert last["error"]["code"] in ("engine_unavailable", "engine_broken")


async def test_an_unknown_server_is_named(chat: Chat) -> None:
    client = await chat()
    async with client.post(CHAT, json=ask(tools=[{"type": "mcp", "server_label": "u"}])) as answer:
        assert answer.status == 400
        assert "there is no server 'u'. Configured: t" in (await error_of(answer))["message"]


async def test_the_same_conversation_gives_the_same_bytes(chat: Chat, model: Model, engine: FakeEngine) -> None:
    """Prefix caching lives on it."""
    client = await chat()
    prompts = []
    for _ in range(2):
        model.turns = [said("", ("t_echo", {"text": "hi"})), said("hi")]
        async with client.post(CHAT, json=ask(tools=[OURS])) as answer:
            await answer.read()
        prompts.append([exchange.raw for exchange in engine.exchanges if exchange.method == "POST"][-2:])
    assert prompts[0] == prompts[1]
