"""OpenTelemetry traces: a span for a client's request, in it one for each exchange with the engine and each tool call.

The SDK is imported only when tracing is on; off, a span is an object that does nothing. Attributes follow
OpenTelemetry's conventions for HTTP and generative AI. No text of prompts, answers, arguments or results is in them.
"""

import os
from types import TracebackType
from typing import TYPE_CHECKING

from starlette.types import Scope

from hearth_gateway.errors import Problem

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import SpanKind, Tracer

Value = str | int | float | bool


class Span:
    """One that nobody records; use as a context manager."""

    __slots__ = ()

    def __enter__(self) -> "Span":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def set(self, name: str, value: Value) -> None:
        """An attribute."""

    def failed(self, code: str) -> None:
        """What it stands for failed, though no exception leaves the block."""

    def headers(self) -> dict[str, str]:
        """What tells the other side of which span its own are part."""
        return {}


_NOT_RECORDED = Span()


class Traces:
    def __init__(self, on: bool) -> None:
        self._provider = _provider() if on else None
        self._tracer = self._provider.get_tracer("hearth_gateway") if self._provider else None

    def close(self) -> None:
        """Send what was not sent yet; blocks for seconds where nobody takes it. A server that is told to stop by a
        signal ends without Python's own clean-up."""
        if self._provider:
            self._provider.shutdown()

    def request(self, scope: Scope, route: str) -> Span:
        """The client's request, part of the client's own trace when it sent `traceparent`."""
        if self._tracer is None:
            return _NOT_RECORDED
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        wanted = (b"traceparent", b"tracestate")
        sent = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in wanted}
        attributes: dict[str, Value] = {
            "http.request.method": scope["method"],
            "http.route": route,
            "hearth.request_id": scope["state"]["request_id"],
        }
        parent = TraceContextTextMapPropagator().extract(sent)
        return _Recorded(self._tracer, f"{scope['method']} {route}", SpanKind.SERVER, attributes, parent)

    def engine(self, path: str) -> Span:
        """An exchange with the engine, within the span that is current."""
        if self._tracer is None:
            return _NOT_RECORDED
        from opentelemetry.trace import SpanKind

        operation = "chat" if path.endswith("/chat/completions") else "text_completion"
        attributes: dict[str, Value] = {"gen_ai.operation.name": operation, "gen_ai.provider.name": "vllm"}
        return _Recorded(self._tracer, f"engine {path}", SpanKind.CLIENT, attributes)

    def tool(self, server: str, tool: str, call_id: str) -> Span:
        """A call of a tool, within the span that is current."""
        if self._tracer is None:
            return _NOT_RECORDED
        from opentelemetry.trace import SpanKind

        attributes: dict[str, Value] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "gen_ai.tool.call.id": call_id,
            "hearth.tool.server": server,
        }
        return _Recorded(self._tracer, f"execute_tool {tool}", SpanKind.CLIENT, attributes)


class _Recorded(Span):
    __slots__ = ("_current", "_span")

    def __init__(
        self,
        tracer: "Tracer",
        name: str,
        kind: "SpanKind",
        attributes: dict[str, Value],
        parent: "Context | None" = None,
    ) -> None:
        self._span = tracer.start_span(name, parent, kind, attributes)

    def __enter__(self) -> "Span":
        from opentelemetry.trace import use_span

        self._current = use_span(self._span, end_on_exit=True, record_exception=False, set_status_on_exception=False)
        self._current.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Problem):
            self.set("http.response.status_code", error.status)
            self.failed(error.code)
        elif kind is not None:  # its kind and not its message, which may quote what was said
            self.failed(kind.__name__)
        self._current.__exit__(None, None, None)

    def set(self, name: str, value: Value) -> None:
        self._span.set_attribute(name, value)

    def failed(self, code: str) -> None:
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("error.type", code)
        self._span.set_status(StatusCode.ERROR)

    def headers(self) -> dict[str, str]:
        from opentelemetry.trace import set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, set_span_in_context(self._span))
        return carrier


def _provider() -> "TracerProvider":
    """One of our own: the process-wide one can be set only once. It reads the `OTEL_…` variables and sends from a
    thread."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME") or "hearth-gateway"
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
