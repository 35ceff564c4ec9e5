"""What a tool gave back, as text that the model reads: cut to a token budget, with the rest kept for it to fetch."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import aiohttp
import orjson
from mcp_types import (
    AudioContent,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from hearth_gateway.engine import Engine
from hearth_gateway.tools.config import ResultsConfig
from hearth_gateway.tools.types import BUILT_IN, Tool

Count = Callable[[str], Awaitable[int | None]]
"""Tokens of a text, or None when they cannot be counted now."""

READ_RESULT = Tool(
    name="hearth_read_result",
    server=BUILT_IN,
    remote_name="read_result",
    description=(
        "Read more of a tool result that was too long and therefore cut. "
        "The note at the end of the cut result has the handle and the offset to go on from."
    ),
    parameters={
        "type": "object",
        "properties": {
            "handle": {"type": "string", "description": "The handle in the note of the cut result."},
            "offset": {"type": "integer", "minimum": 0, "description": "The character to start from. Default: 0."},
            "find": {"type": "string", "description": "Start at the first place after offset that has this text."},
        },
        "required": ["handle"],
        "additionalProperties": False,
    },
    read_only=True,
    idempotent=True,
)

_WIDEST_TOKEN = 8  # characters; text whose tokens are longer on average is cut a little shorter than it need be
_COUNTS = 4  # of one text at most, each of them a request to the engine
_CONTEXT = 200  # characters shown before what `find` found
_COUNT_TIMEOUT = 10.0


def render(result: CallToolResult) -> str:
    """All of a result as text. Media is named, not shown: a data URL would cost its size in tokens and say nothing."""
    parts = [_render_block(block) for block in result.content]
    if result.structured_content is not None and not any(isinstance(block, TextContent) for block in result.content):
        parts.insert(0, orjson.dumps(result.structured_content).decode())  # with text, the text says the same
    text = "\n".join(part for part in parts if part) or "(no output)"
    text = text.encode("utf-8", "replace").decode()  # a lone surrogate is no text that an engine could read
    return text if not result.is_error or text.lower().startswith("error") else f"Error: {text}"


def _render_block(block: ContentBlock) -> str:
    match block:
        case TextContent():
            return block.text
        case ImageContent() | AudioContent():
            return f"[{block.type}, {block.mime_type}, {_size(block.data)}: not shown]"
        case ResourceLink():
            about = " ".join(filter(None, (block.title or block.name, block.description)))
            return f"[resource {block.uri}: {about}]"
        case EmbeddedResource():
            resource = block.resource
            if isinstance(resource, TextResourceContents):
                return f"[resource {resource.uri}]\n{resource.text}"
            return (
                f"[resource {resource.uri}, {resource.mime_type or 'unknown type'}, {_size(resource.blob)}: not shown]"
            )


def _size(base64: str) -> str:
    return f"{len(base64) * 3 // 4} bytes"


def measure(text: str, budget: int) -> Generator[str, int | None, int]:
    """How many characters of `text` fit into `budget` tokens. Yields texts to count, receives their tokens or None.

    No token is shorter than a byte, so short texts need no counting, and without a count this bound still holds.
    """
    if len(text.encode()) <= budget:
        return len(text)
    end = min(len(text), budget * _WIDEST_TOKEN)
    for _ in range(_COUNTS):
        tokens = yield text[:end]
        if tokens is None:
            break
        if tokens <= budget:
            return end if end == len(text) else _tidy(text, end)
        end = int(end * budget / tokens * 0.98)
    return len(text.encode()[:budget].decode(errors="ignore"))


def _tidy(text: str, end: int) -> int:
    """A little less than `end`, where that is the end of a line or a word."""
    for separator in ("\n", " "):
        if (found := text.rfind(separator, end - end // 20, end)) >= 0:
            return found + 1
    return end


def tokens_of(engine: Engine) -> Count:
    """Counts by the engine's own tokenizer."""

    async def count(text: str) -> int | None:
        body = orjson.dumps({"prompt": text, "add_special_tokens": False})
        try:
            async with (
                asyncio.timeout(_COUNT_TIMEOUT),
                await engine.ask("/tokenize", body, {"content-type": "application/json"}) as answer,
            ):
                tokens = orjson.loads(await answer.read())["count"] if answer.status == 200 else None
        except (aiohttp.ClientError, OSError, orjson.JSONDecodeError, KeyError, TypeError):
            return None
        return tokens if isinstance(tokens, int) else None

    return count


class Results:
    """Long results, each under a handle, for the user alone whose call it was."""

    def __init__(self, limits: ResultsConfig, count: Count, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._count, self._clock = count, clock
        self._kept: OrderedDict[tuple[str, str], tuple[str, int, float]] = OrderedDict()
        self._bytes = 0

    async def cut(self, text: str, budget: int, user: str) -> str:
        """`text`, or as much of it as fits into `budget` tokens and a note that says how to read on."""
        end = await self._fit(text, budget)
        if end == len(text):
            return text
        return text[:end] + self._note(text, 0, end, self._keep(text, user))

    async def read(self, arguments: dict[str, Any], budget: int, user: str) -> tuple[str, bool]:
        """(what the model reads, whether that is an error) of a call of READ_RESULT."""
        handle, offset, find = arguments.get("handle"), arguments.get("offset", 0), arguments.get("find")
        self._forget_old()
        if (found := self._kept.get((user, str(handle)))) is None:
            return f"Error: there is no result {handle}: it was kept for a while only. Call the tool again.", True
        text, size, _ = found
        self._kept[user, str(handle)] = text, size, self._clock() + self.limits.seconds
        self._kept.move_to_end((user, str(handle)))
        if not isinstance(offset, int) or not 0 <= offset < len(text):
            return f"Error: offset should be between 0 and {len(text) - 1}, the result's last character.", True
        if find:
            if (place := text.find(str(find), offset)) < 0:
                return f"Error: the result does not have that text after offset {offset}.", True
            offset = max(offset, place - _CONTEXT)
        rest = text[offset:]
        end = await self._fit(rest, budget)
        if offset + end == len(text):
            return rest + f"\n\n[Characters {offset} to {len(text)}: the end of the result.]", False
        return rest[:end] + self._note(text, offset, offset + end, str(handle)), False

    async def _fit(self, text: str, budget: int) -> int:
        measuring = measure(text, budget)
        try:
            piece = next(measuring)
            while True:
                piece = measuring.send(await self._count(piece))
        except StopIteration as stop:
            return max(1, int(stop.value))

    def _note(self, text: str, start: int, end: int, handle: str | None) -> str:
        shown = f"\n\n[Cut here: characters {start} to {end} of {len(text)}."
        if handle is None:
            return f"{shown} The rest is too large to be kept: ask the tool for less.]"
        return f'{shown} Read on with {READ_RESULT.name}(handle="{handle}", offset={end}).]'

    def _keep(self, text: str, user: str) -> str | None:
        """The handle. It follows from the text: the same result again has the same one, and the prompt's bytes with
        it; who could guess it knows the text already."""
        data = text.encode()
        if len(data) > (most := self.limits.megabytes * 2**20):
            return None
        handle = hashlib.sha256(data).hexdigest()[:16]
        self._drop((user, handle))
        self._kept[user, handle] = text, len(data), self._clock() + self.limits.seconds
        self._bytes += len(data)
        self._forget_old()
        while self._bytes > most:
            self._drop(next(iter(self._kept)))
        return handle

    def _forget_old(self) -> None:
        now = self._clock()
        for key, (_, _, until) in list(self._kept.items()):  # least recently read first, so the oldest are in front
            if until > now:
                break
            self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        if (found := self._kept.pop(key, None)) is not None:
            self._bytes -= found[1]
