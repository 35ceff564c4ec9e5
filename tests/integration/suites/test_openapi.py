"""Schemathesis sends what openapi.yaml allows, and what it forbids, to a gateway with tools and keys, and judges every
answer by it: https://schemathesis.io"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.integration.chat.conftest import Model, said
from tests.integration.gateway.conftest import Start, origin
from tests.integration.gateway.fake_engine import NAMES, USAGE, Exchange, FakeEngine
from tests.integration.tools.conftest import Process

from hearth_gateway.auth import issue

# Not among them: whether whatever the document does not allow is refused. Much of it is the engine's to refuse, and the
# engine here takes everything.
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method", "ignored_auth",
)  # fmt: skip


class Endless(list[dict[str, Any]]):
    """Turns that call a tool and answer, in turn, without end."""

    def pop(self, _: Any = 0) -> dict[str, Any]:
        self.append({})
        return said("", ("t_add", {"a": 1, "b": len(self)})) if len(self) % 2 else said("Done.")


async def test_no_answer_is_an_error_of_ours_or_undocumented(
    start: Start, server: Process, model: Model, engine: FakeEngine, tmp_path: Path
) -> None:
    keys, tools = tmp_path / "keys", tmp_path / "hearth.tools.yaml"
    bearer = f"Bearer {issue(keys, 'ann')}"
    tools.write_text(json.dumps({"servers": {"t": {"url": server.url}}}))
    model.turns, answer_chat = Endless(), engine.completes

    async def complete(exchange: Exchange) -> None:
        if exchange.path != "/v1/completions":
            await answer_chat(exchange)
            return
        choice = {"index": 0, "text": "Red.", "finish_reason": "stop"}
        body = {"id": "cmpl-1", "object": "text_completion", "model": NAMES[0], "choices": [choice], "usage": USAGE}
        await exchange.answer(json.dumps(body).encode())

    engine.completes = complete
    client = await start(tools_file=tools, api_keys_file=keys)

    async def get(path: str) -> Any:
        async with client.get(path, headers={"authorization": bearer}) as answer:
            assert answer.status == 200
            return await answer.json()

    while not (await get("/v1/tools"))["servers"][0]["tools"]:
        pass
    document = await get("/openapi.json")
    _know(document)
    (tmp_path / "openapi.json").write_text(json.dumps(document))

    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"), "run", tmp_path / "openapi.json", "--url", await origin(client),
        "--header", f"Authorization: {bearer}", "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing",
        "--mode", "all", "--max-examples", "40", "--generation-deterministic",
        "--request-timeout", "20", "--max-failures", "5", "--no-color", cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=os.environ | {"COLUMNS": "120"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(120):
            output = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output
    assert any(exchange.path == "/v1/completions" for exchange in engine.exchanges)
    assert any("t_add" in str(body.get("tools")) for body in model.asked), "no request reached the loop"


def _know(document: dict[str, Any]) -> None:
    """Put the names of this gateway in, so that requests reach something; and it wants a key."""
    schemas = document["components"]["schemas"]
    schemas["ModelName"]["enum"] = [*NAMES, "nobody"]
    schemas["ToolName"]["enum"] = ["t_echo", "t_add", "t_fail", "t_none"]
    schemas["ServerLabel"]["enum"] = ["t", "hearth", "none"]
    chat = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]
    with_tools = chat["examples"]["with tools of a server"]["value"]
    with_tools["tools"] = [{"type": "mcp", "server_label": "t"}]
    chat["examples"]["streamed"] = {"value": with_tools | {"stream": True}}
    document["security"] = [{"bearer": []}]
