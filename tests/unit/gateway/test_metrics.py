"""What the metrics make of an answer, and of tool calls."""

import pytest

from hearth_gateway.metrics import Metrics, total_tokens


@pytest.mark.parametrize(
    ("end", "total"),
    [
        (b'..."usage":{"prompt_tokens":9,"total_tokens":12,"completion_tokens":3}}\n\ndata: [DONE]\n\n', 12),
        (b'"usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}', 12),
        (b'{"content":"he wrote \\"total_tokens\\": 99"}', 0),
        (b"data: [DONE]", 0),
        (b'"total_tokens": 7' + b" " * 4000, 0),
    ],
)
def test_the_total_stands_in_the_usage_at_the_end(end: bytes, total: int) -> None:
    assert total_tokens(end) == total


def test_tool_calls_are_counted_by_tool_and_outcome() -> None:
    metrics = Metrics()
    for outcome in ("ok", "ok", "timeout"):
        metrics.tool_called("files", "files_read", outcome, 0.2)
    text = metrics.text().decode()
    assert 'hearth_tool_calls_total{outcome="ok",server="files",tool="files_read"} 2.0' in text
    assert 'hearth_tool_calls_total{outcome="timeout",server="files",tool="files_read"} 1.0' in text
    assert 'hearth_tool_seconds_count{server="files",tool="files_read"} 3.0' in text
