"""One tool, over real MCP: the workspace's documents, and each web service by a stand-in that answers as documented."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.integration.search.conftest import Serve, connected
from tests.unit.search.test_services import DUCKDUCKGO, SEARXNG, TAVILY

PLAIN = {"no_html": "1", "skip_disambig": "1"}


class FakeService:
    """Answers any path; keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: object = {}
        self.status = 200
        self.asked: list[tuple[str, str, dict[str, str], str, str]] = []
        self.silent = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        key = request.headers.get("Authorization", "")
        self.asked.append((request.method, request.path, dict(request.query), key, body))
        if self.silent:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"{")
            while request.transport is not None:  # a byte now and then, and never the end
                await response.write(b" ")
                await asyncio.sleep(0.05)
        text = self.answer if isinstance(self.answer, str) else json.dumps(self.answer)
        return web.Response(text=text, status=self.status)


@pytest.fixture
async def service() -> AsyncIterator[tuple[FakeService, str]]:
    fake = FakeService()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    async with TestServer(app) as server:
        yield fake, str(server.make_url("")).rstrip("/")


def text(result) -> str:
    return "\n".join(block.text for block in result.content)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_tool_as_a_client_sees_it(serve: Serve, mode: str) -> None:
    async with serve(mode) as client:
        (tool,) = (await client.list_tools()).tools
        assert tool.name == "search"
        assert set(tool.input_schema["properties"]) == {"query", "max_results"}
        assert tool.input_schema["required"] == ["query"]
        assert tool.annotations is not None
        assert (tool.annotations.read_only_hint, tool.annotations.idempotent_hint) == (True, True)
        assert tool.annotations.open_world_hint is False
        assert tool.output_schema is not None


async def test_documents_are_found_in_english_and_chinese(serve: Serve, workspace: Path) -> None:
    async with serve() as client:
        (workspace / "report.md").write_text("# 人工智能报告\n人工智能的发展趋势是本地运行的小模型。")
        found = await client.call_tool("search", {"query": "人工智能发展趋势"})
        assert text(found) == "1. 人工智能报告\nreport.md\n# 人工智能报告 人工智能的发展趋势是本地运行的小模型。"
        (workspace / "trends.txt").write_text("The trend in artificial intelligence is small local models.")
        found = await client.call_tool("search", {"query": "artificial intelligence trends", "max_results": 1})
        assert found.structured_content == {
            "results": [
                {
                    "title": "trends.txt",
                    "location": "trends.txt",
                    "snippet": "The trend in artificial intelligence is small local models.",
                }
            ],
            "note": "",
        }


async def test_nothing_found_is_no_error(serve: Serve) -> None:
    async with serve() as client:
        found = await client.call_tool("search", {"query": "tea"})
        assert not found.is_error
        assert text(found) == "Nothing found for: tea"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({}, "query"),
        ({"query": ""}, "query"),
        ({"query": "x" * 401}, "query"),
        ({"query": "tea", "max_results": 0}, "max_results"),
        ({"query": "tea", "max_results": 21}, "max_results"),
        ({"query": "tea", "max_results": "many"}, "max_results"),
    ],
)
async def test_bad_arguments_are_an_error_that_names_them(serve: Serve, arguments: dict, names: str) -> None:
    async with serve() as client:
        found = await client.call_tool("search", arguments)
        assert found.is_error
        assert names in text(found)


async def test_a_workspace_that_is_gone_is_an_error(serve: Serve, workspace: Path) -> None:
    async with serve() as client:
        workspace.rmdir()  # noqa: ASYNC240
        found = await client.call_tool("search", {"query": "tea"})
        assert found.is_error
        assert "the workspace cannot be read: No such file or directory" in text(found)


@pytest.mark.parametrize(
    ("provider", "answer", "asked", "first"),
    [
        ("searxng", SEARXNG, ("GET", "/search", {"q": "茶 & tea", "format": "json"}, ""), "Tea & prices"),
        ("tavily", TAVILY, ("POST", "/search", {}, "Bearer tvly-key"), "Tea"),
        ("duckduckgo", DUCKDUCKGO, ("GET", "/", {"q": "茶 & tea", "format": "json", **PLAIN}, ""), "Tea"),
    ],
)  # fmt: skip
async def test_a_web_service_is_asked(serve, service, tmp_path, provider, answer, asked, first) -> None:
    fake, url = service
    fake.answer = answer
    (tmp_path / "key").write_text("tvly-key\n")
    async with serve(provider=provider, url=url, api_key_file=str(tmp_path / "key")) as client:
        found = await client.call_tool("search", {"query": "茶 & tea", "max_results": 2})
        assert found.structured_content["results"][0]["title"] == first
        ((*request, body),) = fake.asked
        assert tuple(request) == asked
        if provider == "tavily":
            assert json.loads(body) == {"query": "茶 & tea", "max_results": 2, "search_depth": "basic"}


@pytest.mark.parametrize(
    ("provider", "status", "answer", "message"),
    [
        ("searxng", 403, "Forbidden", "searxng refused the search (403): list json under search.formats"),
        ("tavily", 401, {"detail": {"error": "Unauthorized"}}, "tavily refused the search (401): check"),
        ("tavily", 432, {"detail": {"error": "limit"}}, "tavily allows no more searches for now (432)"),
        ("duckduckgo", 500, "", "duckduckgo failed (500)"),
        ("duckduckgo", 202, "", "duckduckgo failed (202)"),
        ("searxng", 200, "<html>", "searxng answered with something that is not JSON"),
        ("searxng", 200, {"hits": []}, "searxng answered in a form that is not its documented one"),
        ("searxng", 200, "x" * (4 * 2**20 + 1), "searxng answered with more than 4194304 bytes"),
    ],
)  # fmt: skip
async def test_what_a_service_refuses_is_a_clear_error(serve, service, provider, status, answer, message) -> None:
    fake, url = service
    fake.answer, fake.status = answer, status
    async with serve(provider=provider, url=url, api_key="tvly-key") as client:
        found = await client.call_tool("search", {"query": "tea"})
        assert found.is_error
        assert message in text(found)
        assert "tvly-key" not in text(found)


async def test_a_service_that_is_not_there_is_a_clear_error(serve: Serve, unused_tcp_port: int) -> None:
    async with serve(provider="searxng", url=f"http://127.0.0.1:{unused_tcp_port}") as client:
        found = await client.call_tool("search", {"query": "tea"})
        assert found.is_error
        assert f"searxng is not reachable at http://127.0.0.1:{unused_tcp_port}" in text(found)


async def test_a_service_that_does_not_finish_is_given_up(serve: Serve, service: tuple[FakeService, str]) -> None:
    fake, url = service
    fake.silent = True
    async with serve(provider="searxng", url=url, timeout="0.5") as client:
        found = await client.call_tool("search", {"query": "tea"})
        assert found.is_error
        assert "searxng did not answer within 0.5 s" in text(found)


async def test_a_key_file_that_is_not_there_is_named(serve: Serve, tmp_path: Path) -> None:
    async with serve(provider="tavily", api_key_file=str(tmp_path / "none")) as client:
        found = await client.call_tool("search", {"query": "tea"})
        assert found.is_error
        assert f"HEARTH_SEARCH_API_KEY_FILE={tmp_path / 'none'}: No such file or directory" in text(found)


async def test_the_program_serves_on_its_socket_and_ends_when_told(workspace: Path, tmp_path: Path) -> None:
    (workspace / "tea.md").write_text("# Tea prices")
    socket = tmp_path / "mcp.sock"
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("hearth-search"), "serve", stderr=asyncio.subprocess.PIPE,
        env=os.environ | {
            "HEARTH_SOCKET": str(socket), "HEARTH_SEARCH_WORKSPACE": str(workspace),
            "HEARTH_SEARCH_INDEX": str(tmp_path / "index.sqlite"),
        },
    )  # fmt: skip
    assert process.stderr is not None
    while b"Uvicorn running" not in (line := await process.stderr.readline()):
        assert line, "it ended"
    async with connected(socket) as client:
        assert "tea.md" in text(await client.call_tool("search", {"query": "tea prices"}))
    process.terminate()
    _, log = await process.communicate()
    assert process.returncode in (0, -15)  # uvicorn ends as the signal would have ended it
    assert b"tea" not in log.lower()  # nobody's words are logged
