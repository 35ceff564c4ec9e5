"""A real MCP server for the tests, with tools that misbehave on request. Each writes what it does to the record.

    python -m tests.integration.tools.tool_server RECORD [--port N | --socket PATH] [--legacy] [--extra NAME]

Over stdio unless a port or a socket is given. `--legacy`: it knows the protocol only up to 2025-11-25.
"""

import argparse
import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from mcp import MCPError
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types import (
    INTERNAL_ERROR,
    METHOD_NOT_FOUND,
    CallToolResult,
    ErrorData,
    ImageContent,
    JSONRPCError,
    JSONRPCRequest,
    TextContent,
    ToolAnnotations,
)

READ_ONLY = ToolAnnotations(read_only_hint=True)


def make(record: Path, legacy: bool, extra: str | None) -> MCPServer:
    async def only_the_old_protocol(ctx: Any, call_next: Any) -> Any:
        if ctx.method == "server/discover":
            raise MCPError(METHOD_NOT_FOUND, "Method not found")
        return await call_next(ctx)

    server = MCPServer("test", log_level="ERROR", middleware=[only_the_old_protocol] if legacy else [])

    def times(line: str) -> int:
        return record.read_text().splitlines().count(line)

    def note(line: str) -> int:
        """Write a line; gives how many times it is there now."""
        with record.open("a") as file:
            file.write(line + "\n")
        return times(line)

    @server.tool(annotations=READ_ONLY)
    def echo(text: str) -> CallToolResult:
        """Say it again."""
        return CallToolResult(content=[TextContent(text=text)])

    @server.tool()
    def add(a: int, b: int) -> int:
        return a + b

    @server.tool()
    async def hang(name: str) -> str:
        """Never ends by itself."""
        note(f"{name} started")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            note(f"{name} cancelled")
            raise
        return ""

    @server.tool()
    async def meet(name: str, of: int) -> str:
        """Ends when `of` calls of the same name are under way at once."""
        note(f"{name} arrived")
        while True:
            if times(f"{name} arrived") >= of:
                return "met"
            await asyncio.sleep(0.01)

    @server.tool(annotations=READ_ONLY)
    def read_once_dead(name: str) -> str:
        """Kills its server the first time."""
        if (reads := note(f"{name} read")) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return f"read {reads} times"

    @server.tool()
    def write_once_dead(name: str) -> str:
        if (writes := note(f"{name} written")) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return f"written {writes} times"

    @server.tool()
    def fail() -> str:
        raise ValueError("the printer is on fire")

    @server.tool()
    def breaks(name: str) -> str:
        note(f"{name} broke")
        raise MCPError(INTERNAL_ERROR, "out of order")

    @server.tool()
    def big(lines: int) -> CallToolResult:
        return CallToolResult(content=[TextContent(text="\n".join(f"line {number}" for number in range(lines)))])

    @server.tool()
    def picture() -> CallToolResult:
        return CallToolResult(content=[ImageContent(data="aGVsbG8=", mime_type="image/png")])

    @server.tool()
    async def steps(ctx: Context) -> str:
        for step in (1, 2, 3):
            await ctx.report_progress(step, 3, f"step {step}")
        return "done"

    @server.tool(annotations=READ_ONLY)
    async def chatter(times: int, ctx: Context) -> str:
        """Tells of its progress more often than anybody wants to know."""
        for step in range(times):
            await ctx.report_progress(step, times, "and " * 100)
        return "done"

    @server.tool(annotations=READ_ONLY)
    def whose(ctx: Context) -> str:
        """The span that the call is part of."""
        return (ctx.request_context.meta or {}).get("traceparent", "nobody's")

    @server.tool()
    async def grow(ctx: Context) -> str:
        """Adds a tool and tells so."""
        server.add_tool(add, name="grown")
        if legacy:
            await ctx.session.send_tool_list_changed()
        else:
            await ctx.notify_tools_changed()
        return "grown"

    @server.tool()
    def header(name: str, ctx: Context) -> str:
        return (ctx.headers or {}).get(name, "")

    @server.tool()
    def variable(name: str) -> str:
        return os.environ.get(name, "")

    if extra:
        server.add_tool(add, name=extra)
    note("up")
    return server


async def run_old_stdio(server: MCPServer) -> None:
    """Over stdio the SDK takes the first message as the choice of the protocol: an old server never understands it."""
    async with stdio_server() as (read, write), anyio.create_task_group() as group:
        send, filtered = anyio.create_memory_object_stream[SessionMessage | Exception](0)

        async def forward() -> None:
            async with send:
                async for item in read:
                    message = item.message if isinstance(item, SessionMessage) else None
                    if isinstance(message, JSONRPCRequest) and message.method == "server/discover":
                        error = ErrorData(code=METHOD_NOT_FOUND, message="Method not found")
                        await write.send(SessionMessage(JSONRPCError(jsonrpc="2.0", id=message.id, error=error)))
                    else:
                        await send.send(item)

        group.start_soon(forward)
        lowlevel = server._lowlevel_server
        await lowlevel.run(filtered, write, lowlevel.create_initialization_options())
        group.cancel_scope.cancel()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("record", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--socket")
    parser.add_argument("--legacy", action="store_true")
    parser.add_argument("--extra")
    given = parser.parse_args(arguments)
    server = make(given.record, given.legacy, given.extra)
    if given.socket:
        uvicorn.run(server.streamable_http_app(), uds=given.socket, log_level="error", log_config=None)
    elif given.port is None and given.legacy:
        anyio.run(run_old_stdio, server)
    elif given.port is None:
        server.run()
    else:
        uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=given.port, log_level="error", log_config=None)


if __name__ == "__main__":
    main()
