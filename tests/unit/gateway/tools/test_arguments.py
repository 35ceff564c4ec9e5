"""What a call's arguments mean, and when they mean nothing."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth_gateway.tools.arguments import ArgumentsError, parse, prepare, schema_problem

SEARCH = {
    "type": "object",
    "properties": {"query": {"type": "string"}, "limit": {"type": "integer", "minimum": 1}},
    "required": ["query"],
    "additionalProperties": False,
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class TestAsWritten:
    @given(
        st.dictionaries(
            st.text(), VALUES | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
        )
    )
    def test_valid_json_is_read_as_it_is(self, arguments: dict[str, Any]) -> None:
        assert parse(json.dumps(arguments)) == arguments
        assert parse(json.dumps(arguments), cut=True) == arguments


class TestRepaired:
    @pytest.mark.parametrize(
        ("text", "meant"),
        [
            ('{"query": "x"', {"query": "x"}),
            ('{"query": "x"\n', {"query": "x"}),
            ('{"a": [{"b": true', {"a": [{"b": True}]}),
            ('{"a": null', {"a": None}),
            ('{"a": {"b": "}{"}', {"a": {"b": "}{"}}),
            ('{"query": "x"}}', {"query": "x"}),  # the call's own brace, too
            ('{"query": "x"}]}\n', {"query": "x"}),
            ('{"text": "two\nlines"}', {"text": "two\nlines"}),
            ('"{\\"query\\": \\"x\\"}"', {"query": "x"}),
            ("{", {}),
        ],
    )
    def test_where_one_reading_is_left(self, text: str, meant: dict[str, Any]) -> None:
        assert parse(text) == meant

    @given(st.dictionaries(st.text(), VALUES, min_size=1), st.integers(1, 5))
    def test_closing_brackets_lost_at_the_end_are_found_again(self, arguments: dict[str, Any], lost: int) -> None:
        text = json.dumps(arguments)
        closing = len(text) - len(text.rstrip("]}"))
        assert parse(text[: -min(lost, closing)]) == arguments

    @given(st.dictionaries(st.text(), VALUES | st.integers(-(2**63), 2**64 - 1)), st.data())
    def test_a_cut_text_means_nothing_that_was_not_written(self, arguments: dict[str, Any], data: Any) -> None:
        """Whatever a repair makes of a cut text, each value in it is a whole one of the original's."""
        text = json.dumps(arguments)
        cut = text[: data.draw(st.integers(0, len(text)))]
        with contextlib.suppress(ArgumentsError):
            assert _part_of(parse(cut), arguments)


def _part_of(part: Any, whole: Any) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and _part_of(value, whole[key]) for key, value in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(map(_part_of, part, whole))
    return bool(part == whole)


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ('{"query": "x', "not valid JSON"),  # within a string: "x" may be the half of it
            ('{"limit": 1', "not valid JSON"),  # 1 may be 10
            ('{"limit": -1.', "not valid JSON"),
            ('{"query": "x",', "not valid JSON"),
            ('{"query": "x", "li', "not valid JSON"),
            ('{"query"', "not valid JSON"),
            ('{"query":', "not valid JSON"),
            ('{"query": tru', "not valid JSON"),
            ('{"a": [1}', "not valid JSON"),
            ('{"a": 1} {"b": 2}', "not valid JSON"),
            ("{'query': 'x'}", "not valid JSON"),
            ("search for x", "at character 0 of 12"),
            ("", "there are no arguments"),
            ("  \n", "there are no arguments"),
            ("[]", "not a list"),
            ("5", "not a number"),
            ("true", "not a boolean"),
            ("null", "not null"),
            ('"x"', "not valid JSON"),
            ('{"a": NaN}', "NaN is not JSON"),
            ('{"a": 1e999}', "cannot be sent on"),
            ('{"a": "\\ud800"}', "cannot be sent on"),
            ('{"a": 99999999999999999999}', "cannot be sent on"),
            ('{"a": ' + "[" * 300 + "]" * 300 + "}", "cannot be sent on"),
            ('{"a": 1, "a": 2}', "'a' stands there twice"),
            ('{"a": {"b": 1, "b": 1}}', "'b' stands there twice"),
            ("[" * 100_000, "nested too deep"),
        ],
    )
    def test_with_the_reason(self, text: str, says: str) -> None:
        with pytest.raises(ArgumentsError, match=says):
            parse(text)

    @pytest.mark.parametrize("text", ['{"query": "x"', '{"a": [{"b": true', "{"])
    def test_nothing_is_closed_where_the_model_was_stopped(self, text: str) -> None:
        with pytest.raises(ArgumentsError, match="not valid JSON"):
            parse(text, cut=True)


class TestSchema:
    def test_what_fits_is_given_as_it_is(self) -> None:
        assert prepare('{"query": "x", "limit": 3}', SEARCH) == {"query": "x", "limit": 3}

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("{}", "'query' is a required property"),
            ('{"query": 5}', "query: 5 is not of type 'string'"),
            ('{"query": "x", "limit": "3"}', "limit: '3' is not of type 'integer'"),
            ('{"query": "x", "limit": 0}', "limit: 0 is less than the minimum of 1"),
            ('{"query": "x", "page": 2}', "'page' was unexpected"),
        ],
    )
    def test_what_does_not_fit_is_named(self, text: str, says: str) -> None:
        with pytest.raises(ArgumentsError) as caught:
            prepare(text, SEARCH)
        assert says in str(caught.value)

    def test_a_long_value_is_not_repeated_whole(self) -> None:
        with pytest.raises(ArgumentsError) as caught:
            prepare(json.dumps({"query": ["x" * 10_000]}), SEARCH)
        assert len(str(caught.value)) < 400

    @pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"type": "object", "properties": {}}])
    def test_a_tool_without_parameters_needs_no_text(self, schema: dict[str, Any]) -> None:
        assert prepare("", schema) == {}

    def test_lost_arguments_are_never_read_as_none_at_all(self) -> None:
        optional = {"type": "object", "properties": {"path": {"type": "string"}}}
        with pytest.raises(ArgumentsError, match="there are no arguments"):
            prepare("", optional)

    def test_older_drafts_are_read_as_what_they_are(self) -> None:
        pair = {"type": "array", "items": [{"type": "integer"}, {"type": "string"}]}
        older = {"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"pair": pair}}
        assert prepare('{"pair": [1, "a"]}', older) == {"pair": [1, "a"]}
        with pytest.raises(ArgumentsError, match="is not of type 'string'"):
            prepare('{"pair": [1, 2]}', older)

    def test_references_within_the_schema_are_followed(self) -> None:
        schema = {"properties": {"a": {"$ref": "#/$defs/word"}}, "$defs": {"word": {"type": "string"}}}
        with pytest.raises(ArgumentsError, match="a: 5 is not of type 'string'"):
            prepare('{"a": 5}', schema)

    @pytest.mark.parametrize("reference", ["http://127.0.0.1:1/schema.json", "file:///etc/passwd", "#/$defs/none", "#"])
    def test_references_to_elsewhere_or_without_end_are_not(self, reference: str) -> None:
        with pytest.raises(ArgumentsError, match="schema cannot be checked"):
            prepare('{"a": 5}', {"properties": {"a": {"$ref": reference}}, "$ref": reference})

    def test_no_file_is_read_for_a_reference(self, tmp_path: Path) -> None:
        (elsewhere := tmp_path / "anything.json").write_text("{}")
        with pytest.raises(ArgumentsError, match="schema cannot be checked"):
            prepare('{"a": 5}', {"properties": {"a": {"$ref": elsewhere.as_uri()}}})

    def test_a_broken_schema_is_told_from_a_broken_call(self) -> None:
        broken = {"type": "objekt"}
        with pytest.raises(ArgumentsError, match="the tool's own schema is broken: 'objekt'"):
            prepare("{}", broken)
        assert "objekt" in (schema_problem(broken) or "")
        assert schema_problem(SEARCH) is None

    @pytest.mark.parametrize("schema", [{"$schema": []}, {"$schema": True}, {"maximum": 2**70}])
    def test_whatever_a_server_calls_a_schema_is_read_or_refused(self, schema: dict[str, Any]) -> None:
        assert schema_problem(schema)
