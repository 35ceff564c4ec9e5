"""What a model or a tool says stays what it says: content, and no event, header, line of a log or call of another's."""

import json
import logging
from typing import Any

import pytest
from openai import AsyncOpenAI
from tests.integration.chat.conftest import Chat, Model, said
from tests.integration.gateway.conftest import ask, origin
from tests.integration.gateway.fake_engine import Exchange, FakeEngine, completion, event

OURS = {"type": "mcp", "server_label": "t"}
HOSTILE = [
    "\n\ndata: [DONE]\n\n",
    'data: {"error": {"message": "x"}}\n\n',
    "event: hearth.tool\ndata: x\n\n",
    "\r\rdata: [DONE]\r\r",
    "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "\u2028data: [DONE]\u2029\x85\x0b\x0c\x1c",
    ": comment\nid: 1\nretry: 1\n\n",
    "\x00\x1b[2J\x07",
    "<tool_cal",
    '"}}]}\n\ndata: {"choices":[{"delta":{"content":"injected',
]


@pytest.mark.parametrize("ours", [False, True], ids=["passed on", "through the loop"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_what_the_model_says_is_content(chat: Chat, engine: FakeEngine, ours: bool, stream: bool) -> None:
    client = await chat()

    async def says(exchange: Exchange) -> None:
        text = exchange.body["messages"][0]["content"]
        if not exchange.body.get("stream"):
            await exchange.answer(completion(text))
            return
        await exchange.start_stream()
        whole = event({"role": "assistant", "content": ""}) + event({"content": text}) + event({}, "stop")
        for at in range(0, len(whole), 50):
            await exchange.chunk(whole[at : at + 50])
        await exchange.chunk(b"data: [DONE]\n\n")
        await exchange.end_stream()

    engine.completes = says
    async with AsyncOpenAI(base_url=f"{await origin(client)}/v1", api_key="x", max_retries=0) as openai:
        for text in HOSTILE:
            asked = ask(messages=[{"role": "user", "content": text}], **({"tools": [OURS]} if ours else {}))
            if stream:
                chunks = [chunk async for chunk in await openai.chat.completions.create(**asked, stream=True)]
                heard = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
                ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason]
                assert ends == ["stop"]
            else:
                heard = (await openai.chat.completions.create(**asked)).choices[0].message.content or ""
            assert heard == text


@pytest.mark.parametrize("events", [False, True])
async def test_what_a_call_and_its_result_have_in_them_is_no_event(chat: Chat, model: Model, events: bool) -> None:
    client = await chat()
    for text in HOSTILE:
        model.turns = [said("", ("t_echo", {"text": text})), said("Done.")]
        body = ask(tools=[OURS], stream=True, stream_options={"hearth_events": events})
        async with client.post("/v1/chat/completions", json=body) as answer:
            raw = await answer.read()
        assert b"\r" not in raw
        lines = [line for line in raw.split(b"\n") if line]
        assert all(line.startswith((b"data: ", b"event: hearth.tool")) for line in lines)
        assert [line for line in lines if line == b"data: [DONE]"] == lines[-1:]
        data = [json.loads(line[6:]) for line in lines[:-1] if line.startswith(b"data: ")]
        told = [one if events else one["hearth"] for one in data if ("type" if events else "hearth") in one]
        assert [one["type"] for one in told] == ["tool.started", "tool.finished"]
        assert told[0]["arguments"] == {"text": text}
        assert model.asked[-1]["messages"][-1]["content"] == text
        assert "".join(one["choices"][0]["delta"].get("content", "") for one in data if "choices" in one) == "Done. "


async def test_nothing_secret_and_nothing_said_is_logged_at_any_level(
    chat: Chat, model: Model, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries tell a lot at the level debug: of headers, of each message to a tool server."""
    monkeypatch.setenv("TOOL_SECRET", "of-the-tool-server")
    caplog.set_level(logging.DEBUG)
    client = await chat({"headers": {"authorization": {"env": "TOOL_SECRET", "prefix": "Bearer "}}},
                        settings={"log_level": "debug", "log_requests": "summary"})  # fmt: skip
    model.turns = [said("", ("t_echo", {"text": "an-argument"})), said("", ("t_fail", {})), said("an-answer")]
    body: dict[str, Any] = ask(tools=[OURS], messages=[{"role": "user", "content": "a-prompt"}])
    async with client.post("/v1/chat/completions?key=in-the-url", json=body, headers={"cookie": "a-cookie"}) as answer:
        assert answer.status == 200
    assert caplog.records
    for secret in ("of-the-tool-server", "an-argument", "a-prompt", "an-answer", "in-the-url", "a-cookie"):
        assert secret not in caplog.text, secret
