"""A running stack as a client sees it, and what a check of it saw."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

Json = dict[str, Any]

ANSWER_TOKENS = 32
WHOLE_ANSWER_TOKENS = 192  # a large model says more than it was asked for


class Failed(Exception):  # noqa: N818 - it reads as the check's outcome
    """The stack did not do what it should; the message says what it did."""


@dataclass(frozen=True)
class Seen:
    """What a check saw. `ttft` and `tpot` are seconds to the first token, and for each token after it."""

    detail: str
    ttft: float | None = None
    tpot: float | None = None


@dataclass
class Stack:
    """A running gateway."""

    session: aiohttp.ClientSession
    model: str = field(default="", init=False)
    tools: dict[str, str] = field(default_factory=dict, init=False)  # names of tools by "server/its own name of it"

    async def get(self, path: str) -> Json:
        async with self.session.get(path) as answer:
            return _json(answer.status, await answer.read())

    async def find(self, path: str) -> Json | None:
        """None where there is no such path."""
        async with self.session.get(path) as answer:
            return None if answer.status == 404 else _json(answer.status, await answer.read())

    async def post(self, path: str, body: Json) -> Json:
        async with self.session.post(path, json=body) as answer:
            return _json(answer.status, await answer.read())

    async def chat(self, messages: list[Json], **more: Any) -> Json:
        return await self.post("/v1/chat/completions", self._request(messages) | more)

    async def stream(self, messages: list[Json], **more: Any) -> AsyncIterator[str]:
        """The data of each event."""
        request = self._request(messages) | {"stream": True, "stream_options": {"include_usage": True}} | more
        async with self.session.post("/v1/chat/completions", json=request) as answer:
            if answer.content_type != "text/event-stream":
                raise Failed(f"status {answer.status}, {answer.content_type}: {(await answer.text())[:200]}")
            async for line in answer.content:
                if line.startswith(b"data: "):
                    yield line[6:].decode().strip()

    def _request(self, messages: list[Json]) -> Json:
        return {"model": self.model, "messages": messages, "max_tokens": ANSWER_TOKENS, "temperature": 0}


def _json(status: int, body: bytes) -> Json:
    expect(status == 200, f"status {status}: {body[:200].decode(errors='replace')}")
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Failed(f"not JSON: {body[:200]!r}") from None
    expect(isinstance(answer, dict), f"not an object: {body[:200]!r}")
    return dict(answer)


def expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Failed(otherwise)


def user(text: str) -> Json:
    return {"role": "user", "content": text}


def excerpt(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")
