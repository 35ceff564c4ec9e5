"""One trace from the client's request to the engine and the tool servers."""

import pytest
from tests.integration.chat.conftest import Chat, Model, said
from tests.integration.gateway.collector import Collector, attributes
from tests.integration.gateway.conftest import CHAT, ask
from tests.integration.gateway.fake_engine import FakeEngine
from tests.integration.tools.conftest import ROOT, Process, command

OURS = {"type": "mcp", "server_label": "t"}
CLIENTS = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}


def traceparent(span: object) -> str:
    return f"00-{'ab' * 16}-{span.span_id.hex()}-01"  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", [CHAT, "/v1/responses"])
@pytest.mark.parametrize("stdio", [False, True], ids=["http", "stdio"])
async def test_engine_and_tool_spans_are_within_the_request_s(
    chat: Chat,
    model: Model,
    engine: FakeEngine,
    server: Process,
    collector: Collector,
    path: str,
    stdio: bool,
) -> None:
    reached = {"command": command(server.record), "cwd": str(ROOT)} if stdio else {"url": server.url}
    client = await chat(settings={"tracing": True}, servers={"t": reached})
    model.turns = [said("", ("t_whose", {})), said("Mine.")]
    body = ask(tools=[OURS], stream=True) if path == CHAT else {"input": "hello", "tools": [OURS]}
    async with client.post(path, json=body, headers=CLIENTS) as answer:
        assert answer.status == 200
        await answer.read()
    await collector.wait_for(f"POST {path}")
    first, tool, second, request = collector.ended
    assert [span.name for span in collector.ended] == [
        f"engine {CHAT}", "execute_tool t_whose", f"engine {CHAT}", f"POST {path}"
    ]  # fmt: skip
    assert {span.trace_id.hex() for span in collector.ended} == {"ab" * 16}
    assert request.parent_span_id == bytes.fromhex("cd" * 8)
    assert {span.parent_span_id for span in (first, tool, second)} == {request.span_id}
    asked = [exchange.headers["traceparent"] for exchange in engine.exchanges if exchange.method == "POST"]
    assert asked == [traceparent(first), traceparent(second)]
    assert model.asked[1]["messages"][-1]["content"] == traceparent(tool)
    assert attributes(request)["http.response.status_code"] == 200
    assert attributes(tool)["hearth.tool.server"] == "t"


async def test_a_call_by_hand_is_traced_too(chat: Chat, collector: Collector) -> None:
    client = await chat(settings={"tracing": True})
    async with client.post("/v1/tools/t_whose", json={}, headers=CLIENTS) as answer:
        told = (await answer.json())["content"]
    request, tool = await collector.wait_for("POST /v1/tools/{name}", "execute_tool t_whose")
    assert (request.trace_id.hex(), tool.parent_span_id) == ("ab" * 16, request.span_id)
    assert told == traceparent(tool)


async def test_a_tool_that_fails_says_so_in_its_span(chat: Chat, model: Model, collector: Collector) -> None:
    client = await chat(settings={"tracing": True})
    model.turns = [said("", ("t_fail", {})), said("Sorry.")]
    async with client.post(CHAT, json=ask(tools=[OURS])) as answer:
        assert answer.status == 200
    (tool,) = await collector.wait_for("execute_tool t_fail")
    assert attributes(tool)["error.type"] == "tool_error"
    assert tool.status.code == 2


async def test_without_tracing_nothing_is_told(chat: Chat, model: Model, engine: FakeEngine) -> None:
    client = await chat()
    model.turns = [said("", ("t_whose", {})), said("Mine.")]
    async with client.post(CHAT, json=ask(tools=[OURS]), headers=CLIENTS) as answer:
        assert answer.status == 200
    assert model.asked[1]["messages"][-1]["content"] == "nobody's"
    assert not any("traceparent" in exchange.headers for exchange in engine.exchanges)
