"""The client that the MCP conformance suite judges: the gateway's hub, with the suite's server as its only one.

MCP_CONFORMANCE_SCENARIO=… python -m tests.integration.suites.conformance_client URL
"""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.integration.tools.conftest import bytes_as_tokens

from hearth_gateway.tools.arguments import ArgumentsError, prepare
from hearth_gateway.tools.hub import Hub
from hearth_gateway.tools.types import Call, PreparedCall, Tool

Calls = list[tuple[str, dict[str, Any]]]


def calls(scenario: str, context: dict[str, Any], tools: dict[str, Tool]) -> Calls:
    """What the scenario asks the client to call, by the server's own names."""
    if given := context.get("toolCalls"):
        return [(call["name"], call["arguments"]) for call in given]
    match scenario:
        case "tools_call":
            return [("add_numbers", {"a": 5, "b": 3})]
        case "sse-retry":
            return [("test_reconnection", {})]
        case "json-schema-2020-12-preservation":
            return [("json_schema_echo", {"schema": tools["json_schema_2020_12_tool"].parameters})]
        case _:
            return [(name, example(tool)) for name, tool in tools.items()]


def example(tool: Tool) -> dict[str, Any]:
    """Arguments that its schema requires."""
    values: dict[str, Any] = {"string": "a", "integer": 1, "number": 1.5, "boolean": True, "object": {}, "array": []}
    properties = tool.parameters.get("properties", {})
    return {name: values[properties[name].get("type", "string")] for name in tool.parameters.get("required", [])}


async def main(path: Path) -> None:
    scenario = os.environ["MCP_CONFORMANCE_SCENARIO"]
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    async with Hub(path, bytes_as_tokens) as hub:
        await hub.attempted()
        print(hub.servers, flush=True)
        tools = {tool.remote_name: tool for tool in hub.tools if tool.server == "suite"}
        for index, (name, arguments) in enumerate(calls(scenario, context, tools)):
            tool = tools[name]
            call = Call(f"call_{index}", tool.name, json.dumps(arguments))
            try:  # checking fetches nothing, which the suite watches for; what it finds is the suite's own doing
                prepare(call.arguments, tool.parameters)
            except ArgumentsError as error:
                print(name, "is called although", error)
            print(await hub.call(PreparedCall(call, tool, arguments)), flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "hearth.tools.yaml")
        file.write_text(json.dumps({"servers": {"suite": {"url": sys.argv[1], "timeout": 20}}}))
        asyncio.run(main(file))
