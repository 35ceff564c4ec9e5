"""Held-out tool prompts and hermes' calls: what is read, what matches, what is refused by row."""

import json
from pathlib import Path
from typing import Any

import pytest

from hearth_quantizer import toolcalls
from hearth_quantizer.toolcalls import Call, ToolPromptError

TOOL = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}
SEARCH = Call(name="search", arguments={"query": "量子 computing"})
TEXT_FOR_A_NUMBER = '<tool_call>{"name": "list_directory", "arguments": {"path": "/tmp", "depth": "2"}}</tool_call>'
LIST = Call(name="list_directory", arguments={"path": "/tmp", "depth": 2})


def prompt(**changes: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "lang": "en",
        "kind": "search",
        "messages": [{"role": "user", "content": "Search for 'X'"}],
        "tools": [TOOL],
        "expected": [SEARCH.model_dump()],
    } | changes


def said(*calls: Call) -> str:
    return "\n".join(f"<tool_call>\n{call.model_dump_json()}\n</tool_call>" for call in calls)


@pytest.mark.parametrize(
    ("answer", "expected", "right"),
    [
        (said(SEARCH), [SEARCH], True),
        (f"Let me look.\n{said(SEARCH)}", [SEARCH], True),
        (said(SEARCH, LIST), [SEARCH, LIST], True),
        (said(LIST, SEARCH), [SEARCH, LIST], False),
        (said(SEARCH, SEARCH), [SEARCH], False),
        (said(SEARCH), [SEARCH, SEARCH], False),
        ('<tool_call>{"arguments": {"depth": 2, "path": "/tmp"}, "name": "list_directory"}</tool_call>', [LIST], True),
        (TEXT_FOR_A_NUMBER, [LIST], False),
        ('<tool_call>\n{"name": "search", "arguments": {"query": "量子 computing"}}', [SEARCH], True),
        ('<tool_call>{"name": "search", "arguments": {"query": "量子 comp</tool_call>', [SEARCH], False),
        ('<tool_call>{"name": "search", "arguments": "{}"}</tool_call>', [SEARCH], False),
        ("There is no need to search.", [], True),
        (said(SEARCH), [], False),
        ("<tool_call>nothing of use</tool_call>", [], False),
        ("", [SEARCH], False),
    ],
)  # fmt: skip
def test_an_answer_is_right_when_it_makes_exactly_the_expected_calls(
    answer: str, expected: list[Call], right: bool
) -> None:
    assert toolcalls.matches(answer, expected) is right


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "tools.jsonl"
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), "utf-8")
    return path


def test_prompts_are_read_whole(tmp_path: Path) -> None:
    (first, second) = toolcalls.read([write(tmp_path, prompt(), prompt(id="2", lang="zh", expected=[]))])
    assert first.expected == (SEARCH,)
    assert first.chat() == [{"role": "user", "content": "Search for 'X'"}]
    assert first.tools == (TOOL,)
    assert (second.lang, second.expected) == ("zh", ())


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("{", "2: the row: Invalid JSON"),
        ([1], "2: the row: Input should be an object"),
        (prompt(id="2", tools=[]), "2: tools: Tuple should have at least 1 item"),
        (prompt(id="2", lang="English"), "2: lang: String should match pattern"),
        (prompt(id="2", expected=[{"name": "search"}]), "2: expected.0.arguments: Field required"),
        (prompt(id="2", answer="x"), "2: answer: Extra inputs are not permitted"),
        (prompt(id="1"), "2: id: '1' is that of"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, bad: Any, problem: str) -> None:
    path = tmp_path / "tools.jsonl"
    rows = [json.dumps(prompt()), bad if isinstance(bad, str) else json.dumps(bad)]
    path.write_text("\n".join(rows), "utf-8")
    with pytest.raises(ToolPromptError) as error:
        toolcalls.read([path])
    assert str(error.value).removeprefix(f"{path}:").startswith(problem)


def test_a_file_without_prompts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tools.jsonl").touch()
    with pytest.raises(ToolPromptError, match=r"tools\.jsonl: holds no prompt"):
        toolcalls.read([tmp_path / "tools.jsonl"])
    with pytest.raises(ToolPromptError, match=r"absent\.jsonl: cannot be read: No such file"):
        toolcalls.read([tmp_path / "absent.jsonl"])
