"""Calls left in the text: what is found, what stays text, and that it does not matter how the text arrives."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth_gateway.tools.hermes import CallFilter, recover

SEARCH = '{"name": "search", "arguments": {"query": "x"}}'
READ = '{"name": "read", "arguments": {"path": "a.txt"}}'


def found(content: str) -> tuple[str, list[tuple[str, str]]]:
    text, calls = recover(content)
    return text, [(call.name, call.arguments) for call in calls]


QUERY = ("search", '{"query": "x"}')
PATH = ("read", '{"path": "a.txt"}')


class TestRecovered:
    @pytest.mark.parametrize(
        ("content", "text", "calls"),
        [
            (f"<tool_call>\n{SEARCH}\n</tool_call>", "", [QUERY]),
            (f"<tool_call>{SEARCH}</tool_call>", "", [QUERY]),
            (f"I look.\n<tool_call>{SEARCH}</tool_call>\n", "I look.\n", [QUERY]),
            (f"I look.\n<tool_call>{SEARCH}</tool_call>\nThen I say.", "I look.\nThen I say.", [QUERY]),
            (f"<tool_call>{SEARCH}</tool_call>\n<tool_call>{READ}</tool_call>", "", [QUERY, PATH]),
            (f"a <tool_call>{SEARCH}</tool_call> b <tool_call>{READ}</tool_call> c", "a b c", [QUERY, PATH]),
            (f"<tool_call>{SEARCH}", "", [QUERY]),  # cut after the call
            (f"<tool_call>{SEARCH}</tool_", "", [QUERY]),  # cut within the tag
            (f"<tool_call>{SEARCH}<tool_call>{READ}</tool_call>", "", [QUERY, PATH]),  # a tag is missing
            ('<tool_call>{"name": "now"}</tool_call>', "", [("now", "")]),
            ('<tool_call>{"name": "search", "arguments": "x"}</tool_call>', "", [("search", "x")]),
            ('<tool_call>{"arguments": {}, "name": "now"}</tool_call>', "", [("now", "{}")]),
            ('<tool_call>{"name": "搜索", "arguments": {"q": "中"', "", [("搜索", '{"q": "中"')]),
        ],
    )
    def test_calls_and_the_text_around_them(self, content: str, text: str, calls: list[tuple[str, str]]) -> None:
        assert found(content) == (text, calls)

    @pytest.mark.parametrize(
        ("inside", "arguments"),
        [
            ('{"name": "search", "arguments": {"query": "x"', '{"query": "x"'),
            ('{"name": "search", "arguments": {"query": "x"}', '{"query": "x"}'),
            ('{"name": "search", "arguments": {"query": "x', '{"query": "x'),
            ('{"name": "search", "arguments": {"query": "x",}}', '{"query": "x",}}'),
            ('{"name": "search", "arguments": ', ""),
            ('{"name": "search"', ""),
        ],
    )
    @pytest.mark.parametrize("end", ["", "</tool_call>"])
    def test_broken_arguments_are_kept_for_whoever_judges_them(self, inside: str, arguments: str, end: str) -> None:
        assert found(f"<tool_call>{inside}{end}") == ("", [("search", arguments)])

    def test_a_tag_within_a_string_is_data(self) -> None:
        arguments = {"text": 'write <tool_call>{}</tool_call> "so" \\'}
        block = json.dumps({"name": "write", "arguments": arguments})
        text, ((name, raw),) = found(f"<tool_call>{block}</tool_call> done")
        assert (text, name, json.loads(raw)) == ("done", "write", arguments)

    def test_a_file_full_of_tags_is_read_in_one_pass(self) -> None:
        arguments = {"text": "<tool_call></tool_call>" * 20_000}
        text, ((_, raw),) = found(f"<tool_call>{json.dumps({'name': 'write', 'arguments': arguments})}</tool_call>")
        assert (text, json.loads(raw)) == ("", arguments)

    @pytest.mark.parametrize("between", ["so ", 'so "b" ', 'so 5" wide '])
    def test_a_string_left_open_does_not_swallow_what_follows(self, between: str) -> None:
        broken = '{"name": "search", "arguments": {"query": "x'
        content = f"<tool_call>{broken}</tool_call>{between}<tool_call>{READ}</tool_call>"
        assert found(content) == (between, [("search", '{"query": "x'), PATH])

    def test_ids_are_the_same_for_the_same_text_and_differ_for_others(self) -> None:
        content = f"<tool_call>{SEARCH}</tool_call><tool_call>{READ}</tool_call>"
        first, second = recover(content)[1]
        assert first.id != second.id
        assert recover(content)[1] == (first, second)


class TestText:
    @pytest.mark.parametrize(
        "content",
        [
            "",
            "plain",
            "a < b, <tool_cal",
            "</tool_call> alone",
            "<tool_call>",
            "<tool_call></tool_call>",
            "<tool_call>not JSON</tool_call> and more",
            '<tool_call>{"arguments": {}}</tool_call>',
            '<tool_call>{"name": 5, "arguments": {}}</tool_call>',
            '<tool_call>{"name": ""}</tool_call>',
            '<tool_call>{"name": "a\\nb"}</tool_call>',
            '<tool_call>["name"]</tool_call>',
            "The tag <tool_call> begins a call.",
        ],
    )
    def test_what_names_no_tool_stays(self, content: str) -> None:
        assert found(content) == (content, [])


PIECES = st.lists(
    st.sampled_from(
        ["<tool_call>", "</tool_call>", SEARCH, READ, '{"name": "f"', ', "arguments": {', '"', "\\", "}", "<", "<tool_",
         "\n", " ", "text", "中", '"<tool_call>"', '"</tool_call>"',
         '{"name": "w", "arguments": {"t": "</tool_call>"}}']
    ),
    max_size=12,
).map("".join)  # fmt: skip


class TestStreamed:
    @given(PIECES, st.lists(st.integers(1, 7), min_size=1))
    def test_pieces_of_any_size_show_what_the_whole_shows(self, content: str, sizes: list[int]) -> None:
        text, shown, rest, turn = CallFilter(), "", content, 0
        while rest:
            size = sizes[turn % len(sizes)]
            shown += text.feed(rest[:size])
            rest, turn = rest[size:], turn + 1
        assert (shown + text.end(), tuple(text.calls)) == recover(content)

    @given(st.text(alphabet='<tol_ca>/ \n"{}').filter(lambda content: "<tool_call>" not in content))
    def test_text_without_a_start_tag_is_shown_whole(self, content: str) -> None:
        text = CallFilter()
        assert text.feed(content) + text.end() == content

    def test_only_what_may_be_a_tag_is_held_back(self) -> None:
        text = CallFilter()
        assert [text.feed(delta) for delta in ("Hello ", "<", "b>", " 1 <to", "ol", "s>")] == [
            "Hello ", "", "<b>", " 1 ", "", "<tools>",
        ]  # fmt: skip

    def test_a_call_is_there_as_soon_as_its_end_is(self) -> None:
        text = CallFilter()
        assert text.feed(f"So:\n<tool_call>{SEARCH}</tool_call") == "So:\n"
        assert text.calls == []
        assert text.feed(">") == ""
        assert [call.name for call in text.calls] == ["search"]
        assert text.feed("\n\nDone.") == "Done."
