"""Tools as the model sees them: the same bytes for the same tool."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth_gateway.tools.types import Tool, Usage, canonical

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def shuffled(value: Any) -> Any:
    """The same JSON, each object's keys the other way round."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


class TestCanonical:
    @given(JSON)
    def test_key_order_does_not_show_and_nothing_is_lost(self, value: Any) -> None:
        assert json.dumps(canonical(value)) == json.dumps(canonical(shuffled(value)))
        assert canonical(value) == value

    def test_required_properties_come_first_as_the_author_listed_them(self) -> None:
        schema = {
            "properties": {"content": {}, "append": {}, "path": {}},
            "required": ["path", "content", "gone", 5],
        }
        assert list(canonical(schema)["properties"]) == ["path", "content", "append"]

    def test_a_property_may_be_called_properties(self) -> None:
        schema = {"properties": {"properties": {"type": "object"}, "required": {"type": "boolean"}}}
        assert canonical(schema) == schema

    def test_a_tool_is_the_same_bytes_whatever_its_server_sent(self) -> None:
        def function(parameters: dict[str, Any]) -> str:
            return json.dumps(Tool("files_read", "files", "read", "Read.", parameters).function())

        assert function({"type": "object", "properties": {}}) == function({"properties": {}, "type": "object"})
        assert function({"type": "object"}) == (
            '{"type": "function", "function": '
            '{"name": "files_read", "description": "Read.", "parameters": {"type": "object"}}}'
        )


class TestUsage:
    @pytest.mark.parametrize("usage", [None, {}, 5, {"prompt_tokens": None, "prompt_tokens_details": None}])
    def test_what_is_missing_counts_nothing(self, usage: Any) -> None:
        assert Usage.parse(usage) == Usage()

    def test_rounds_add_up(self) -> None:
        first = Usage.parse({"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}})
        assert (first + Usage(20, 5, 16)).message() == {
            "prompt_tokens": 29,
            "completion_tokens": 8,
            "total_tokens": 37,
            "prompt_tokens_details": {"cached_tokens": 24},
        }
