"""Runs where a tool server's socket is, named as its argument: calls on standard input, results on standard output."""

import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def main() -> None:
    async with (
        httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=sys.argv[1]), timeout=120) as http,
        Client(streamable_http_client("http://tool/mcp", http_client=http)) as client,
    ):
        for name, arguments in json.load(sys.stdin):
            if name == "tools/list":
                text, is_error = " ".join(tool.name for tool in (await client.list_tools()).tools), False
            else:
                result = await client.call_tool(name, arguments)
                text, is_error = "\n".join(getattr(block, "text", "") for block in result.content), result.is_error
            print(json.dumps([text, is_error]), flush=True)


asyncio.run(main())
