"""The soak's engine: `python -m tests.soak.engine PORT`. What it streams is numbered and named after the question, so
that a lost, doubled or strayed piece shows. A question that ends in `tool` is answered with a call first."""

import asyncio
import json
import random
import sys
from typing import Any

from tests.integration.gateway.fake_engine import USAGE, Exchange, FakeEngine, completion, event

PIECES = 20


def question(messages: list[dict[str, Any]]) -> str:
    return next(str(message["content"]) for message in reversed(messages) if message["role"] == "user")


async def answer(exchange: Exchange) -> None:
    body = exchange.body
    if exchange.path != "/v1/chat/completions" or not body.get("stream"):
        await exchange.answer(completion())  # readiness
        return
    messages = body["messages"]
    name = question(messages)
    await exchange.start_stream()
    await exchange.chunk(event({"role": "assistant", "content": ""}))
    if name.endswith("tool") and messages[-1]["role"] == "user":
        function = {"name": "t_echo", "arguments": json.dumps({"text": name})}
        call = {"index": 0, "id": "call_1", "type": "function", "function": function}
        await exchange.chunk(event({"tool_calls": [call]}))
        await exchange.chunk(event({}, "tool_calls"))
    else:
        for number in range(PIECES):
            await asyncio.sleep(random.uniform(0.005, 0.3))
            await exchange.chunk(event({"content": f"{name}:{number} "}))
        await exchange.chunk(event({}, "stop"))
    await exchange.chunk(b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n")
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


async def main() -> None:
    engine = FakeEngine()
    engine.completes = answer
    await engine.start(int(sys.argv[1]))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
