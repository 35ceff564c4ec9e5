"""Names of tools, and what of a server's list the model may use."""

import re

import mcp_types
import pytest

from hearth_gateway.tools.config import ServerConfig
from hearth_gateway.tools.naming import names
from hearth_gateway.tools.server import offered, pause
from hearth_gateway.tools.types import canonical


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        (["read", "write"], {"read": "f_read", "write": "f_write"}),
        (["a.b", "c/d", "搜索"], {"a.b": "f_a_b", "c/d": "f_c_d", "搜索": "f___"}),
        (["f_read", "f_write"], {"f_read": "f_read", "f_write": "f_write"}),
        ([], {}),
    ],
)
def test_names_are_what_openai_allows(remote: list[str], expected: dict[str, str]) -> None:
    assert names("f_", remote) == expected


def test_names_never_collide_and_do_not_depend_on_the_order() -> None:
    remote = ["a.b", "a_b", "a/b", "x" * 80, "x" * 81, "y" * 62]
    given = names("f_", remote)
    assert given == names("f_", reversed(remote))
    assert len(set(names("f_", ["read", "f_read"]).values())) == 2
    assert given["a_b"] == "f_a_b", "who needs no change keeps the name"
    assert len(set(given.values())) == len(remote)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in given.values())


def test_no_server_can_take_a_name_of_the_gateways_own() -> None:
    given = names("h", ["earth_read_result"])["earth_read_result"]
    assert given != "hearth_read_result"
    assert given.startswith("hearth_read_result_")


def tool(name: str, **more: object) -> mcp_types.Tool:
    return mcp_types.Tool.model_validate({"name": name, "inputSchema": {"type": "object"}} | more)


def test_the_order_of_a_server_does_not_matter() -> None:
    config = ServerConfig(url="http://h/")
    listed = [tool("b", description="B"), tool("a", title="A"), tool("c", annotations={"readOnlyHint": True})]
    tools = offered("s", "s_", config, listed)
    assert tools == offered("s", "s_", config, reversed(listed))
    assert [(t.name, t.remote_name, t.description, t.read_only) for t in tools] == [
        ("s_a", "a", "A", False), ("s_b", "b", "B", False), ("s_c", "c", "", True)
    ]  # fmt: skip


def test_a_tool_that_cannot_be_called_is_left_out() -> None:
    """In a request it would spoil what stands beside it."""
    listed = [tool("a"), tool("b", inputSchema={"type": "objekt"}), tool("c", inputSchema={"maximum": 2**70})]
    assert [one.name for one in offered("s", "s_", ServerConfig(url="http://h/"), listed)] == ["s_a"]


def test_allow_deny_and_approval_go_by_the_servers_own_names() -> None:
    config = ServerConfig(url="http://h/", allow=("re*",), deny=("*_all",), approval={"remove": "always"})
    tools = offered("s", "", config, [tool("read"), tool("remove"), tool("remove_all"), tool("write")])
    assert [(t.name, t.approval) for t in tools] == [("read", False), ("remove", True)]


def test_pauses_double_and_scatter() -> None:
    assert [pause(failures, lambda: 1.0) for failures in (0, 1, 2, 7, 100)] == [0.25, 0.5, 1, 30, 30]
    assert pause(1, lambda: 0.0) == 0.25


LISTED = mcp_types.Tool(
    name="read_file",
    description="Reads. And much more.",
    inputSchema={
        "type": "object",
        "properties": {"path": {"type": "string", "description": "long"}, "head": {"type": "integer"}},
        "required": ["path"],
    },
)


def presented_as(tools: dict[str, object]) -> tuple[str, object]:
    config = ServerConfig.model_validate({"url": "http://h/", "tools": tools})
    (tool,) = offered("s", "s_", config, [LISTED])
    return tool.description, tool.parameters


def test_the_operator_says_what_the_model_reads_of_a_tool() -> None:
    description, parameters = presented_as(
        {"read_file": {"description": "Read a file.", "parameters": {"path": "Its path"}}}
    )
    assert description == "Read a file."
    assert parameters == {
        "type": "object",
        "properties": {"path": {"type": "string", "description": "Its path"}},
        "required": ["path"],
    }
    assert presented_as({"read_file": {"description": "Read a file."}}) == (
        "Read a file.",
        canonical(LISTED.input_schema),
    )
    assert presented_as({"other": {"description": "Read a file."}}) == (
        LISTED.description,
        canonical(LISTED.input_schema),
    )


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"path": "", "tail": ""}, "servers.s.tools.read_file: the tool has no parameter tail; it has: path, head"),
        ({"head": ""}, "servers.s.tools.read_file: the tool requires path, which parameters should have"),
    ],
)
def test_parameters_that_do_not_fit_the_tool_stay_as_they_are_and_are_told(
    caplog: pytest.LogCaptureFixture, parameters: dict[str, str], told: str
) -> None:
    shown = presented_as({"read_file": {"description": "Read a file.", "parameters": parameters}})
    assert shown == ("Read a file.", canonical(LISTED.input_schema))
    assert caplog.messages == [told]
