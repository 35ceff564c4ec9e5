"""Calibration data: enough rows, long enough, each problem named by file and row; and the data of the repository."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

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


def test_rows_keep_tools_calls_and_results(tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
    ]
    tools = [{"type": "function", "function": {"name": "f"}}]
    (found,) = calibration.read([write(tmp_path / "rows.jsonl", [{"messages": turns, "tools": tools}])])
    assert found.tools == tuple(tools)
    assert [message["role"] for message in found.chat()] == ["user", "assistant", "tool"]
    assert found.chat()[1] == {"role": "assistant", "tool_calls": (call,)}


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("{", "rows.jsonl:2: is not a JSON object"),
        ([1], "rows.jsonl:2: is not a JSON object"),
        ({"text": "x"}, "rows.jsonl:2: messages: Field required"),
        ({"messages": []}, "rows.jsonl:2: messages: Tuple should have at least 1 item"),
        ({"messages": [{"role": "robot", "content": ""}]}, "rows.jsonl:2: messages.0.role: Input should be 'system', "),
        ({**row(), "tool": []}, "rows.jsonl:2: tool: Extra inputs are not permitted"),
    ],
)
def test_a_bad_row_is_named_by_file_and_row(tmp_path: Path, bad: Any, problem: str) -> None:
    with pytest.raises(CalibrationError) as error:
        calibration.read([write(tmp_path / "rows.jsonl", [row(), bad, row()])])
    assert str(error.value).removeprefix(f"{tmp_path}/").startswith(problem)


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
