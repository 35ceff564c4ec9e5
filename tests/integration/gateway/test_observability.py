"""Traces that join the client's, the gateway's and the engine's; logs without text; a replay log that reproduces."""

import asyncio
import json
import logging
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.integration.gateway.collector import Collector, attributes
from tests.integration.gateway.conftest import CHAT, Start, ask, metric_reaches
from tests.integration.gateway.fake_engine import EVENTS, Exchange, FakeEngine

from hearth_gateway import logs
from hearth_gateway.app import create_app
from hearth_gateway.catalog import Catalog
from hearth_gateway.cli import main
from hearth_gateway.replay import RecordedTools, ReplayError, ReplayLog, _Player, read, replay
from hearth_gateway.request import clean
from hearth_gateway.settings import Settings, SettingsError
from hearth_gateway.tools.types import Call, PreparedCall, Result, Tool
from hearth_gateway.trace import Traces

SECRET = "the prompt nobody may read"


class TestTraces:
    async def test_the_clients_trace_goes_on_through_the_gateway_into_the_engine(
        self, start: Start, engine: FakeEngine, collector: Collector
    ) -> None:
        client = await start(tracing=True)
        sent = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "x-request-id": "r-1"}
        body = ask(messages=[{"role": "user", "content": SECRET}], stream=True)
        async with client.post(CHAT, json=body, headers=sent) as answer:
            await answer.read()
        outer, inner = await collector.wait_for(f"POST {CHAT}", f"engine {CHAT}")
        assert outer.trace_id == inner.trace_id == bytes.fromhex("ab" * 16)
        assert outer.parent_span_id == bytes.fromhex("cd" * 8)
        assert inner.parent_span_id == outer.span_id
        assert engine.asked.headers["traceparent"] == f"00-{'ab' * 16}-{inner.span_id.hex()}-01"
        assert attributes(outer)["hearth.request_id"] == "r-1"
        assert attributes(outer)["http.response.status_code"] == 200
        assert attributes(inner)["gen_ai.usage.output_tokens"] == 3
        assert collector.service == "hearth-gateway"
        assert SECRET.encode() not in collector.raw

    async def test_failures_have_their_code(self, start: Start, engine: FakeEngine, collector: Collector) -> None:
        async def breaks_off(exchange: Exchange) -> None:
            await exchange.start_stream()
            await exchange.chunk(EVENTS[0])
            exchange.cut()

        engine.completes = breaks_off
        client = await start(tracing=True)
        async with client.post(CHAT, json=ask(stream=True)) as answer:
            await answer.read()
        (inner,) = await collector.wait_for(f"engine {CHAT}")
        assert attributes(inner)["error.type"] == "engine_broken"
        assert inner.status.code == 2

    async def test_what_the_gateway_refuses_has_its_status(self, start: Start, collector: Collector) -> None:
        client = await start(tracing=True)
        async with client.post(CHAT, json=ask(n=1000)) as answer:
            assert answer.status == 400
        (span,) = await collector.wait_for(f"POST {CHAT}")
        assert attributes(span)["http.response.status_code"] == 400
        assert attributes(span)["error.type"] == "invalid_value"

    async def test_tool_spans_stand_within_the_request(self, collector: Collector) -> None:
        traces = Traces(on=True)
        scope = {"method": "POST", "headers": [], "state": {"request_id": "r-2"}}

        async def call() -> None:
            with traces.tool("files", "files_read", "call_1") as span:
                assert span.headers()["traceparent"]

        with traces.request(scope, "/x"):
            await asyncio.gather(asyncio.create_task(call()))
        outer, inner = await collector.wait_for("POST /x", "execute_tool files_read")
        assert inner.parent_span_id == outer.span_id

    async def test_closing_sends_what_waits(self, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        traces = Traces(on=True)
        with traces.tool("files", "last", "call_1"):
            pass
        await asyncio.to_thread(traces.close)
        assert collector.spans.keys() == {"execute_tool last"}

    def test_off_the_sdk_is_not_even_imported(self) -> None:
        code = (
            "import sys; from hearth_gateway.app import create_app; from hearth_gateway.settings import load;"
            "create_app(load()); print([m for m in sys.modules if m.startswith('opentelemetry.sdk')])"
        )
        assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


class TestLogs:
    @pytest.mark.parametrize(("asked", "told"), [("summary", False), ("bodies", True)])
    async def test_what_was_said_is_logged_only_when_asked_for(
        self, start: Start, engine: FakeEngine, caplog: pytest.LogCaptureFixture, asked: str, told: bool
    ) -> None:
        caplog.set_level(logging.INFO, logger=logs.requests.name)
        client = await start(log_requests=asked)
        body = ask(messages=[{"role": "user", "content": SECRET}])
        async with client.post(CHAT, json=body) as answer:
            assert answer.status == 200
        await metric_reaches(client, 1.0, "hearth_requests_total", CHAT)
        lines = [record.fields for record in caplog.records if record.name == logs.requests.name]
        (summary,) = [fields for fields in lines if fields.get("route") == CHAT]
        assert (summary["method"], summary["status"], summary["key"]) == ("POST", 200, "")
        assert (SECRET in json.dumps(lines)) is told


class TestReplay:
    async def conversations(self, client: aiohttp.ClientSession, engine: FakeEngine) -> None:
        """A whole answer, a stream, two at once, an engine's error, one that breaks off, one it does not answer."""

        async def speaks(exchange: Exchange) -> None:
            match exchange.body["messages"][0]["content"]:
                case "fail":
                    await exchange.answer(b"<h1>oops</h1>", 500, "text/html")
                case "break":
                    await exchange.start_stream()
                    await exchange.chunk(EVENTS[0] + b"\xff")
                    exchange.cut()
                case "hang up":
                    exchange.cut()
                case _:
                    await well_behaved(exchange)

        well_behaved, engine.completes = engine.completes, speaks

        async def send(text: str, stream: bool) -> None:
            body = ask(messages=[{"role": "user", "content": text}], stream=stream, thinking={"type": "disabled"})
            async with client.post(CHAT, json=body) as answer:
                await answer.read()

        await send("whole", False)
        await send("stream", True)
        await asyncio.gather(send("left", True), send("right", True))
        await send("fail", False)
        await send("break", True)
        await send("hang up", False)

    async def test_a_log_reproduces_every_byte(
        self, start: Start, engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = tmp_path / "replay.jsonl"
        client = await start(replay_log=file)
        await self.conversations(client, engine)
        assert file.stat().st_mode & 0o777 == 0o600
        recorded = read(file)
        assert [exchange.body for conversation in recorded for exchange in conversation.exchanges] == [
            exchange.raw for exchange in engine.exchanges if exchange.method == "POST"
        ]
        assert b"".join(recorded[1].exchanges[0].parts) == b"".join(EVENTS)
        assert [c.exchanges[0].complete for c in recorded] == [True] * 5 + [False] * 2
        assert await asyncio.to_thread(main, ["replay", str(file)]) == 0
        assert "7 conversations, 0 different" in capsys.readouterr().out

    async def test_what_changed_is_shown_where_it_begins(
        self, start: Start, engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        file = tmp_path / "replay.jsonl"
        client = await start(replay_log=file)
        await self.conversations(client, engine)
        monkeypatch.setattr("hearth_gateway.relay.clean", lambda *given: clean(*given).replace(b"right", b"wrong"))
        assert await asyncio.to_thread(main, ["replay", str(file)]) == 1
        out = capsys.readouterr().out
        assert "7 conversations, 1 different" in out
        log, now = (line for line in out.splitlines() if line.startswith(("  log: ", "  now: ")))
        assert ("right" in log, "wrong" in now) == (True, True)

    async def test_tools_answer_from_the_log_and_a_call_that_is_missing_is_a_difference(self, tmp_path: Path) -> None:
        file = tmp_path / "replay.jsonl"
        tool = Tool("files_read", "files", "read", "Read.", {"type": "object"})
        call = PreparedCall(Call("1", tool.name, ""), tool, {"path": "a"})
        there = RecordedTools({"all": [asdict(tool)], "labels": ["files"], "default": [], "limits": {}}, _Player())
        recording = ReplayLog(file, 2**20).conversation("r-1", "/v1/tools", b"{}", Catalog(), there)
        for text in ("first", "second"):
            recording.tool(call, Result("1", text))
        for calls, difference in ((2, None), (1, "is not called"), (3, "not in the log")):
            heard: list[str] = []

            def make_app(settings: Settings, tools: RecordedTools | None) -> Any:
                assert tools is not None
                assert tools.tools == (tool,)
                app = create_app(settings, tools)

                async def calls_tools(scope: Any, receive: Any, send: Any) -> None:
                    heard.extend([(await tools.call(call)).text for _ in range(calls)])  # noqa: B023

                app.router.default = calls_tools
                return app

            (outcome,) = [outcome async for outcome in replay(read(file), make_app)]
            assert heard[:2] == ["first", "second"][:calls]
            assert (outcome.difference is None) if difference is None else (difference in str(outcome.difference))

    async def test_the_file_is_bounded_and_the_older_half_is_read_first(
        self, start: Start, engine: FakeEngine, tmp_path: Path
    ) -> None:
        file = tmp_path / "replay.jsonl"
        client = await start(replay_log=file, replay_log_bytes=2**20)
        for number in range(12):
            body = ask(messages=[{"role": "user", "content": f"{number} " + "x" * 100_000}])
            async with client.post(CHAT, json=body) as answer:
                await answer.read()
        sizes = {path.name: path.stat().st_size for path in sorted(tmp_path.iterdir())}  # noqa: ASYNC240
        assert sizes.keys() == {"replay.jsonl", "replay.jsonl.1"}
        assert max(sizes.values()) <= 2**20
        numbers = [json.loads(conversation.body)["messages"][0]["content"].split()[0] for conversation in read(file)]
        assert numbers == sorted(numbers, key=int)
        assert numbers[-1] == "11"
        assert 2 < len(numbers) < 12

    @pytest.mark.parametrize("damage", [(b"hello", b"hullo"), (b'"ask"', b'"axe"'), (b"{", b"")])
    async def test_a_damaged_log_is_refused_with_its_line(
        self, start: Start, engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        damage: tuple[bytes, bytes],
    ) -> None:  # fmt: skip
        file = tmp_path / "replay.jsonl"
        client = await start(replay_log=file)
        async with client.post(CHAT, json=ask()) as answer:
            await answer.read()
        file.write_bytes(file.read_bytes().replace(*damage))
        with pytest.raises(ReplayError, match=r"line [12]"):
            read(file)
        assert await asyncio.to_thread(main, ["replay", str(file)]) == 2
        assert "Traceback" not in capsys.readouterr().err

    def test_a_file_that_cannot_be_written_stops_the_start(self) -> None:
        with pytest.raises(SettingsError, match="HEARTH_REPLAY_LOG=/nowhere/x"):
            create_app(Settings(replay_log=Path("/nowhere/x")))

    def test_a_missing_file_is_said(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["replay", "/nowhere/x"]) == 2
        assert "/nowhere/x" in capsys.readouterr().err
