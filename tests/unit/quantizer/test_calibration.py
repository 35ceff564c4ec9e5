"""Calibration data: its formats, enough rows, long enough, problems named by file and row; the repository's data."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from hearth_quantizer import calibration
from hearth_quantizer.calibration import CalibrationError, Row
from hearth_quantizer.recipe import Calibration

DATA = Path(__file__).parents[3] / "models" / "calibration"


def row(text: str = "hello") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "hi"}]}


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(f"{item if isinstance(item, str) else json.dumps(item)}\n" for item in rows), "utf-8")
    return path


def encode(row: Row) -> list[int]:
    """A token a character of the first message."""
    return [ord(letter) for letter in row.messages[0].content or ""]


SETTINGS = Calibration(files=(Path("rows.jsonl"),), samples=128, tokens=200)


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TURNS = [
    {"role": "user", "content": "go"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "1", "content": "done"},
]
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def columns(path: Path, **values: list[Any]) -> Path:
    parquet.write_table(pa.table(values), path)
    return path


def test_rows_keep_tools_calls_and_results(tmp_path: Path) -> None:
    (found,) = calibration.read([write(tmp_path / "rows.jsonl", [{"messages": TURNS, "tools": TOOLS}])])
    assert found.tools == tuple(TOOLS)
    assert [message["role"] for message in found.chat()] == ["user", "assistant", "tool"]
    assert found.chat()[1] == {"role": "assistant", "tool_calls": (CALL,)}


@pytest.mark.parametrize("as_json", [False, True])
def test_parquet_rows_are_those_of_jsonl(tmp_path: Path, as_json: bool) -> None:
    """Nested columns fill what a row lacks with nulls; lists whose items differ too much come as JSON."""
    plain = [{"role": "user", "content": "hello"}]
    messages: list[Any] = [TURNS, plain]
    tools: list[Any] = [TOOLS, None]
    if as_json:
        messages, tools = [json.dumps(TURNS), json.dumps(plain)], [json.dumps(TOOLS), None]
    found = calibration.read([columns(tmp_path / "rows.parquet", messages=messages, tools=tools)])
    same = calibration.read(
        [write(tmp_path / "rows.jsonl", [{"messages": TURNS, "tools": TOOLS}, {"messages": plain}])]
    )
    assert [row.model_dump() for row in found] == [row.model_dump() for row in same]
    assert [row.place for row in found] == [f"{tmp_path}/rows.parquet:{number}" for number in (1, 2)]


def test_formats_and_kinds_of_rows_mix(tmp_path: Path) -> None:
    files = [
        write(tmp_path / "one.jsonl", [row(), {"text": "a book"}]),
        columns(tmp_path / "two.parquet", text=["一本书", None], messages=[None, [{"role": "user", "content": "x"}]]),
    ]
    found = calibration.read(files)
    assert [row.text for row in found] == [None, "a book", "一本书", None]
    assert [len(row.messages) for row in found] == [2, 0, 0, 1]


def test_a_long_parquet_file_counts_on(tmp_path: Path) -> None:
    path = columns(tmp_path / "rows.parquet", text=["x"] * 700 + [None])
    with pytest.raises(CalibrationError, match=r"rows\.parquet:701: a row has either messages"):
        calibration.read([path])


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("{", "is not JSON: Expecting property name"),
        ("", "is not JSON: Expecting value"),
        ([1], "is not a JSON object but list"),
        ({}, "a row has either messages, at least one, or text"),
        ({"messages": []}, "a row has either messages, at least one, or text"),
        ({"text": ""}, "text: String should have at least 1 character"),
        ({"text": 3}, "text: Input should be a valid string"),
        ({**row(), "text": "x"}, "a row has either messages, at least one, or text"),
        ({"text": "x", "tools": []}, "tools go with messages, not with text"),
        ({"messages": "hello"}, "messages: Input should be a valid tuple"),
        ({"messages": ["hello"]}, "messages.0: Input should be a valid dictionary"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages.0.role: Input should be 'system', "),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content: Input should be a valid string"),
        ({"messages": [{"role": "user", "contents": "x"}]}, "messages.0.contents: Extra inputs are not permitted"),
        ({**row(), "tools": [3]}, "tools.0: Input should be a valid dictionary"),
        ({**row(), "tool": []}, "tool: unknown key; allowed: messages, tools, text"),
    ],
)
def test_a_bad_row_is_named_by_file_and_row(tmp_path: Path, bad: Any, problem: str) -> None:
    with pytest.raises(CalibrationError) as error:
        calibration.read([write(tmp_path / "rows.jsonl", [row(), bad, row()])])
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{tmp_path}/rows.jsonl:2: {problem}")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"text": [3]}, ":1: text: Input should be a valid string"),
        ({"messages": ["[{"]}, ":1: is not JSON: Expecting property name"),
        ({"messages": [[{"role": "user", "content": 3}]]}, ":1: messages.0.content: Input should be a valid string"),
        ({"text": ["x"], "label": ["y"]}, ":1: label: unknown key; allowed: messages, tools, text"),
        ({"text": []}, ": holds no rows"),
    ],
)
def test_a_bad_parquet_row_is_named_by_file_and_row(tmp_path: Path, values: dict[str, Any], problem: str) -> None:
    with pytest.raises(CalibrationError) as error:
        calibration.read([columns(tmp_path / "rows.parquet", **values)])
    assert str(error.value).startswith(f"{tmp_path}/rows.parquet{problem}")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("rows.jsonl", b"", ": holds no rows"),
        ("rows.jsonl", b'{"text": "x"}\n\xff\n', ": cannot be read"),
        ("rows.parquet", b"", ": cannot be read: "),
        ("rows.parquet", b'{"text": "x"}', ": cannot be read: "),
        ("rows.csv", b"text", ": .csv is no format known here; allowed: .jsonl, .parquet"),
        ("rows", b"text", ": no suffix is no format known here; allowed: .jsonl, .parquet"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CalibrationError) as error:
        calibration.read([tmp_path / name])
    assert str(error.value).startswith(f"{tmp_path}/{name}{problem}")


def test_of_many_problems_the_first_are_told(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError) as error:
        calibration.read([write(tmp_path / "rows.jsonl", [{}] * 50)])
    lines = str(error.value).splitlines()
    assert lines[19].startswith(f"{tmp_path}/rows.jsonl:20: ")
    assert lines[20:] == ["… and 30 more"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"absent\.jsonl: cannot be read"):
        calibration.read([tmp_path / "absent.jsonl"])


def test_samples_are_cut_and_spread_over_all_rows(tmp_path: Path) -> None:
    rows = calibration.read([write(tmp_path / "rows.jsonl", [row(chr(0x4E00 + n) * 300) for n in range(256)])])
    told: list[int] = []
    sequences = calibration.sample(rows, SETTINGS, encode, told.append)
    assert {len(sequence) for sequence in sequences} == {200}
    assert [sequence[0] - 0x4E00 for sequence in sequences] == list(range(0, 256, 2))
    assert told == list(range(1, 129))


def test_too_few_rows_are_an_error(tmp_path: Path) -> None:
    rows = calibration.read([write(tmp_path / "rows.jsonl", [row("x" * 300)] * 127)])
    with pytest.raises(CalibrationError, match=r"rows\.jsonl: 127 rows; calibration\.samples asks for 128"):
        calibration.sample(rows, SETTINGS, encode)


def test_a_short_row_is_an_error_that_names_it(tmp_path: Path) -> None:
    rows = calibration.read([write(tmp_path / "rows.jsonl", [*[row("x" * 100)] * 127, row("x" * 99)])])
    with pytest.raises(CalibrationError, match=r"rows\.jsonl:128: 99 tokens; at least 100 are needed$"):
        calibration.sample(rows, SETTINGS, encode)


def test_short_rows_can_be_allowed(tmp_path: Path) -> None:
    rows = calibration.read([write(tmp_path / "rows.jsonl", [row("one"), row("two")])])
    settings = Calibration(files=(Path("rows.jsonl"),), samples=2, allow_poor=True)
    assert calibration.sample(rows, settings, encode) == [[111, 110, 101], [116, 119, 111]]
    with pytest.raises(CalibrationError, match=r"2 rows; calibration\.samples asks for 3"):
        calibration.sample(rows, settings.model_copy(update={"samples": 3}), encode)


# --- the data of the repository ---------------------------------------------------------------------------------------
def test_the_generator_writes_the_committed_file() -> None:
    made = subprocess.run([sys.executable, DATA / "generate.py"], capture_output=True, check=True).stdout
    assert made == (DATA / "dialogues.jsonl").read_bytes()


def test_the_data_has_both_languages_tools_and_no_row_twice() -> None:
    rows = calibration.read([DATA / "dialogues.jsonl"])
    assert len(rows) == 512
    assert len({json.dumps(row.chat()) for row in rows}) == 512
    chinese = [row for row in rows if sum("一" <= letter <= "鿿" for letter in str(row.chat())) > 80]
    assert len(chinese) == 192
    assert sum(row.tools is not None for row in rows) == 192
    assert (DATA / "dialogues.jsonl").stat().st_size < 1_500_000


def test_tool_calls_of_the_data_are_answered_and_offered() -> None:
    for row in calibration.read([DATA / "dialogues.jsonl"]):
        offered = {tool["function"]["name"] for tool in row.tools or ()}
        calls = [call for message in row.messages for call in message.tool_calls or ()]
        assert {call["function"]["name"] for call in calls} <= offered
        assert all(isinstance(json.loads(call["function"]["arguments"]), dict) for call in calls)
        answers = [message.tool_call_id for message in row.messages if message.role == "tool"]
        assert answers == [call["id"] for call in calls]
        assert len(set(answers)) == len(answers)


def test_every_row_fills_a_sample() -> None:
    """Tokens cannot be counted without the tokenizer; five characters of English or two of Chinese are a token."""
    for row in calibration.read([DATA / "dialogues.jsonl"]):
        text = json.dumps([row.chat(), row.tools], ensure_ascii=False)
        wide = sum(letter > "⺀" for letter in text)
        assert (len(text) - wide) / 5 + wide / 2 >= 400, row.place
