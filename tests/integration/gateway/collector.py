"""A collector of OpenTelemetry traces on a real socket."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """Takes traces as OTLP over HTTP does; `spans` by name, `ended` in the order in which they ended."""

    def __init__(self) -> None:
        self.spans: dict[str, Any] = {}
        self.ended: list[Any] = []
        self.raw = b""
        self.arrived = asyncio.Condition()

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        body = gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body
        self.raw += body
        async with self.arrived:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.service = {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"]
                for scope in resource.scope_spans:
                    self.spans |= {span.name: span for span in scope.spans}
                    self.ended += scope.spans
            self.arrived.notify_all()
        return web.Response()

    async def wait_for(self, *names: str) -> list[Any]:
        async with asyncio.timeout(10), self.arrived:
            await self.arrived.wait_for(lambda: self.spans.keys() >= set(names))
        return [self.spans[name] for name in names]


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    yield collector
    await runner.cleanup()
