"""One tool server: how it is reached, what of it the model sees, and what a call of it brings."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.integration.tools.conftest import ROOT, Serve, Tools, Use, command, until


def stdio(record: Path, *more: str, **config: Any) -> dict[str, Any]:
    return {"command": command(record, *more), "cwd": str(ROOT)} | config


@pytest.fixture(params=["http", "http, older protocol", "stdio", "stdio, older protocol"])
async def tools(request: pytest.FixtureRequest, use: Use, serve: Serve, record: Path) -> Tools:
    """A hub with the one server `t`."""
    legacy = ("--legacy",) if "older" in request.param else ()
    if "http" in request.param:
        return await use({"t": {"url": (await serve(*legacy)).url}})
    return await use({"t": stdio(record, *legacy)})


async def test_tools_are_listed_and_called(tools: Tools, request: pytest.FixtureRequest) -> None:
    older = "older" in request.node.name
    (status,) = tools.hub.servers
    assert (status.state, status.protocol) == ("ready", "2025-11-25" if older else "2026-07-28")
    assert tools.names("t") == sorted(tools.names("t"))
    echo = tools.hub.find("t_echo")
    assert echo is not None
    assert (echo.server, echo.remote_name, echo.description, echo.read_only) == ("t", "echo", "Say it again.", True)
    result = await tools.call("t_echo", text="你好")
    assert (result.call_id, result.text, result.is_error) == ("call_1", "你好", False)
    assert (await tools.call("t_add", a=2, b=3)).text == "5"
    assert tools.outcomes == [("t_echo", "ok"), ("t_add", "ok")]


async def test_what_a_tool_says_of_its_failure_is_told(tools: Tools) -> None:
    result = await tools.call("t_fail")
    assert result.is_error
    assert result.text.startswith("Error")
    assert (await tools.call("t_add", a="x", b=[])).is_error
    assert {outcome for _, outcome in tools.outcomes} == {"error"}


async def test_calls_run_at_the_same_time(tools: Tools) -> None:
    results = await asyncio.gather(*(tools.call("t_meet", name="m", of=8) for _ in range(8)))
    assert [result.text for result in results] == ["met"] * 8


async def test_progress_is_handed_on(tools: Tools) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append((done, total, message))

    server = tools.hub._servers["t"]
    tool = tools.hub.find("t_steps")
    assert tool is not None
    await server.call(tool, {}, progress)
    await until(lambda: len(told) == 3)
    assert sorted(told) == [(step, 3, f"step {step}") for step in (1, 2, 3)]


def noted(folder: Path) -> str:
    return "".join(record.read_text() for record in folder.glob("record*"))


async def test_cancelling_a_call_cancels_it_at_the_server(tools: Tools, tmp_path: Path) -> None:
    call = asyncio.create_task(tools.call("t_hang", name="h"))
    await until(lambda: "h started" in noted(tmp_path))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: "h cancelled" in noted(tmp_path))
    assert tools.outcomes == [("t_hang", "cancelled")]
    assert (await tools.call("t_echo", text="still there")).text == "still there"


async def test_a_changed_list_is_seen(tools: Tools) -> None:
    assert "t_grown" not in tools.names("t")
    await tools.call("t_grow")
    await until(lambda: "t_grown" in tools.names("t"))
    assert (await tools.call("t_grown", a=1, b=1)).text == "2"


async def test_a_picture_is_named(tools: Tools) -> None:
    assert (await tools.call("t_picture")).text == "[image, image/png, 6 bytes: not shown]"
