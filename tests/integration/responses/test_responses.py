"""Responses through the openai client, streamed and whole, with the client's tools, ours and none."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError
from tests.integration.chat.conftest import Chat, Model, said, until
from tests.integration.gateway.conftest import Start, error_of, origin
from tests.integration.gateway.fake_engine import CONTEXT, NAMES, USAGE, Exchange, FakeEngine
from tests.integration.tools.conftest import Process

from hearth_gateway.auth import issue
from hearth_gateway.cli import main

PATH = "/v1/responses"
OURS = {"type": "mcp", "server_label": "t"}
LOOK_UP = {"type": "function", "name": "look_up", "parameters": {"type": "object"}, "strict": None}


@asynccontextmanager
async def sdk(client: aiohttp.ClientSession, key: str = "none") -> AsyncIterator[Any]:
    async with AsyncOpenAI(base_url=f"{await origin(client)}/v1", api_key=key, max_retries=0) as openai:
        yield openai.responses


def ask(input: Any = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": NAMES[0], "input": input} | fields


async def events_of(client: aiohttp.ClientSession, **fields: Any) -> list[dict[str, Any]]:
    async with client.post(PATH, json=ask(stream=True, **fields)) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream"), await answer.text()
        parts = (await answer.text()).split("\n\n")
    assert parts.pop() == ""
    events = []
    for part in parts:
        name, data = part.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


MESSAGE = ["output_item.added", "content_part.added"]
MESSAGE_DONE = ["output_text.done", "content_part.done", "output_item.done"]
MCP_CALL = ["output_item.added", "mcp_call.in_progress", "mcp_call_arguments.delta", "mcp_call_arguments.done"]


class TestWithoutTools:
    """No file names tool servers: the same loop, with nothing to call."""

    async def test_a_whole_answer(self, start: Start, model: Model) -> None:
        model.turns = [said("Good day.")]
        async with sdk(await start()) as responses:
            done = await responses.create(**ask(instructions="Be brief.", metadata={"a": "b"}, temperature=0.5))
        assert (done.status, done.output_text, done.model) == ("completed", "Good day. ", NAMES[0])
        assert (done.instructions, done.metadata, done.temperature) == ("Be brief.", {"a": "b"}, 0.5)
        assert done.usage.total_tokens == USAGE["total_tokens"]
        (body,) = model.asked
        assert body["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hello"},
        ]
        assert body.keys() == {"model", "messages", "temperature", "stream", "stream_options"}

    async def test_a_stream_has_openai_s_events_in_openai_s_order(self, start: Start, model: Model) -> None:
        model.turns = [said("Good day.")]
        events = await events_of(await start())
        deltas = ["output_text.delta"] * 2
        assert kinds(events) == ["created", "in_progress", *MESSAGE, *deltas, *MESSAGE_DONE, "completed"]
        assert events[0]["response"]["status"] == "in_progress"
        assert events[0]["response"]["output"] == []
        assert events[0]["response"]["id"] == events[-1]["response"]["id"]
        assert events[-1]["response"]["output"] == [events[-2]["item"]]
        assert "".join(event["delta"] for event in events if "delta" in event) == "Good day. "

    async def test_the_sdk_s_own_accumulator_reads_the_stream(self, start: Start, model: Model) -> None:
        model.turns = [said("Good day.")]
        async with sdk(await start()) as responses, responses.stream(**ask()) as stream:
            final = await stream.get_final_response()
        assert final.output_text == "Good day. "

    async def test_an_answer_cut_by_its_bound_is_incomplete(self, start: Start, model: Model) -> None:
        model.turns = [said("Good", finish="length")] * 2
        client = await start()
        async with sdk(client) as responses:
            done = await responses.create(**ask(max_output_tokens=65_535))
        assert (done.status, done.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        assert model.asked[0]["max_completion_tokens"] == CONTEXT
        assert kinds(await events_of(client))[-1] == "incomplete"

    async def test_an_answer_by_schema(self, start: Start, model: Model) -> None:
        model.turns = [said('{"x":1}')]
        schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
        form = {"type": "json_schema", "name": "point", "schema": schema, "strict": True}
        async with sdk(await start()) as responses:
            await responses.create(**ask(text={"format": form}))
        assert model.asked[0]["response_format"] == {
            "type": "json_schema", "json_schema": {"name": "point", "schema": schema, "strict": True},
        }  # fmt: skip

    async def test_what_a_desktop_agent_asks_to_check_a_model(self, start: Start, model: Model) -> None:
        model.turns = [said("2")]
        fields = {"temperature": 0, "top_p": 0.7, "max_output_tokens": 65_535, "thinking": {"type": "disabled"},
                  "truncation": None, "previous_response_id": None, "seed": None}  # fmt: skip
        input = [{"role": "user", "content": [{"type": "input_text", "text": "return 1+1=?"}]}]
        client = await start()
        async with client.post(PATH, json=ask(input, stream=False, **fields)) as answer:
            assert (answer.status, (await answer.json())["output"][0]["content"][0]["text"]) == (200, "2 ")


class TestConversation:
    async def test_it_goes_on_from_a_response(self, start: Start, model: Model) -> None:
        model.turns = [said("I am Ada."), said("You asked my name."), said("Elsewhere.")]
        async with sdk(await start()) as responses:
            first = await responses.create(**ask("Who are you?", instructions="Be Ada."))
            second = await responses.create(**ask("What did I ask?", previous_response_id=first.id))
            await responses.create(**ask("And?", previous_response_id=second.id))
            assert (await responses.retrieve(first.id)).output_text == first.output_text
        assert second.previous_response_id == first.id
        assert [one["content"] for one in model.asked[1]["messages"]] == [
            "Who are you?", "I am Ada. ", "What did I ask?",
        ]  # fmt: skip
        assert [one["content"] for one in model.asked[2]["messages"]][3:] == ["You asked my name. ", "And?"]

    async def test_a_stream_is_stored_before_it_ends(self, start: Start, model: Model) -> None:
        model.turns = [said("one"), said("two")]
        client = await start()
        first = (await events_of(client))[-1]["response"]
        async with client.get(f"{PATH}/{first['id']}") as answer:
            assert await answer.json() == first
        assert (await events_of(client, previous_response_id=first["id"]))[-1]["type"] == "response.completed"
        assert [one["content"] for one in model.asked[1]["messages"]] == ["hello", "one ", "hello"]

    async def test_what_is_deleted_or_not_stored_is_gone_and_what_followed_stays(
        self, start: Start, model: Model
    ) -> None:
        model.turns = [said(str(n)) for n in range(4)]
        async with sdk(await start()) as responses:
            first = await responses.create(**ask())
            second = await responses.create(**ask(previous_response_id=first.id))
            await responses.delete(first.id)
            with pytest.raises(NotFoundError, match=first.id):
                await responses.retrieve(first.id)
            with pytest.raises(NotFoundError, match=first.id):
                await responses.delete(first.id)
            with pytest.raises(BadRequestError, match=first.id) as error:
                await responses.create(**ask(previous_response_id=first.id))
            assert (error.value.code, error.value.param) == ("previous_response_not_found", "previous_response_id")
            await responses.create(**ask(previous_response_id=second.id))
            unstored = await responses.create(**ask(store=False))
            with pytest.raises(NotFoundError):
                await responses.retrieve(unstored.id)
        assert len(model.asked[2]["messages"]) == 5

    async def test_it_is_its_user_s_alone(self, start: Start, model: Model, tmp_path: Path) -> None:
        model.turns = [said("secret")]
        keys = [issue(tmp_path / "keys", name) for name in ("alice", "bob")]
        client = await start(api_keys_file=tmp_path / "keys")
        async with sdk(client, keys[0]) as alice, sdk(client, keys[1]) as bob:
            mine = await alice.create(**ask())
            for attempt in (bob.retrieve(mine.id), bob.delete(mine.id)):
                with pytest.raises(NotFoundError):
                    await attempt
            with pytest.raises(BadRequestError):
                await bob.create(**ask(previous_response_id=mine.id))
            assert (await alice.retrieve(mine.id)).id == mine.id

    async def test_a_file_outlives_the_gateway(self, start: Start, model: Model, tmp_path: Path) -> None:
        model.turns = [said("one"), said("two")]
        file = tmp_path / "responses.sqlite"
        async with sdk(await start(responses_file=file)) as responses:
            first = await responses.create(**ask())
        async with sdk(await start(responses_file=file)) as responses:
            await responses.create(**ask(previous_response_id=first.id))
        assert len(model.asked[1]["messages"]) == 3
        assert file.stat().st_mode & 0o077 == 0

    async def test_what_it_goes_on_from_is_in_the_replay_log(
        self, start: Start, model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model.turns = [said("one", ("look_up", {})), said("two")]
        file = tmp_path / "replay.jsonl"
        async with sdk(await start(replay_log=file)) as responses:
            first = await responses.create(**ask(tools=[LOOK_UP]))
            result = {"type": "function_call_output", "call_id": first.output[1].call_id, "output": "x"}
            await responses.create(**ask([result], previous_response_id=first.id, tools=[LOOK_UP]))
        assert await asyncio.to_thread(main, ["replay", str(file)]) == 0
        assert "2 conversations, 0 different" in capsys.readouterr().out


class TestFunctions:
    @pytest.mark.parametrize("stored", [True, False])
    async def test_a_round_trip(self, start: Start, model: Model, stored: bool) -> None:
        """With the response's id, or with all items sent back."""
        model.turns = [said("Let me look.", ("look_up", {"x": 1}), ("look_up", {"x": 2})), said("Found.")]
        async with sdk(await start()) as responses:
            first = await responses.create(**ask(tools=[LOOK_UP], store=stored))
            message, *calls = first.output
            assert (first.status, message.type, [call.type for call in calls]) == (
                "completed", "message", ["function_call"] * 2,
            )  # fmt: skip
            results = [
                {"type": "function_call_output", "call_id": call.call_id, "output": f"<{call.arguments}>"}
                for call in calls
            ]
            before = [] if stored else [{"role": "user", "content": "hello"}, *first.output]
            more = {"previous_response_id": first.id} if stored else {}
            second = await responses.create(**ask([*before, *results], tools=[LOOK_UP], **more))
        assert second.output_text == "Found. "
        user, assistant, *answers = model.asked[1]["messages"]
        assert user == {"role": "user", "content": "hello"}
        assert assistant["content"] == "Let me look. "
        assert [call["id"] for call in assistant["tool_calls"]] == [call.call_id for call in calls]
        assert [one["content"] for one in answers] == ['<{"x": 1}>', '<{"x": 2}>']
        assert model.asked[0]["tools"] == [
            {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
        ]

    async def test_its_events(self, start: Start, model: Model) -> None:
        model.turns = [said("", ("look_up", {"x": 1}))] * 2
        client = await start()
        events = await events_of(client, tools=[LOOK_UP])
        call = [
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
        ]
        assert kinds(events) == ["created", "in_progress", *call, "completed"]
        assert events[2]["item"]["arguments"] == ""
        assert events[-2]["item"]["arguments"] == '{"x": 1}'
        async with sdk(client) as responses, responses.stream(**ask(tools=[LOOK_UP])) as stream:
            (item,) = (await stream.get_final_response()).output
        assert (item.name, item.arguments) == ("look_up", '{"x": 1}')

    async def test_an_output_of_no_call_is_named(self, start: Start, model: Model) -> None:
        result = {"type": "function_call_output", "call_id": "call_9", "output": "x"}
        async with sdk(await start()) as responses:
            with pytest.raises(BadRequestError, match=r"input\[1\].call_id: there is no function_call 'call_9'"):
                await responses.create(**ask([{"role": "user", "content": "hi"}, result]))


class TestOurTools:
    async def test_a_call_is_an_item(self, chat: Chat, model: Model) -> None:
        model.turns = [said("Let me see.", ("t_add", {"a": 2, "b": 3})), said("It is 5.")]
        async with sdk(await chat()) as responses:
            done = await responses.create(**ask(tools=[OURS]))
        before, call, after = done.output
        assert (before.content[0].text, after.content[0].text) == ("Let me see. ", "It is 5. ")
        assert (call.type, call.server_label, call.name, call.output, call.status) == (
            "mcp_call", "t", "t_add", "5", "completed",
        )  # fmt: skip
        assert json.loads(call.arguments) == {"a": 2, "b": 3}
        assert done.usage.total_tokens == 2 * USAGE["total_tokens"]
        assert done.tools[0].type == "mcp"

    async def test_its_events(self, chat: Chat, model: Model) -> None:
        model.turns = [said("Wait.", ("t_add", {"a": 2, "b": 3})), said("5")] * 2
        client = await chat()
        events = await events_of(client, tools=[OURS])
        assert kinds(events) == [
            "created", "in_progress", *MESSAGE, "output_text.delta", *MESSAGE_DONE,
            *MCP_CALL, "mcp_call.completed", "output_item.done",
            *MESSAGE, "output_text.delta", *MESSAGE_DONE, "completed",
        ]  # fmt: skip
        assert [item["type"] for item in events[-1]["response"]["output"]] == ["message", "mcp_call", "message"]
        async with sdk(client) as responses, responses.stream(**ask(tools=[OURS])) as stream:
            final = await stream.get_final_response()
        assert final.output_text == "Wait. 5 "

    async def test_calls_at_once_have_items_of_their_own(self, chat: Chat, model: Model) -> None:
        calls = [("t_meet", {"name": "two", "of": 2}), ("t_fail", {}), ("t_meet", {"name": "two", "of": 2})]
        model.turns = [said("", *calls), said("Met.")]
        async with sdk(await chat()) as responses:
            done = await responses.create(**ask(tools=[OURS]))
        assert [item.status for item in done.output] == ["completed", "failed", "completed", "completed"]
        assert [item.output for item in done.output[:3]] == ["met", None, "met"]
        assert "tool fail" in done.output[1].error.content[0]["text"]

    @pytest.mark.parametrize("how", ["stored", "items", "rewritten"])
    async def test_the_model_reads_again_what_it_read(self, chat: Chat, model: Model, how: str) -> None:
        """From the store, from items as they came, and from items without fields of ours."""
        model.turns = [
            said("", ("t_add", {"a": 1, "b": 1})),
            said("", ("t_echo", {"text": "x"})),
            said("2"),
            said("ok"),
        ]
        async with sdk(await chat()) as responses:
            first = await responses.create(**ask(tools=[OURS]))
            output = [item.model_dump(exclude_none=True) for item in first.output]
            if how == "rewritten":
                output = [{name: value for name, value in item.items() if name != "hearth"} for item in output]
            before = [] if how == "stored" else [{"role": "user", "content": "hello"}, *output]
            more = {"previous_response_id": first.id} if how == "stored" else {}
            await responses.create(**ask([*before, {"role": "user", "content": "sure?"}], tools=[OURS], **more))
        said_then, last = model.asked[2]["messages"], model.asked[3]["messages"]
        assert [one["content"] for one in last if one["role"] == "tool"] == ["2", "x"]
        assert [one["content"] for one in last][-2:] == ["2 ", "sure?"]
        if how != "rewritten":
            assert last[: len(said_then)] == said_then  # the engine has them in its cache

    @pytest.mark.parametrize("stored", [True, False])
    async def test_mixed_calls(self, chat: Chat, model: Model, stored: bool) -> None:
        model.turns = [said("", ("look_up", {"x": "y"}), ("t_add", {"a": 1, "b": 1})), said("Both.")]
        async with sdk(await chat()) as responses:
            first = await responses.create(**ask(tools=[OURS, LOOK_UP]))
            ours, theirs = first.output
            assert (ours.type, ours.output, theirs.type) == ("mcp_call", "2", "function_call")
            result = {"type": "function_call_output", "call_id": theirs.call_id, "output": "found"}
            before = [] if stored else [{"role": "user", "content": "hello"}, *first.output]
            more = {"previous_response_id": first.id} if stored else {}
            second = await responses.create(**ask([*before, result], tools=[OURS, LOOK_UP], **more))
        assert second.output_text == "Both. "
        _, assistant, *results = model.asked[1]["messages"]
        assert [call["function"]["name"] for call in assistant["tool_calls"]] == ["look_up", "t_add"]
        assert [one["content"] for one in results] == ["found", "2"]

    async def test_a_request_without_tools_gets_the_default(self, chat: Chat, model: Model) -> None:
        model.turns = [said("", ("t_echo", {"text": "hi"})), said("hi")]
        async with sdk(await chat(default=["t"])) as responses:
            assert [item.type for item in (await responses.create(**ask())).output] == ["mcp_call", "message"]

    async def test_a_tool_is_chosen_by_its_server_and_name(self, chat: Chat, model: Model) -> None:
        model.turns = [said("", ("t_echo", {"text": "hi"})), said("hi")]
        choice = {"type": "mcp", "server_label": "t", "name": "echo"}
        async with sdk(await chat()) as responses:
            await responses.create(**ask(tools=[OURS], tool_choice=choice))
        assert model.asked[0]["tool_choice"] == {"type": "function", "function": {"name": "t_echo"}}


class TestLimits:
    async def test_rounds_have_an_end(self, chat: Chat, model: Model) -> None:
        model.turns = [said("", ("t_echo", {"text": str(n)})) for n in range(3)]
        async with sdk(await chat(limits={"rounds": 2})) as responses:
            done = await responses.create(**ask(tools=[OURS]))
        assert (done.status, done.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        assert done.model_extra["hearth"] == {"finish": "rounds"}
        assert "2 rounds" in done.output_text

    async def test_a_request_may_bound_its_calls(self, chat: Chat, model: Model) -> None:
        model.turns = [said("", *[("t_echo", {"text": str(n)}) for n in range(3)]), said("", ("t_echo", {"text": "4"}))]
        async with sdk(await chat()) as responses:
            done = await responses.create(**ask(tools=[OURS], max_tool_calls=2))
        assert [item.output for item in done.output if item.type == "mcp_call"] == ["0", "1"]
        assert done.model_extra["hearth"] == {"finish": "calls"}

    async def test_a_call_that_time_cut_is_incomplete(self, chat: Chat, model: Model, server: Process) -> None:
        model.turns = [said("Wait.", ("t_hang", {"name": "late"}))]
        events = await events_of(await chat(limits={"seconds": 1.5}), tools=[OURS])
        assert events[-1]["type"] == "response.incomplete"
        assert [item["status"] for item in events[-1]["response"]["output"]] == [
            "completed",
            "incomplete",
            "incomplete",
        ]
        assert kinds(events).count("output_item.added") == kinds(events).count("output_item.done")
        await until(lambda: "late cancelled" in server.lines())

    async def test_a_client_that_goes_takes_its_calls_along(self, chat: Chat, model: Model, server: Process) -> None:
        model.turns = [said("", ("t_hang", {"name": "gone"}))]
        client = await chat()
        asking = asyncio.create_task(client.post(PATH, json=ask(tools=[OURS])))
        await until(lambda: "gone started" in server.lines())
        asking.cancel()
        await until(lambda: "gone cancelled" in server.lines())


class TestApproval:
    @pytest.mark.parametrize("stored", [True, False])
    async def test_granted_denied_and_gone_on_from(self, chat: Chat, model: Model, stored: bool) -> None:
        calls = [("t_add", {"a": 20, "b": 22}), ("t_add", {"a": 1, "b": 1})]
        model.turns = [said("Shall I?", *calls), said("42"), said("You are welcome.")]
        history: list[Any] = [{"role": "user", "content": "hello"}]
        async with sdk(await chat({"approval": "always"})) as responses:

            async def go_on(*items: Any, after: Any) -> Any:
                history.extend([*after.output, *items])
                if stored:
                    return await responses.create(**ask([*items], tools=[OURS], previous_response_id=after.id))
                return await responses.create(**ask(history, tools=[OURS]))

            asked = await responses.create(**ask(tools=[OURS]))
            _, *questions = asked.output
            assert (asked.status, asked.output_text) == ("completed", "Shall I? ")
            assert [(one.type, one.server_label, one.name) for one in questions] == [
                ("mcp_approval_request", "t", "t_add")
            ] * 2
            assert json.loads(questions[0].arguments) == {"a": 20, "b": 22}
            answers = [
                {"type": "mcp_approval_response", "approval_request_id": question.id, "approve": approve, "reason": why}
                for question, approve, why in zip(questions, (True, False), (None, "enough sums"), strict=True)
            ]
            done = await go_on(*answers, after=asked)
            assert [item.type for item in done.output] == ["mcp_call", "message"]
            assert done.output_text == "42 "
            results = [one["content"] for one in model.asked[1]["messages"] if one["role"] == "tool"]
            assert results[0] == "42"
            assert "enough sums" in results[1]
            assert (await go_on({"role": "user", "content": "Thanks."}, after=done)).output_text == "You are welcome. "
        assert model.asked[2]["messages"][: len(model.asked[1]["messages"])] == model.asked[1]["messages"]

    async def test_its_events(self, chat: Chat, model: Model) -> None:
        model.turns = [said("", ("t_add", {"a": 20, "b": 22}))]
        events = await events_of(await chat({"approval": "always"}), tools=[OURS])
        assert kinds(events) == ["created", "in_progress", "output_item.added", "output_item.done", "completed"]

    async def test_forged(self, chat: Chat, model: Model) -> None:
        model.turns = [said("", ("t_add", {"a": 20, "b": 22}))]
        async with sdk(await chat({"approval": "always"})) as responses:
            asked = await responses.create(**ask(tools=[OURS]))
            token, call_id = asked.output[0].id.split(":")
            answer = {"type": "mcp_approval_response", "approve": True}
            for forged in (f"{token[:-2]}xx:{call_id}", "nonsense"):
                with pytest.raises(BadRequestError, match="approval_request_id"):
                    await responses.create(
                        **ask([answer | {"approval_request_id": forged}], previous_response_id=asked.id, tools=[OURS])
                    )
        assert len(model.asked) == 1

    async def test_a_user_who_says_something_else(self, chat: Chat, model: Model) -> None:
        model.turns = [said("Shall I?", ("t_add", {"a": 20, "b": 22})), said("Fine.")]
        async with sdk(await chat({"approval": "always"})) as responses:
            asked = await responses.create(**ask(tools=[OURS]))
            await responses.create(**ask("Never mind.", previous_response_id=asked.id))
        assert [one["content"] for one in model.asked[1]["messages"]] == ["hello", "Shall I? ", "Never mind."]


class TestErrors:
    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"input": None}, "input"),
            ({"input": []}, "input"),
            ({"input": 5}, "input"),
            ({"input": ["text"]}, "input[0]"),
            ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
            ({"input": [{"type": ["x"]}]}, "input[0]"),
            ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
            ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
            ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:x"}]}]},
             "input[0].content"),
            ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}, "input[0].content"),
            ({"input": [{"type": "mcp_approval_response", "approval_request_id": "x", "approve": True}]}, "input"),
            ({"model": "other"}, "model"),
            ({"instructions": ["x"]}, "instructions"),
            ({"stream": "yes"}, "stream"),
            ({"store": 1}, "store"),
            ({"max_output_tokens": 0}, "max_output_tokens"),
            ({"max_tool_calls": True}, "max_tool_calls"),
            ({"metadata": {"a": 1}}, "metadata"),
            ({"background": True}, "background"),
            ({"conversation": "conv_1"}, "conversation"),
            ({"truncation": "auto"}, "truncation"),
            ({"top_logprobs": 3}, "top_logprobs"),
            ({"include": ["message.output_text.logprobs"]}, "include"),
            ({"tools": [{"type": "web_search"}]}, "tools[0]"),
            ({"tools": {"type": "mcp"}}, "tools"),
            ({"tools": [{"type": "mcp", "server_label": "u"}]}, "tools[0].server_label"),
            ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
            ({"text": {"format": {"type": "regex"}}}, "text.format"),
            ({"priority": 1}, "priority"),
        ],
    )  # fmt: skip
    async def test_a_bad_request_is_named_and_never_reaches_the_engine(
        self, start: Start, engine: FakeEngine, fields: dict[str, Any], param: str
    ) -> None:
        client = await start()
        async with client.post(PATH, json=ask() | fields) as answer:
            assert answer.status in (400, 404)
            assert (await error_of(answer))["param"] == param
        assert not any(exchange.method == "POST" for exchange in engine.exchanges)

    async def test_a_body_nested_too_deep_is_400(self, start: Start) -> None:
        client = await start()
        body = '{"input": "x", "metadata": ' + "[" * 252 + "]" * 252 + "}"
        async with client.post(PATH, data=body, headers={"content-type": "application/json"}) as answer:
            assert (answer.status, (await error_of(answer))["code"]) == (400, "invalid_json")

    @pytest.mark.parametrize("stream", [False, True])
    async def test_the_engine_s_refusal_is_the_client_s(self, start: Start, engine: FakeEngine, stream: bool) -> None:
        async def refuse(exchange: Exchange) -> None:
            error = {"message": "The prompt is too long.", "type": "BadRequestError", "code": 400}
            await exchange.answer(json.dumps({"error": error}).encode(), status=400)

        engine.completes = refuse
        client = await start()
        async with client.post(PATH, json=ask(stream=stream)) as answer:
            assert answer.status == 400
            assert (await error_of(answer))["message"] == "The prompt is too long."

    async def test_a_later_round_that_fails_is_the_stream_s_last_event(
        self, chat: Chat, model: Model, engine: FakeEngine
    ) -> None:
        model.turns = [said("Let me see.", ("t_echo", {"text": "hi"}))]
        first = engine.completes

        async def then_cut(exchange: Exchange) -> None:
            if model.turns:
                await first(exchange)
            else:
                exchange.cut()

        engine.completes = then_cut
        client = await chat()
        last = (await events_of(client, tools=[OURS]))[-1]
        assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
        assert last["response"]["error"]["code"] == "server_error"
        async with client.get(f"{PATH}/{last['response']['id']}") as answer:
            assert answer.status == 404
