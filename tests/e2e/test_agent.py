"""An agent's work, end to end: the demo model calls real tools through the gateway's loop and answers from what they
say. Every request streamed and not, through the openai client."""

from collections import Counter
from collections.abc import Iterator

import pytest
import requests
from openai import OpenAI

from .conftest import Stack, Tools

MODEL = "hearth-tiny"
# What the workspace holds: two facts to be found, and a file to be read.
ENGLISH = "The author of Artificial Intelligence Trends is Priya."
CHINESE = "人工智能发展趋势的作者是林晓。"
NOTES = "The Bramley museum opens at 9:30."


@pytest.fixture(scope="module")
def workspace(tools: Tools) -> Iterator[None]:
    written = tools.calls(
        "tool-files",
        ("write_file", {"path": "trends.md", "content": ENGLISH}),
        ("write_file", {"path": "趋势.md", "content": CHINESE}),
        ("write_file", {"path": "notes.txt", "content": NOTES}),
    )
    assert [is_error for _, is_error in written] == [False] * 3
    yield
    tools.run("rm *")


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


class Agent:
    def __init__(self, stack: Stack, openai: OpenAI, stream: bool) -> None:
        self._stack, self._openai, self._stream = stack, openai, stream
        self.calls: Counter[str] = Counter()

    def ask(self, text: str, *servers: dict) -> str:
        """The answer; `calls` then tells which tools were called for it, and how each call went."""
        before = self._counted()
        request = {
            "model": MODEL, "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 256,
            "tools": [{"type": "mcp"} | server for server in servers],
        }  # fmt: skip
        if self._stream:
            chunks = list(self._openai.chat.completions.create(**request, stream=True))
            ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason]
            assert ends == ["stop"]
            answer = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        else:
            (choice,) = self._openai.chat.completions.create(**request).choices
            assert choice.finish_reason == "stop"
            answer = choice.message.content or ""
        self.calls = self._counted() - before
        return answer

    def _counted(self) -> Counter[str]:
        """Calls by "tool outcome"."""
        lines = requests.get(f"{self._stack.url}/metrics", timeout=60).text.splitlines()
        counted: Counter[str] = Counter()
        for line in lines:
            if line.startswith("hearth_tool_calls_total{"):
                labels, value = line.removeprefix("hearth_tool_calls_total{").split("} ")
                named = dict(label.split("=") for label in labels.replace('"', "").split(","))
                counted[f"{named['tool']} {named['outcome']}"] += int(float(value))
        return counted


@pytest.fixture
def agent(stack: Stack, openai: OpenAI, stream: bool, workspace: None) -> Agent:
    return Agent(stack, openai, stream)


@pytest.mark.parametrize(
    ("text", "told"),
    [("Search for 'artificial intelligence trends'", "Priya"), ("搜索‘人工智能发展趋势’", "林晓")],
    ids=["en", "zh"],
)
def test_it_searches_and_answers_from_what_was_found(agent: Agent, text: str, told: str) -> None:
    assert told in agent.ask(text, {"server_label": "search"})
    assert agent.calls == {"search ok": 1}


def test_it_lists_the_workspace_and_then_reads_a_file(agent: Agent) -> None:
    answer = agent.ask("list the files in the workspace and read notes.txt", {"server_label": "files"})
    assert agent.calls == {"files_list_directory ok": 1, "files_read_file ok": 1}
    assert "trends.md" in answer
    assert NOTES in answer


def test_it_runs_a_command_in_the_sandbox(agent: Agent) -> None:
    assert NOTES in agent.ask("Run 'cat notes.txt'", {"server_label": "commands"})
    assert agent.calls == {"run_command ok": 1}


def test_a_command_reaches_nothing(agent: Agent, tools: Tools) -> None:
    """The page that the browser may read (below) is no command's to read."""
    agent.ask("Run 'curl site'", {"server_label": "commands", "allowed_tools": ["run_command"]})
    assert agent.calls == {"run_command error": 1}


def test_a_command_without_end_is_killed(agent: Agent, tools: Tools) -> None:
    agent.ask("Run 'sleep 999'", {"server_label": "commands"})
    assert agent.calls == {"run_command error": 1}
    assert tools.run("ps -eo comm | grep -c sleep; true")[0] == "0\n"


def test_it_reads_a_page(agent: Agent) -> None:
    """Its text is not in what opening it says: that takes a second call."""
    answer = agent.ask("Open http://site:8000/ and tell me what the page says.", {"server_label": "browser"})
    assert agent.calls == {"browser_navigate ok": 1, "browser_snapshot ok": 1}
    assert "Longjing costs 42 yuan." in answer
