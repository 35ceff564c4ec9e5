"""Servers that die, hang or come back, and what a call finds then: a clear error, at once, and never twice what must
not be done twice."""

import asyncio
import signal
from pathlib import Path

import pytest
from tests.integration.tools.conftest import ROOT, Serve, Tools, Use, command, lines, until

from hearth_gateway.tools import breaker


async def test_a_server_that_is_down_costs_a_clear_error_and_comes_back(use: Use, serve: Serve) -> None:
    process = await serve()
    tools = await use({"t": {"url": process.url}})
    await process.kill()
    await until(lambda: tools.state("t") == "reconnecting")  # its stream of changes broke off: no call was needed
    result = await tools.call("t_echo", text="x")
    assert result.is_error
    assert result.text.startswith("Error: The tool server t is not available: ")
    assert "t_echo" in tools.names("t"), "the prompt keeps its bytes meanwhile"
    await process.start("--extra", "later")
    await until(lambda: tools.state("t") == "ready")
    assert (await tools.call("t_echo", text="x")).text == "x"
    assert "t_later" in tools.names("t"), "the list was read anew"
    assert tools.outcomes == [("t_echo", "unavailable"), ("t_echo", "ok")]


async def test_a_server_that_was_never_there_costs_nothing_and_is_named(use: Use, serve: Serve, free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}/mcp"
    tools = await use(
        {"gone": {"url": url}, "none": {"command": ["/no/such/program"]}, "t": {"url": (await serve()).url}}
    )
    gone, none, there = tools.hub.servers
    assert (gone.state, none.state, there.state) == ("reconnecting", "reconnecting", "ready")
    assert "connection" in gone.detail.lower()
    assert none.detail == "No such file or directory: /no/such/program"
    assert (await tools.call("t_echo", text="x")).text == "x"


@pytest.mark.parametrize("older", [(), ("--legacy",)], ids=["", "older protocol"])
async def test_a_reading_call_survives_the_death_of_its_server(use: Use, serve: Serve, older: tuple[str, ...]) -> None:
    process = await serve(*older)
    tools = await use({"t": {"url": process.url}})
    call = asyncio.create_task(tools.call("t_read_once_dead", name="r"))
    await process.died()
    await process.start()
    assert (await call).text == "read 2 times"


async def test_a_writing_call_is_never_sent_twice(use: Use, serve: Serve) -> None:
    process = await serve()
    tools = await use({"t": {"url": process.url}})
    result = await tools.call("t_write_once_dead", name="w")
    assert result.is_error
    assert "whether t_write_once_dead did its work is not known" in result.text
    await process.start()
    await until(lambda: tools.state("t") == "ready")
    assert process.lines().count("w written") == 1
    assert tools.outcomes == [("t_write_once_dead", "lost")]


async def test_a_program_that_died_is_started_again(use: Use, record: Path) -> None:
    tools = await use({"t": {"command": command(record), "cwd": str(ROOT)}})
    result = await tools.call("t_write_once_dead", name="w")
    assert result.is_error
    await until(lambda: tools.state("t") == "ready")
    assert (await tools.call("t_read_once_dead", name="r")).text == "read 2 times"
    assert (lines(record).count("up"), lines(record).count("w written")) == (3, 1)


async def test_a_session_that_a_new_server_does_not_know_is_made_again(use: Use, serve: Serve) -> None:
    process = await serve("--legacy")
    tools = await use({"t": {"url": process.url}})
    await process.kill()
    await process.start()
    result = await tools.call("t_write_once_dead", name="w")  # not even a writing call was run by a server that said so
    assert "lost during the call" in result.text
    assert process.lines().count("w written") == 1


async def test_other_calls_survive_one_that_is_lost(use: Use, serve: Serve) -> None:
    """As a call does whose answer breaks off: here, because it is larger than any should be."""
    process = await serve()
    tools = await use({"t": {"url": process.url}})
    waiting = asyncio.create_task(tools.call("t_meet", name="m", of=2))
    await until(lambda: "m arrived" in process.lines())
    assert (await tools.call("t_big", lines=3_000_000)).is_error
    assert (await tools.call("t_meet", name="m", of=2)).text == "met"
    assert (await waiting).text == "met"
    assert tools.state("t") == "ready"


async def test_a_call_that_takes_too_long_is_cancelled_at_the_server(use: Use, serve: Serve) -> None:
    process = await serve()
    tools = await use({"t": {"url": process.url, "timeout": 0.5}})
    result = await tools.call("t_hang", name="h")
    assert (result.text, result.is_error) == ("Error: t_hang did not finish within 0.5 s and was cancelled.", True)
    await until(lambda: "h cancelled" in process.lines())
    assert tools.outcomes == [("t_hang", "timeout")]


@pytest.mark.parametrize("older", [(), ("--legacy",)], ids=["", "older protocol"])
async def test_a_server_that_hangs_is_noticed_and_comes_back(use: Use, serve: Serve, older: tuple[str, ...]) -> None:
    process = await serve(*older)
    tools = await use({"t": {"url": process.url, "timeout": 0.5, "connect_timeout": 2}})
    process.signal(signal.SIGSTOP)
    assert "did not finish within 0.5 s" in (await tools.call("t_echo", text="x")).text
    await until(lambda: tools.state("t") == "reconnecting")
    assert "is not available" in (await tools.call("t_echo", text="x")).text, "at once from now on"
    process.signal(signal.SIGCONT)
    await until(lambda: tools.state("t") == "ready")
    assert tools.outcomes == [("t_echo", "timeout"), ("t_echo", "unavailable")]


async def test_calls_beyond_the_limit_wait_for_their_turn(use: Use, serve: Serve) -> None:
    process = await serve()
    tools = await use({"t": {"url": process.url, "concurrency": 2, "timeout": 2}})
    first = [asyncio.create_task(tools.call("t_hang", name=f"h{number}")) for number in (1, 2)]
    await until(lambda: {"h1 started", "h2 started"} <= set(process.lines()))
    third = asyncio.create_task(tools.call("t_hang", name="h3"))
    await until(lambda: tools.hub.servers[0].running == 3)
    assert "h3 started" not in process.lines()
    first[0].cancel()
    await until(lambda: "h3 started" in process.lines())
    for call in (*first, third):
        call.cancel()
    await asyncio.gather(*first, third, return_exceptions=True)


async def test_no_turn_in_time_is_said_to_be_that(use: Use, serve: Serve) -> None:
    process = await serve()
    tools = await use({"t": {"url": process.url, "concurrency": 1, "timeout": 1}})
    hanging = asyncio.create_task(tools.call("t_hang", name="h"))
    await until(lambda: "h started" in process.lines())
    waiting = [asyncio.create_task(tools.call("t_hang", name=f"w{number}")) for number in range(3)]
    texts = {(await call).text for call in (hanging, *waiting)}
    assert "Error: t_hang did not finish within 1 s and was cancelled." in texts
    assert "Error: The tool server t is busy: no turn came within 1 s." in texts


async def test_a_tool_that_keeps_failing_is_left_alone_and_others_are_not(use: Use, serve: Serve) -> None:
    process = await serve()
    tools = await use({"t": {"url": process.url}})
    for _ in range(breaker.FAILURES):
        assert "out of order" in (await tools.call("t_breaks", name="b")).text
    result = await tools.call("t_breaks", name="b")
    assert result.text.startswith("Error: t_breaks failed several times in a row and is not called for another ")
    assert process.lines().count("b broke") == breaker.FAILURES
    assert tools.hub.servers[0].circuits == {"t_breaks": "open"}
    assert (await tools.call("t_echo", text="x")).text == "x"


async def test_a_server_that_wants_a_secret_says_so_and_gets_it(
    use: Use, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_TOKEN", "hush")
    (tmp_path / "token").write_text("hush too\n")
    headers = {"authorization": {"env": "TEST_TOKEN", "prefix": "Bearer "}, "x-plain": "plain"}
    variables = {"SECRET": {"file": str(tmp_path / "token")}}
    local = {"command": command(tmp_path / "record9"), "cwd": str(ROOT), "env": variables}
    tools = await use({"t": {"url": (await serve()).url, "headers": headers}, "local": local})
    assert (await tools.call("t_header", name="authorization")).text == "Bearer hush"
    assert (await tools.call("t_header", name="x-plain")).text == "plain"
    assert (await tools.call("local_variable", name="SECRET")).text == "hush too"
    assert (await tools.call("local_variable", name="TEST_TOKEN")).text == "(no output)"
    assert "hush" not in repr(tools.hub._config)


async def test_a_server_without_a_network_is_reached_by_its_socket(use: Use, record: Path, tmp_path: Path) -> None:
    socket = tmp_path / "mcp.sock"
    tools = await use({"t": {"url": "http://127.0.0.1:9/mcp", "socket": str(socket)}})
    assert tools.state("t") == "reconnecting"
    server = await asyncio.create_subprocess_exec(*command(record, "--socket", str(socket)), cwd=ROOT)
    await until(lambda: tools.state("t") == "ready")
    assert (await tools.call("t_echo", text="x")).text == "x"
    server.kill()
    await server.wait()
    await until(lambda: tools.state("t") == "reconnecting")


async def test_a_path_that_is_not_mcp_is_named(use: Use, serve: Serve) -> None:
    process = await serve()
    tools = await use({"t": {"url": process.url + "x"}})
    (status,) = tools.hub.servers
    assert (status.state, status.detail) == ("reconnecting", "Not Found")


async def test_leaving_ends_everything(use: Use, serve: Serve, record: Path, tools_of_stdio: Tools) -> None:
    call = asyncio.create_task(tools_of_stdio.call("t_hang", name="h"))
    await until(lambda: "h started" in lines(record))
    await tools_of_stdio.hub.__aexit__(None, None, None)
    assert (await call).is_error
    assert tools_of_stdio.state("t") == "closed"
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not {task for task in others if "tool" in task.get_name()}


@pytest.fixture
async def tools_of_stdio(use: Use, record: Path) -> Tools:
    return await use({"t": {"command": command(record), "cwd": str(ROOT)}})
