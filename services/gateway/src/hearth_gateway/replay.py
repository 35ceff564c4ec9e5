"""The replay log: every request to the engine, its answer and every tool result, byte by byte; and its reproduction.

The log is JSON lines. A **conversation** is one request of a client and all that it led to; its lines share an `id`:
`request` (what the client sent, and the tools there were, where the tool loop answers it), then for each **exchange**
with the engine, numbered, `ask`, `answer`, any number of `part` and `end`, and `tool` for each result. Lines with bytes
have them as `text`, or `base64` where they are no UTF-8, and their `sha256`. Lines of different conversations
interleave.

`replay` gives the requests to a gateway once more, before an engine that answers from the log, and compares what that
engine is asked with what is written there.
"""

import asyncio
import base64
import hashlib
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from fastapi import FastAPI
from starlette.types import Message

from hearth_gateway.catalog import Catalog
from hearth_gateway.settings import Settings, SettingsError, load
from hearth_gateway.tools.loop import Limits
from hearth_gateway.tools.types import PreparedCall, Result, Tool, Toolbox

if TYPE_CHECKING:
    from hearth_gateway.services import Services

_SHOWN = 40  # bytes around a difference

log = logging.getLogger(__name__)


class ReplayError(ValueError):
    """The file is no replay log, or a damaged one; the message names the line."""


# Writing


class ExchangeRecording:
    """One that nobody records; use as a context manager around the exchange, from the request to the answer's end."""

    __slots__ = ()

    def __enter__(self) -> "ExchangeRecording":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def answered(self, status: int, content_type: str) -> None:
        """The answer's head."""

    def part(self, data: bytes) -> None:
        """Bytes of the answer's body, in order, as they arrive: nothing is kept."""

    def complete(self) -> None:
        """The answer is complete, whatever becomes of it. Without this it is one that broke off."""


class Recording:
    """A conversation that nobody records."""

    __slots__ = ()

    def asked(self, path: str, body: bytes) -> ExchangeRecording:
        """The engine is asked."""
        return _NO_EXCHANGE

    def tool(self, prepared: PreparedCall, result: Result) -> None:
        """A tool of ours was called, and the model reads this result."""


_NO_EXCHANGE = ExchangeRecording()
_NO_RECORDING = Recording()


class ReplayLog:
    """Appends to `path`, or records nothing where that is None. At `most` bytes the file becomes `path`.1 and a new one
    begins. Writes are not awaited: they go to the page cache, and a line is at most one body."""

    def __init__(self, path: Path | None, most: int) -> None:
        """Raises SettingsError when the file cannot be written: a log that is missing when it is needed is worse."""
        self._path, self._most, self._complaint = path, most, ""
        try:
            if path:
                self._open(path)
        except OSError as error:
            raise SettingsError(f"HEARTH_REPLAY_LOG={path}: {error.strerror}") from None

    def conversation(
        self, request_id: str, path: str, body: bytes, catalog: Catalog, toolbox: Toolbox | None = None
    ) -> Recording:
        """Begin one: a client's request as it came, with whatever of its conversation was kept here; what the engine
        served then; and the tools there were, where they have a part in it."""
        if self._path is None:
            return _NO_RECORDING
        served = {"names": catalog.names, "context_length": catalog.context_length, "created": catalog.created}
        recording = _Recording(self, secrets.token_hex(8))
        tools = toolbox and {
            "all": toolbox.tools,
            "labels": toolbox.labels,
            "default": sorted(toolbox.default),
            "limits": toolbox.limits.model_dump(),
        }
        recording.write(
            "request", body, request_id=request_id, path=path, catalog=served, tools=tools, time=time.time()
        )
        return recording

    def write(self, line: dict[str, Any]) -> None:
        assert self._path
        data = orjson.dumps(line) + b"\n"
        try:
            if self._size and self._size + len(data) > self._most:
                os.replace(self._path, f"{self._path}.1")
                os.close(self._file)
                self._open(self._path)
            self._size += os.write(self._file, data)
            self._complaint = ""
        except OSError as error:  # a full disk costs the log, not the answer
            if str(error) != self._complaint:
                self._complaint = str(error)
                log.error("%s cannot be written: %s", self._path, error.strerror)

    def _open(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._size = os.fstat(self._file).st_size


class _Recording(Recording):
    __slots__ = ("_exchanges", "_file", "_id")

    def __init__(self, file: ReplayLog, id: str) -> None:
        self._file, self._id, self._exchanges = file, id, 0

    def asked(self, path: str, body: bytes) -> ExchangeRecording:
        self._exchanges += 1
        self.write("ask", body, exchange=self._exchanges, path=path)
        return _ExchangeRecording(self, self._exchanges)

    def tool(self, prepared: PreparedCall, result: Result) -> None:
        name, arguments = prepared.tool.name, canonical_arguments(prepared)
        self.write("tool", result.text.encode(), name=name, arguments=arguments, is_error=result.is_error)

    def write(self, kind: str, body: bytes | None = None, **fields: Any) -> None:
        line = {"kind": kind, "id": self._id} | fields
        if body is not None:
            line["sha256"] = hashlib.sha256(body).hexdigest()
            try:
                line["text"] = body.decode()
            except UnicodeDecodeError:
                line["base64"] = base64.b64encode(body).decode()
        self._file.write(line)


class _ExchangeRecording(ExchangeRecording):
    __slots__ = ("_complete", "_number", "_recording")

    def __init__(self, recording: _Recording, number: int) -> None:
        self._recording, self._number, self._complete = recording, number, False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._recording.write("end", exchange=self._number, complete=self._complete)

    def answered(self, status: int, content_type: str) -> None:
        self._recording.write("answer", exchange=self._number, status=status, content_type=content_type)

    def part(self, data: bytes) -> None:
        self._recording.write("part", data, exchange=self._number)

    def complete(self) -> None:
        self._complete = True


def canonical_arguments(prepared: PreparedCall) -> str:
    return orjson.dumps(prepared.arguments, option=orjson.OPT_SORT_KEYS).decode()


# Reading


@dataclass
class Exchange:
    path: str
    body: bytes
    status: int | None = None
    """None: the engine did not answer."""
    content_type: str = ""
    parts: list[bytes] = field(default_factory=list)
    complete: bool = False


@dataclass(frozen=True)
class ToolResult:
    name: str
    arguments: str
    text: str
    is_error: bool


@dataclass
class Conversation:
    request_id: str
    path: str
    body: bytes
    catalog: Catalog
    toolbox: dict[str, Any] | None = None
    exchanges: list[Exchange] = field(default_factory=list)
    tools: list[ToolResult] = field(default_factory=list)


def read(path: Path) -> list[Conversation]:
    """The conversations of a log, `path`.1 before it where there is one, in the order in which they began. One whose
    beginning was rotated away is left out. Raises ReplayError, and OSError when there is no such file."""
    conversations: dict[str, Conversation] = {}
    older = path.with_name(f"{path.name}.1")
    for file in (older, path) if older.exists() else (path,):
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    _take(orjson.loads(line), conversations)
                except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, IndexError) as error:
                    why = error if isinstance(error, ReplayError) else f"it is not a line of a replay log ({error!r})"
                    raise ReplayError(f"{file}, line {number}: {why}") from None
    return list(conversations.values())


def _take(line: dict[str, Any], conversations: dict[str, Conversation]) -> None:
    kind = line["kind"]
    if kind == "request":
        catalog = line["catalog"] | {"names": tuple(line["catalog"]["names"])}
        body = _bytes(line)
        conversations[line["id"]] = Conversation(
            line["request_id"], line["path"], body, Catalog(**catalog), line.get("tools")
        )
        return
    if (conversation := conversations.get(line["id"])) is None:
        return
    if kind == "tool":
        text = _bytes(line).decode()
        conversation.tools.append(ToolResult(line["name"], line["arguments"], text, line["is_error"]))
        return
    if kind == "ask":
        conversation.exchanges.append(Exchange(line["path"], _bytes(line)))
        return
    exchange = conversation.exchanges[line["exchange"] - 1]
    match kind:
        case "answer":
            exchange.status, exchange.content_type = line["status"], line["content_type"]
        case "part":
            exchange.parts.append(_bytes(line))
        case "end":
            exchange.complete = line["complete"]
        case _:
            raise ReplayError(f"the kind {kind!r} is not known")


def _bytes(line: dict[str, Any]) -> bytes:
    data = line["text"].encode() if "text" in line else base64.b64decode(line["base64"], validate=True)
    if hashlib.sha256(data).hexdigest() != line["sha256"]:
        raise ReplayError("its bytes do not have its digest: the file was changed")
    return bytes(data)


# Replaying


@dataclass
class Outcome:
    conversation: Conversation
    difference: str | None = None
    """None: every byte was the same."""


class RecordedTools:
    """A toolbox that answers the calls of the conversation that is being replayed from its log."""

    def __init__(self, recorded: dict[str, Any], player: "_Player") -> None:
        self._player = player
        self.tools = tuple(Tool(**tool) for tool in recorded["all"])
        self.labels, self.default = tuple(recorded["labels"]), frozenset(recorded["default"])
        self.limits = Limits(**recorded["limits"])

    async def call(self, prepared: PreparedCall, *, user: str = "", progress: Any = None) -> Result:
        """The result of the first such call that was not replayed yet: parallel calls may come in another order."""
        name, arguments = prepared.tool.name, canonical_arguments(prepared)
        for index, result in enumerate(self._player.tools):
            if (result.name, result.arguments) == (name, arguments):
                del self._player.tools[index]
                return Result(prepared.call.id, result.text, result.is_error)
        self._player.differs(f"the tool {name} is called with {arguments}, which is not in the log")
        return Result(prepared.call.id, "not in the replay log", True)


MakeApp = Callable[[Settings, RecordedTools | None], FastAPI]
"""(settings, the tools of the conversation where it has any)"""


async def replay(conversations: list[Conversation], make_app: MakeApp) -> AsyncIterator[Outcome]:
    """Reproduce them one after the other with the gateway that `make_app` makes and the present settings, except for
    keys, rates and whatever else is the business of real clients."""
    async with AsyncExitStack() as stack:
        player = _Player()
        url = await stack.enter_async_context(player)
        settings = load(
            engine_url=url, api_keys_file=None, replay_log=None, tracing=False, batch_window_ms=0,
            requests_per_minute=None, tokens_per_minute=None, responses_file=None, tools_file=None,
            approval_key_file=None,
        )  # fmt: skip
        for conversation in conversations:
            player.load(conversation)
            tools = RecordedTools(conversation.toolbox, player) if conversation.toolbox else None
            app = make_app(settings, tools)  # a new one each time: what is served may have changed
            async with app.router.lifespan_context(app):
                await _ask(app, conversation)
            yield Outcome(conversation, player.verdict())


async def _ask(app: FastAPI, conversation: Conversation) -> None:
    """The client's request, given to the application without a socket between."""
    services: Services = app.state.services
    body, sent = services.approvals.reissued(conversation.body, time.time()), False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()  # a client that stays
        sent = True
        return {"type": "http.request", "body": body}

    async def send(_: Message) -> None:
        pass

    headers = [(b"content-type", b"application/json"), (b"x-request-id", conversation.request_id.encode())]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": conversation.path, "raw_path": conversation.path.encode(), "root_path": "", "query_string": b"",
        "headers": headers, "client": ("127.0.0.1", 0), "server": ("127.0.0.1", 0),
    }  # fmt: skip
    await app(scope, receive, send)


class _Player:
    """An engine that answers from one conversation at a time. As a context manager it serves, and gives its URL."""

    async def __aenter__(self) -> str:
        app = web.Application(client_max_size=2**40)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/{path:.*}", self._complete)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def load(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._asked = 0
        self._difference: str | None = None
        self.tools = list(conversation.tools)

    def differs(self, difference: str) -> None:
        """The first one counts: whatever follows is likely its consequence."""
        self._difference = self._difference or difference

    def verdict(self) -> str | None:
        expected = len(self._conversation.exchanges)
        if self._asked < expected:
            self.differs(f"the engine is asked {self._asked} times, in the log {expected} times")
        elif self.tools:
            self.differs(f"the tool {self.tools[0].name} is not called with {self.tools[0].arguments}")
        return self._difference

    async def _models(self, _: web.Request) -> web.Response:
        catalog = self._conversation.catalog
        cards = [
            {"id": name, "object": "model", "created": catalog.created, "max_model_len": catalog.context_length}
            for name in catalog.names
        ]
        return web.Response(body=orjson.dumps({"object": "list", "data": cards}), content_type="application/json")

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self._asked == len(self._conversation.exchanges):
            self.differs(f"the engine is asked more than {self._asked} times, now: {_excerpt(body, 0)}")
            return web.Response(status=500)
        exchange = self._conversation.exchanges[self._asked]
        self._asked += 1
        if request.path != exchange.path:
            self.differs(f"request {self._asked}: {request.path} instead of {exchange.path}")
        elif body != exchange.body:
            self.differs(f"request {self._asked}: {first_difference(exchange.body, body)}")
        assert request.transport is not None
        if exchange.status is None:
            request.transport.abort()
            return web.Response()
        answer = web.StreamResponse(status=exchange.status, headers={"content-type": exchange.content_type})
        await answer.prepare(request)
        for part in exchange.parts:
            await answer.write(part)
        if exchange.complete:
            await answer.write_eof()
        else:
            request.transport.abort()
        return answer


def first_difference(recorded: bytes, now: bytes) -> str:
    """Where two bodies that are not the same begin to differ, and both there."""
    at = next((i for i, (a, b) in enumerate(zip(recorded, now, strict=False)) if a != b), min(len(recorded), len(now)))
    return f"byte {at} differs\n  log: {_excerpt(recorded, at)}\n  now: {_excerpt(now, at)}"


def _excerpt(body: bytes, at: int) -> str:
    begin, end = max(0, at - _SHOWN), at + _SHOWN
    shown = body[begin:end].decode(errors="replace")
    return ("…" if begin else "") + shown + ("…" if end < len(body) else "")
