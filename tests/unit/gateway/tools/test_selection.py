"""Who gets which tools."""

import itertools
from typing import Any

import orjson
import pytest

from hearth_gateway.errors import Problem
from hearth_gateway.tools.selection import Selection, select
from hearth_gateway.tools.types import Tool


def tool(server: str, name: str, **more: Any) -> Tool:
    return Tool(f"{server}_{name}", server, name, f"{name}.", {"type": "object"}, **more)


READ = tool("files", "read", read_only=True)
WRITE = tool("files", "write")
RUN = tool("commands", "run", approval=True)
FETCH = Tool("hearth_read_result", "hearth", "read_result", "More.", {"type": "object"}, read_only=True)
CATALOG = [RUN, WRITE, READ, FETCH]
LABELS = ["files", "commands", "browser"]  # the browser is down
CLICK = {"type": "function", "function": {"name": "click", "parameters": {"z": 1, "a": 2}}}


def mcp(label: str = "files", **more: Any) -> dict[str, Any]:
    return {"type": "mcp", "server_label": label, **more}


def chosen(*tools: Any, default: list[str] | None = None, **body: Any) -> Selection | None:
    return select({"messages": [], **body, **({"tools": list(tools)} if tools else {})}, CATALOG, LABELS, default or [])


def names(*tools: Any, **more: Any) -> list[str]:
    selection = chosen(*tools, **more)
    assert selection is not None
    return [tool.name for tool in selection.tools]


def refused(*tools: Any, **more: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        chosen(*tools, **more)
    assert caught.value.status == 400
    return caught.value


class TestUntouched:
    def test_a_client_with_functions_of_its_own_only(self) -> None:
        assert chosen(CLICK, default=["files_read"]) is None

    @pytest.mark.parametrize("tools", [None, [], "x", {}, 0])
    def test_no_tools_and_no_default(self, tools: Any) -> None:
        assert select({"tools": tools}, CATALOG, LABELS) is None

    def test_a_default_of_tools_that_are_not_there(self) -> None:
        assert chosen(default=["browser_open"]) is None


class TestChosen:
    def test_a_server_s_tools_by_name_and_the_built_in_one(self) -> None:
        assert names(mcp()) == ["files_read", "files_write", "hearth_read_result"]

    def test_the_default_for_a_request_without_tools(self) -> None:
        assert names(default=["files_write", "commands_run"]) == ["commands_run", "files_write", "hearth_read_result"]
        assert names(default=["files_read"], tools=[]) == ["files_read", "hearth_read_result"]

    def test_a_request_that_asks_gets_what_it_asks_for_only(self) -> None:
        assert names(mcp("commands"), default=["files_read"]) == ["commands_run", "hearth_read_result"]

    @pytest.mark.parametrize(
        ("allowed", "left"),
        [
            (["read"], ["files_read"]),
            (["files_write"], ["files_write"]),
            ({"tool_names": ["write"]}, ["files_write"]),
            ({"read_only": True}, ["files_read"]),
            ({"tool_names": ["read", "write"], "read_only": False}, ["files_write"]),
        ],
    )
    def test_allowed_tools(self, allowed: Any, left: list[str]) -> None:
        assert names(mcp(allowed_tools=allowed)) == [*left, "hearth_read_result"]

    def test_no_tool_allowed_is_no_tool_at_all(self) -> None:
        assert names(mcp(allowed_tools=[])) == []

    def test_a_server_that_is_down_costs_nothing(self) -> None:
        assert names(mcp("browser", allowed_tools=["open"])) == []
        assert names(mcp("browser"), mcp("commands")) == ["commands_run", "hearth_read_result"]

    def test_the_built_in_tool_may_be_named(self) -> None:
        assert names(mcp("hearth")) == ["hearth_read_result"]

    def test_none_is_none(self) -> None:
        selection = chosen(mcp(), tool_choice="none")
        assert selection == Selection((), {"messages": []})

    def test_the_order_in_which_servers_came_up_does_not_show(self) -> None:
        body = {"tools": [mcp("files"), CLICK, mcp("commands")]}
        seen = set()
        for order in itertools.permutations(CATALOG):
            selection = select(body, order, LABELS)
            assert selection
            seen.add(orjson.dumps([[one.function() for one in selection.tools], selection.body]))
        assert len(seen) == 1


class TestBody:
    def test_the_client_s_functions_stay_as_written_and_ours_leave(self) -> None:
        selection = chosen(mcp(), CLICK, temperature=0)
        assert selection
        assert orjson.dumps(selection.body) == orjson.dumps({"messages": [], "temperature": 0, "tools": [CLICK]})

    def test_a_hosted_tool_is_forced_by_its_name(self) -> None:
        selection = chosen(mcp(), tool_choice={"type": "mcp", "server_label": "files", "name": "read"})
        assert selection
        assert selection.body["tool_choice"] == {"type": "function", "function": {"name": "files_read"}}

    @pytest.mark.parametrize("choice", ["auto", "required", {"type": "function", "function": {"name": "click"}}])
    def test_other_choices_stay(self, choice: Any) -> None:
        selection = chosen(mcp(), CLICK, tool_choice=choice)
        assert selection
        assert selection.body["tool_choice"] == choice

    def test_nothing_is_forced_where_nothing_is_left(self) -> None:
        assert chosen(mcp("browser"), tool_choice="required") == Selection((), {"messages": []})


class TestApproval:
    def asking(self, entry: dict[str, Any]) -> list[str]:
        selection = chosen(entry)
        assert selection
        return [tool.remote_name for tool in selection.tools if tool.approval]

    @pytest.mark.parametrize(
        ("policy", "asking"),
        [
            (None, []),
            ("never", []),
            ("always", ["read", "write"]),
            ({"always": {"tool_names": ["write"]}}, ["write"]),
            ({"always": {"tool_names": ["write"]}, "never": {"tool_names": ["read"]}}, ["write"]),
            ({"never": {"read_only": True}}, []),
            ({"always": {"read_only": False}}, ["write"]),
        ],
    )
    def test_what_a_client_wants_to_be_asked_about(self, policy: Any, asking: list[str]) -> None:
        assert self.asking(mcp(require_approval=policy)) == asking

    @pytest.mark.parametrize("policy", [None, "never", {"never": {"tool_names": ["run"]}}])
    def test_the_operator_s_word_stands(self, policy: Any) -> None:
        assert self.asking(mcp("commands", require_approval=policy)) == ["run"]

    def test_the_catalog_is_not_changed(self) -> None:
        self.asking(mcp(require_approval="always"))
        assert not READ.approval


class TestRefused:
    def test_an_unknown_server(self) -> None:
        problem = refused(mcp("mail"))
        assert (problem.code, problem.param) == ("unknown_tool_server", "tools[0].server_label")
        assert "'mail'. Configured: browser, commands, files." in problem.message

    @pytest.mark.parametrize("label", [None, 5, ["files"]])
    def test_a_label_that_is_no_text(self, label: Any) -> None:
        assert refused({"type": "mcp", "server_label": label}).code == "unknown_tool_server"

    @pytest.mark.parametrize("key", ["server_url", "headers", "authorization", "connector_id"])
    def test_a_server_of_the_client_s_own(self, key: str) -> None:
        assert "configured by the operator" in refused(mcp(**{key: "http://evil"})).message

    def test_an_unknown_key(self) -> None:
        assert "tools[1] has no allowed_tool. Allowed: allowed_tools," in refused(CLICK, mcp(allowed_tool=[])).message

    def test_an_unknown_tool(self) -> None:
        problem = refused(mcp(allowed_tools=["delete"]))
        assert "the server 'files' has no tool 'delete'. It has: read, write." in problem.message
        assert "no tool 'x'" in refused(mcp(require_approval={"never": {"tool_names": ["x"]}})).message

    @pytest.mark.parametrize("allowed", ["read", 5, [5], {"names": []}, {"tool_names": "read"}, {"read_only": "yes"}])
    def test_a_filter_of_another_shape(self, allowed: Any) -> None:
        assert refused(mcp(allowed_tools=allowed)).param.startswith("tools[0].allowed_tools")  # type: ignore[union-attr]

    @pytest.mark.parametrize("policy", ["sometimes", 5, [], {}, {"ask": {}}])
    def test_a_policy_of_another_shape(self, policy: Any) -> None:
        assert '"always", "never" or {"always"' in refused(mcp(require_approval=policy)).message

    def test_a_server_twice(self) -> None:
        assert "'files' is there twice" in refused(mcp(), mcp()).message

    def test_a_function_with_the_name_of_one_of_ours(self) -> None:
        mine = {"type": "function", "function": {"name": "files_read"}}
        problem = refused(mcp(), CLICK, mine)
        assert (problem.code, problem.param) == ("duplicate_tool_name", "tools[2]")
        assert "function 'files_read'" in problem.message
        assert "server 'files'" in problem.message
        assert "leave 'read' out" in problem.message
        assert names(mcp(allowed_tools=["write"]), mine)[0] == "files_write"

    def test_one_name_on_two_servers(self) -> None:
        twin = Tool("files_read", "commands", "read", "", {})
        with pytest.raises(Problem, match="'commands' and 'files' both have a tool 'files_read'"):
            select({"tools": [mcp("files"), mcp("commands")]}, [*CATALOG, twin], LABELS)

    @pytest.mark.parametrize(
        "entry", [{"type": "function"}, {"type": "web_search"}, 5, {"type": "function", "function": {}}]
    )
    def test_entries_of_neither_kind(self, entry: Any) -> None:
        assert refused(mcp(), entry).param == "tools[1]"

    def test_more_than_one_answer(self) -> None:
        assert refused(mcp(), n=2).param == "n"
        assert names(mcp("browser"), n=2) == []

    @pytest.mark.parametrize("choice", [{"type": "mcp"}, {"type": "mcp", "server_label": "files", "name": "run"}])
    def test_a_forced_tool_that_is_not_asked_for(self, choice: Any) -> None:
        assert refused(mcp(), tool_choice=choice).param == "tool_choice"
