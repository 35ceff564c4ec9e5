"""Several servers together: their file, their names, and results too long for the model."""

import asyncio
import logging
import os
import signal

import pytest
from tests.integration.tools.conftest import Serve, Tools, Use, until

from hearth_gateway.tools.hub import Hub
from hearth_gateway.tools.types import Call, PreparedCall


async def test_servers_with_the_same_tools_keep_them_apart(use: Use, serve: Serve) -> None:
    one, two = await serve("--extra", "one.only"), await serve()
    tools = await use(
        {"b": {"url": one.url, "allow": ["echo", "one*"]}, "a": {"url": two.url, "prefix": "x-", "deny": ["[!e]*"]}}
    )
    assert [tool.name for tool in tools.hub.tools] == ["b_echo", "b_one_only", "hearth_read_result", "x-echo"]
    assert (tools.names("a"), tools.names("b")) == (["x-echo"], ["b_echo", "b_one_only"])
    assert (await tools.call("b_one_only", a=1, b=2)).text == "3"
    assert (await tools.call("x-echo", text="a")).text == "a"


async def test_approval_and_the_default_set_are_the_operators(use: Use, serve: Serve) -> None:
    process = await serve()
    tools = await use({"t": {"url": process.url, "approval": {"ec*": "never", "*": "always"}}}, default=["t"])
    approval = {tool.remote_name: tool.approval for tool in tools.hub.tools if tool.server == "t"}
    assert approval.pop("echo") is False
    assert set(approval.values()) == {True}
    assert tools.hub.default == {*tools.names("t")}


async def test_a_change_of_the_file_is_followed_at_once(
    use: Use, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await serve(), await serve()
    tools = await use({"one": {"url": one.url}})
    (before,) = tools.hub._servers.values()
    tools.configure({"one": {"url": one.url}, "two": {"url": two.url}}, default=["two"])
    await until(lambda: tools.names("two"))
    assert tools.hub._servers["one"] is before, "what did not change stays connected"
    assert tools.hub.default == {*tools.names("two")}

    running = asyncio.create_task(tools.call("one_meet", name="m", of=2))
    await until(lambda: "m arrived" in one.lines())
    tools.configure({"two": {"url": two.url}})
    await until(lambda: "one" not in tools.hub.labels)
    with pytest.raises(AssertionError, match="one_echo is not among"):
        await tools.call("one_echo", text="x")
    with one.record.open("a") as record:
        record.write("m arrived\n")
    assert (await running).text == "met", "a call under way is let end"


async def test_a_bad_file_changes_nothing_and_says_why(
    use: Use, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tools = await use({"t": {"url": (await serve()).url}})
    tools.path.write_text("servers:\n  t:\n    ulr: http://x/mcp\n")
    await until(lambda: tools.hub.problem)
    assert tools.hub.problem.startswith(f"{tools.path}:3: servers.t.ulr: unknown key; allowed: url, ")
    assert tools.hub.problem in caplog.text
    assert (await tools.call("t_echo", text="x")).text == "x"
    tools.path.unlink()
    await until(lambda: "cannot be read: No such file" in tools.hub.problem)
    assert (await tools.call("t_echo", text="x")).text == "x"
    tools.configure({})
    await until(lambda: not tools.hub.problem)
    assert tools.hub.tools == ()


async def test_a_signal_reads_the_file_again(use: Use, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await use({})
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: "was read: 0 tool servers" in caplog.text)


async def test_a_long_result_is_cut_and_read_on(use: Use, serve: Serve) -> None:
    tools = await use({"t": {"url": (await serve()).url, "result_tokens": 300}})
    whole = "\n".join(f"line {number}" for number in range(1000))
    text = (await tools.call("t_big", lines=1000)).text
    read, note = text.rsplit("\n\n[", 1)
    while "Read on with" in note:
        handle, offset = note.split('handle="')[1].split('"')[0], int(note.split("offset=")[1].split(")")[0])
        assert len(read) == offset
        more, note = (await tools.call("hearth_read_result", handle=handle, offset=offset)).text.rsplit("\n\n[", 1)
        read += more
    assert read == whole
    found = await tools.call("hearth_read_result", handle=handle, find="line 777")
    assert "line 777\n" in found.text
    missing = await tools.call("hearth_read_result", handle="0" * 16)
    assert (missing.is_error, missing.text.startswith("Error: there is no result")) == (True, True)


async def test_a_result_is_read_on_by_its_user_alone(use: Use, serve: Serve) -> None:
    tools = await use({"t": {"url": (await serve()).url, "result_tokens": 128}})
    big, read = tools.hub.find("t_big"), tools.hub.find("hearth_read_result")
    assert big is not None
    assert read is not None
    text = (await tools.hub.call(PreparedCall(Call("1", big.name, ""), big, {"lines": 99}), user="ann")).text
    handle = text.split('handle="')[1].split('"')[0]
    by_bob = await tools.hub.call(PreparedCall(Call("2", read.name, ""), read, {"handle": handle}), user="bob")
    by_ann = await tools.hub.call(PreparedCall(Call("3", read.name, ""), read, {"handle": handle}), user="ann")
    assert (by_bob.is_error, by_ann.is_error) == (True, False)


async def test_nothing_of_a_call_is_logged(use: Use, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tools = await use({"t": {"url": (await serve()).url}})
    assert (await tools.call("t_echo", text="a secret plan")).text == "a secret plan"
    assert "a secret plan" not in caplog.text
    assert "ready" in caplog.text


async def test_without_a_file_there_are_no_tools(tools_without_file: Tools) -> None:
    assert tools_without_file.hub.tools == ()
    assert tools_without_file.hub.find("t_echo") is None


@pytest.fixture
async def tools_without_file(tmp_path):
    from tests.integration.tools.conftest import bytes_as_tokens

    async with Hub(None, bytes_as_tokens) as hub:
        yield Tools(hub, tmp_path / "none")
