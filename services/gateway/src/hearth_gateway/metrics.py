"""What Prometheus reads at `/metrics`. Labels have few values: an unknown path is counted as `other`."""

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
_COMPLETION_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')


class Metrics:
    """One registry an app, so that several apps fit into one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "hearth_requests", "Answered requests; 499 is a client that went away.", ("route", "status"),
            registry=self._registry,
        )  # fmt: skip
        self.in_flight = Gauge("hearth_in_flight", "Requests being answered now.", registry=self._registry)
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
        ProcessCollector(registry=self._registry)

    def count_tokens(self, end: bytes) -> int:
        """Add and return what the `usage` near the `end` of an answer tells, 0 if it is not there. (Within a JSON
        string the quotes would be escaped, so text that looks like it does not count.)"""
        found = _COMPLETION_TOKENS.findall(end[-2048:])
        tokens = int(found[-1]) if found else 0
        self.tokens.inc(tokens)
        return tokens

    def text(self) -> bytes:
        return generate_latest(self._registry)
