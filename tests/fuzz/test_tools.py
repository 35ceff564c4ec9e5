"""Whatever models, engines and tool servers say: it is read for what it is, or refused; nothing is made up."""

import asyncio
import json
import re
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from mcp_types import CallToolResult, TextContent
from tests.fuzz.given import JSON, SCALAR, SOMETIMES_ODD, TEXT, WIDE, json_of, nearly, nearly_json, objects, pieces_of

from hearth_gateway.errors import Problem
from hearth_gateway.tools import arguments, config, hermes, turn
from hearth_gateway.tools.config import ResultsConfig, ToolsConfig, ToolsConfigError
from hearth_gateway.tools.naming import names
from hearth_gateway.tools.plain import PlainText
from hearth_gateway.tools.results import Results, measure, render
from hearth_gateway.tools.run import _read
from hearth_gateway.tools.types import Tool, Turn

SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string", "maxLength": 9}, "count": {"type": "integer", "minimum": 0}},
    "required": ["path"],
    "additionalProperties": False,
}
ARGUMENTS = st.dictionaries(st.sampled_from(["path", "count", "more"]), WIDE, max_size=3)
CALLS = st.builds(
    lambda name, given, end: f'<tool_call>\n{{"name": {name}, "arguments": {given}}}\n{end}',
    st.sampled_from(['"read"', '"\\ud800"', '""', "5", '"a\\nb"']),
    nearly_json(ARGUMENTS | TEXT),
    st.sampled_from(["</tool_call>", "</tool_call", ""]),
)
SAID = st.lists(TEXT | CALLS | st.sampled_from(["<tool_call>", "</tool_call>", "<", "tool_call>"]), max_size=5).map(
    "".join
)


class TestArguments:
    @given(nearly_json(ARGUMENTS) | nearly_json() | st.text(max_size=30), st.booleans())
    def test_what_is_read_can_be_written_and_read_again(self, text: str, cut: bool) -> None:
        try:
            read = arguments.parse(text, cut=cut)
        except arguments.ArgumentsError as error:
            assert str(error)
            return
        written = orjson.dumps(read)  # as clients and tool servers get it
        assert orjson.loads(written) == read
        assert arguments.parse(written.decode()) == read

    @given(nearly_json(ARGUMENTS) | st.text(max_size=30), st.booleans())
    def test_what_is_prepared_fits_the_schema(self, text: str, cut: bool) -> None:
        try:
            prepared = arguments.prepare(text, SCHEMA, cut=cut)
        except arguments.ArgumentsError as error:
            assert len(str(error)) < 1000
        else:
            Draft202012Validator(SCHEMA).validate(prepared)

    @given(
        json_of(SCALAR, st.sampled_from(["type", "$ref", "properties", "pattern", "items", "a", "allOf", "$schema"]))
    )
    def test_a_schema_is_usable_or_told_why_not(self, schema: Any) -> None:
        assume(isinstance(schema, dict))
        if arguments.schema_problem(schema) is None:
            try:
                assert isinstance(arguments.prepare("{}", schema), dict)
            except arguments.ArgumentsError as error:
                assert str(error)


class TestCallsInText:
    @given(SAID)
    def test_each_has_a_name_and_text_that_can_be_sent_on(self, content: str) -> None:
        shown, calls = hermes.recover(content)
        for call in calls:
            assert call.name
            assert call.name.isprintable()
            orjson.dumps(call.message())
        assert len(shown) <= len(content)
        if not calls:
            assert shown == content

    @given(pieces_of(SAID))
    def test_in_pieces_it_is_the_same(self, pieces: list[str]) -> None:
        text = hermes.CallFilter()
        shown = "".join(map(text.feed, pieces)) + text.end()
        assert (shown, tuple(text.calls)) == hermes.recover("".join(pieces))
        assert not text.holds or text.calls


FUNCTION = nearly(name=TEXT, arguments=TEXT)
DELTA = nearly(
    role=TEXT,
    content=TEXT,
    tool_calls=st.lists(nearly(index=st.integers(0, 2), id=TEXT, function=FUNCTION), min_size=1, max_size=2),
)
USAGE = nearly(
    prompt_tokens=st.integers(0, 9), completion_tokens=st.integers(0, 9),
    prompt_tokens_details=nearly(cached_tokens=st.integers(0, 9)),
)  # fmt: skip
FINISH = st.sampled_from(["stop", "length", "tool_calls", None])
CHUNK = nearly(choices=st.lists(nearly(delta=DELTA, finish_reason=FINISH), min_size=1, max_size=2), usage=USAGE)
COMPLETION = nearly(choices=st.lists(nearly(message=DELTA, finish_reason=FINISH), min_size=1, max_size=2), usage=USAGE)


def is_turn(said: Turn) -> None:
    assert isinstance(said.content, str)
    assert isinstance(said.finish_reason, str)
    assert type(said.usage.total_tokens) is int
    for call in said.calls:
        assert (type(call.id), type(call.name), type(call.arguments)) == (str, str, str)


class TestEngine:
    @given(SOMETIMES_ODD(COMPLETION))
    def test_an_answer_is_a_turn_or_none(self, completion: Any) -> None:
        try:
            is_turn(turn.parse(completion))
        except ValueError as error:
            assert "no chat completion" in str(error)

    @given(st.lists(SOMETIMES_ODD(CHUNK), max_size=4))
    def test_chunks_are_a_turn_or_none(self, chunks: list[Any]) -> None:
        builder = turn.TurnBuilder()
        try:
            shown = "".join(map(builder.add, chunks))
        except ValueError as error:
            assert "no chunk" in str(error)
            return
        said = builder.turn()
        is_turn(said)
        assert said.content == shown

    @example([b"data: "])
    @example([b"data: {},{}"])
    @given(
        st.lists(st.binary(max_size=20) | nearly_json(CHUNK).map(lambda text: b"data: " + text.encode()), max_size=4)
    )
    def test_events_are_objects_or_a_problem(self, events: list[bytes]) -> None:
        try:
            read = _read(b"\n\n".join(events) + b"\n\n")
        except Problem as problem:
            assert problem.status == 502
        else:
            assert all(isinstance(one, dict) and "error" not in one for one in read)

    @given(pieces_of(st.lists(TEXT, min_size=1, max_size=6)), st.booleans())
    def test_text_told_by_its_bytes_is_what_json_has(self, pieces: list[list[str]], ascii_only: bool) -> None:
        plain = PlainText()
        for texts in filter(None, pieces):
            chunks = [
                {
                    "id": "c",
                    "choices": [{"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}],
                }
                for text in texts
            ]
            written = (json.dumps(one, ensure_ascii=ascii_only, separators=(",", ":")) for one in chunks)
            events = b"".join(b"data: " + one.encode(errors="replace") + b"\n\n" for one in written)
            size, said = plain.read(events)
            in_json = _read(events[:size]) if size else []
            assert said == "".join(one["choices"][0]["delta"]["content"] for one in in_json)
            assert "<" not in said

    @given(st.binary(max_size=60), nearly_json(CHUNK))
    def test_other_bytes_are_left_to_others(self, noise: bytes, chunk: str) -> None:
        size, said = PlainText().read(b"data: " + chunk.encode(errors="replace") + b"\n\n" + noise + b"\n\n")
        assert (size == 0) == (said == "") or size > 0


class TestResults:
    @given(st.text(max_size=300), st.integers(1, 50), st.lists(st.none() | st.integers(0, 500), min_size=6, max_size=6))
    def test_a_cut_is_within_the_text_whatever_is_counted(
        self, text: str, budget: int, counts: list[int | None]
    ) -> None:
        measuring = measure(text, budget)
        told, asked = iter(counts), 0
        try:
            piece = next(measuring)
            while True:
                asked += 1
                assert text.startswith(piece)
                piece = measuring.send(next(told))
        except StopIteration as stop:
            assert 0 <= stop.value <= len(text)
        assert asked <= 4

    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=3000), st.integers(1, 200), st.booleans())
    def test_reading_on_gives_the_whole_text(self, text: str, budget: int, counted: bool) -> None:
        assume(text and not re.search(r"\[C(ut|haracters)", text))

        async def count(piece: str) -> int | None:
            return len(piece.encode()) if counted else None

        async def read_all() -> str:
            results = Results(ResultsConfig(), count, clock=lambda: 0.0)
            shown = await results.cut(text, budget, "ada")
            whole = ""
            while found := re.search(
                r'\n\n\[Cut here: .* Read on with \w+\(handle="(\w+)", offset=(\d+)\)\.\]$', shown
            ):
                whole += shown[: found.start()]
                assert len(whole) == int(found[2])
                assert len(shown[: found.start()].encode()) <= max(budget, 4)
                assert (await results.read({"handle": found[1]}, budget, "eve"))[1]
                shown, is_error = await results.read({"handle": found[1], "offset": int(found[2])}, budget, "ada")
                assert not is_error
            return whole + re.sub(r"\n\n\[Characters \d+ to \d+: the end of the result\.\]$", "", shown)

        assert asyncio.run(read_all()) == text

    @given(ARGUMENTS | st.fixed_dictionaries({"handle": TEXT, "offset": JSON, "find": JSON}))
    def test_a_handle_that_is_none_is_an_error_that_the_model_reads(self, given_: dict[str, Any]) -> None:
        async def count(_: str) -> int:
            return 1

        said, is_error = asyncio.run(Results(ResultsConfig(), count).read(given_, 100, "ada"))
        assert is_error
        assert said.startswith("Error: ")

    @given(st.lists(st.text(max_size=9)), SOMETIMES_ODD(st.none()), st.booleans())
    def test_a_result_is_text_that_an_engine_can_read(self, texts: list[str], structured: Any, is_error: bool) -> None:
        content = [TextContent(type="text", text=text) for text in texts]
        if structured is not None and not isinstance(structured, dict):
            structured = {"value": structured}
        text = render(CallToolResult(content=content, structured_content=structured, is_error=is_error))
        assert text.encode()
        assert not is_error or text.lower().startswith("error")


SECRET = "sk-SECRET-8d1f"
VALUE = SOMETIMES_ODD(
    st.just(SECRET) | st.sampled_from([{"text": SECRET}, {"env": "NOT_SET"}, {"prefix": SECRET, "file": "/nowhere"},
                                       {"text": SECRET, "env": "X"}, {"text": SECRET + "\n"}])
)  # fmt: skip
SERVER = objects(
    url=st.sampled_from(["http://tool/mcp", "ftp://x", "tool", "http://u:p@tool/"]),
    command=st.lists(TEXT, max_size=2),
    headers=st.dictionaries(st.just("Authorization"), VALUE, max_size=1),
    env=st.dictionaries(st.just("TOKEN"), VALUE, max_size=1),
    prefix=st.sampled_from(["", "t_", "hearth_", "a b"]),
    allow=st.lists(st.sampled_from(["*", "read", ""]), max_size=2),
    approval=st.sampled_from(["always", {"*": "never"}, {"*": "maybe"}]),
    timeout=st.integers(-1, 5000),
    tools=st.dictionaries(TEXT, objects(description=TEXT, parameters=st.dictionaries(TEXT, TEXT)), max_size=1),
)
CONFIG = objects(
    servers=st.dictionaries(st.sampled_from(["t", "t2", "hearth", "Not A Label"]), SOMETIMES_ODD(SERVER), max_size=3),
    default=st.lists(st.sampled_from(["t", "nope"]), max_size=2),
    results=objects(megabytes=st.integers(-1, 9), seconds=st.integers(-1, 9)),
    limits=objects(rounds=st.integers(-1, 9), calls=st.integers(-1, 9)),
)


class TestConfig:
    @given(
        CONFIG.map(lambda given: yaml.safe_dump(given, allow_unicode=True)) | nearly_json(CONFIG) | st.text(max_size=60)
    )
    def test_a_file_is_a_configuration_or_told_by_line_and_key(self, text: str) -> None:
        try:
            read = config.parse(text, "hearth.tools.yaml")
        except ToolsConfigError as error:
            assert str(error).startswith("hearth.tools.yaml:")
            assert SECRET not in str(error)
        else:
            assert isinstance(read, ToolsConfig)
            assert SECRET not in repr(read)
            for label in read.servers:
                assert read.prefix(label) == "" or re.fullmatch(r"[A-Za-z0-9_-]+", read.prefix(label))

    @given(st.sampled_from(["", "files_", "hearth"]), st.lists(TEXT | st.sampled_from(["hearth_x", "a" * 99])))
    def test_names_are_what_engines_take_and_each_is_one_tool_s(self, prefix: str, remote: list[str]) -> None:
        given_ = names(prefix, remote)
        assert given_.keys() == set(remote)
        assert len(set(given_.values())) == len(given_)
        for name in given_.values():
            assert len(name) <= 64
            assert re.fullmatch(r"[A-Za-z0-9_-]*", name)
            assert name != "hearth_read_result"

    @given(json_of(SCALAR, TEXT))
    def test_equal_tools_have_equal_bytes(self, schema: Any) -> None:
        assume(isinstance(schema, dict))
        turned = dict(reversed(schema.items()))
        one, two = (Tool("t", "s", "t", "d", given_) for given_ in (schema, turned))
        assert orjson.dumps(one.function()) == orjson.dumps(two.function())


def test_these_properties_can_fail() -> None:
    """The invariants are asked of what breaks them."""
    with pytest.raises(AssertionError):
        is_turn(Turn(5))  # type: ignore[arg-type]
