"""What Prometheus reads at `/metrics`. Labels have few values: an unknown path is counted as `other`."""

import asyncio
import re

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, of no use here

_TTFT_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SECONDS_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_COMPLETION_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')
_TOTAL_TOKENS = re.compile(rb'"total_tokens":\s*(\d+)')
_END = 2048  # bytes: where an answer's usage is


class Metrics:
    """One registry an app, so that several apps fit into one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "hearth_requests", "Answered requests; 499 is a client that went away.", ("route", "status"),
            registry=self._registry,
        )  # fmt: skip
        self.in_flight = Gauge("hearth_in_flight", "Requests being answered now.", registry=self._registry)
        self.body_bytes = Gauge(
            "hearth_request_body_bytes", "Bytes of the request bodies that are held now.", registry=self._registry
        )
        self.first_byte = Histogram(
            "hearth_time_to_first_token_seconds",
            "From the request's arrival to the first byte of the answer's body: in a stream, its first token.",
            ("route",), buckets=_TTFT_BUCKETS, registry=self._registry,
        )  # fmt: skip
        self.tokens = Counter(
            "hearth_generated_tokens",
            "Tokens generated, as far as answers tell: a stream does only with stream_options.include_usage. "
            "The engine's own vllm:generation_tokens_total counts all.",
            registry=self._registry,
        )
        self.engine_errors = Counter(
            "hearth_engine_errors", "Failed exchanges with the engine.", ("code",), registry=self._registry
        )
        self.engine_retries = Counter(
            "hearth_engine_retries", "Requests asked again because the engine's side lost them before the first byte.",
            ("code",), registry=self._registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "hearth_request_seconds", "From a request's arrival to the last byte of its answer.", ("route",),
            buckets=_SECONDS_BUCKETS, registry=self._registry,
        )  # fmt: skip
        self.engine_in_flight = Gauge(
            "hearth_engine_in_flight", "Requests that hold a place at the engine.", registry=self._registry
        )
        self.queued = Gauge("hearth_queued", "Requests that wait for a place at the engine.", registry=self._registry)
        self.queue_seconds = Histogram(
            "hearth_queue_seconds", "How long requests waited, of those that had to.", buckets=_SECONDS_BUCKETS,
            registry=self._registry,
        )  # fmt: skip
        self.refused = Counter(
            "hearth_refused_requests", "Requests refused because the queue, the key's rate or the room for bodies was "
            "used up.", ("code",), registry=self._registry,
        )  # fmt: skip
        self.shared_state_errors = Counter(
            "hearth_shared_state_errors", "Questions to the shared state that it did not answer.", ("what",),
            registry=self._registry,
        )  # fmt: skip
        self.tool_calls = Counter(
            "hearth_tool_calls", "Calls of our tools; the outcome is ok, error (the tool says so), cancelled, or "
            "the kind of a failure.", ("server", "tool", "outcome"), registry=self._registry,
        )  # fmt: skip
        self.tool_seconds = Histogram(
            "hearth_tool_seconds", "How long a call of our tools took.", ("server", "tool"), buckets=_SECONDS_BUCKETS,
            registry=self._registry,
        )  # fmt: skip
        self.loop_rounds = Histogram(
            "hearth_tool_loop_rounds", "Model calls that one request with our tools took.", ("finish",),
            buckets=(1, 2, 3, 5, 8, 13, 21), registry=self._registry,
        )  # fmt: skip
        tasks = Gauge("hearth_tasks", "Asyncio tasks; at rest it stays the same.", registry=self._registry)
        tasks.set_function(_tasks)
        ProcessCollector(registry=self._registry)

    def count_tokens(self, end: bytes) -> int:
        """Add and return what the `usage` near the `end` of an answer tells, 0 if it is not there. (Within a JSON
        string the quotes would be escaped, so text that looks like it does not count.)"""
        found = _COMPLETION_TOKENS.findall(end[-_END:])
        if not found:
            return 0
        self.tokens.inc(tokens := int(found[-1]))
        return tokens

    def began(self, route: str, started: float, heard: float | None) -> None:
        """When a request came, and when its client heard the first of its answer: None, if it did not."""
        if heard is not None:
            self.first_byte.labels(route).observe(heard - started)

    def tool_called(self, server: str, tool: str, outcome: str, seconds: float) -> None:
        """Count a call. Only for tools that are offered: a name that a model made up would be a series of its own."""
        self.tool_calls.labels(server, tool, outcome).inc()
        self.tool_seconds.labels(server, tool).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self._registry)


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # no loop runs, so none does
        return 0


def total_tokens(end: bytes) -> int:
    """Prompt and answer together, as the `usage` near the `end` of an answer tells; 0 if it is not there."""
    found = _TOTAL_TOKENS.findall(end[-_END:])
    return int(found[-1]) if found else 0
