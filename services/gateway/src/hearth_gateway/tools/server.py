"""One MCP server: a task that owns the connection to it, the list of its tools, and the calls of them.

The task alone opens and closes the SDK's client, because a client that breaks cancels the task that opened it. Requests
borrow the client for their calls; while there is none, their calls fail at once.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from typing import Any, Literal

import mcp_types
from mcp import Client, MCPError
from mcp.client.session import IncomingMessage
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.dispatcher import ProgressFnT
from mcp_types import CONNECTION_CLOSED, INTERNAL_ERROR, INVALID_REQUEST, PARSE_ERROR, CallToolResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from hearth_gateway.tools.arguments import schema_problem
from hearth_gateway.tools.breaker import Breaker, Circuit
from hearth_gateway.tools.config import Presentation, ServerConfig
from hearth_gateway.tools.connection import SESSION_GONE, UNREACHED, connected
from hearth_gateway.tools.naming import names
from hearth_gateway.tools.types import Tool

Progress = ProgressFnT
"""async (progress, total, message): how far a running tool says that it is."""

Failure = Literal["unavailable", "circuit_open", "busy", "timeout", "lost", "refused", "broken"]

_REFRESH = 60.0  # seconds between lists: finds what no notification tells, a server that vanished among it
_RETRY_WAIT = 10.0  # seconds that a second try waits for the connection to be there again
_LISTEN_PAUSE = 1.0
_STEADY = 10.0  # a connection that held for so many seconds was a good one: the next failure is a new one
_PAUSES = (0.25, 30.0)
_MOST_PAGES = 50

_GATEWAY = mcp_types.Implementation(name="hearth-gateway", version=version("hearth-gateway"))

log = logging.getLogger(__name__)


class State(StrEnum):
    CONNECTING = "connecting"
    READY = "ready"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


class CallFailed(Exception):  # noqa: N818 - as the tool's answer, not an error of ours
    """A call that brought no result. `message` is for the model to read."""

    def __init__(self, kind: Failure, message: str) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


@dataclass(frozen=True, slots=True)
class Status:
    """What a server is doing, for people."""

    label: str
    state: State
    detail: str
    """Why it is not ready; empty when it is."""
    protocol: str
    tools: tuple[Tool, ...]
    circuits: Mapping[str, Circuit]
    """By tool name, those that are not closed."""
    running: int
    """Calls under way, those that wait for their turn among them."""


def pause(failures: int, chance: Callable[[], float] = random.random) -> float:
    """Seconds until the next attempt after so many that failed: doubling, and apart from what other gateways do."""
    first, longest = _PAUSES
    return min(longest, first * 2.0 ** min(failures, 10)) * (0.5 + chance() / 2)


def offered(label: str, prefix: str, config: ServerConfig, listed: Iterable[mcp_types.Tool]) -> tuple[Tool, ...]:
    """What the model may use of the tools that a server lists, by name."""
    by_name = {tool.name: tool for tool in listed if config.allows(tool.name)}
    tools = []
    for remote, name in names(prefix, by_name).items():
        tool = by_name[remote]
        hints = tool.annotations or mcp_types.ToolAnnotations()
        described = tool.description or tool.title or hints.title or ""
        description, parameters = presented(
            f"{label}.tools.{remote}", config.tools.get(remote), described, tool.input_schema
        )
        if problem := schema_problem(parameters):  # one of these would spoil each request that has it
            log.warning("servers.%s: the tool %s is left out, its schema is unusable: %s", label, remote, problem)
            continue
        tools.append(
            Tool(
                name=name,
                server=label,
                remote_name=remote,
                description=description,
                parameters=parameters,
                read_only=bool(hints.read_only_hint),
                idempotent=bool(hints.idempotent_hint),
                approval=config.needs_approval(remote),
            )
        )
    return tuple(sorted(tools, key=lambda tool: tool.name))


def presented(
    where: str, wanted: Presentation | None, description: str, schema: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any]]:
    """A tool's description and schema as the model sees them; `where` names the entry of the file in the log."""
    if wanted is None:
        return description, schema
    if wanted.description is not None:
        description = wanted.description
    if wanted.parameters is None:
        return description, schema
    properties, required = schema.get("properties") or {}, schema.get("required") or []
    if unknown := [name for name in wanted.parameters if name not in properties]:
        log.warning("servers.%s: the tool has no parameter %s; it has: %s", where, unknown[0], ", ".join(properties))
        return description, schema
    if hidden := [name for name in required if name not in wanted.parameters]:
        log.warning("servers.%s: the tool requires %s, which parameters should have", where, hidden[0])
        return description, schema
    shown = {name: dict(properties[name]) | {"description": text} for name, text in wanted.parameters.items()}
    return description, dict(schema) | {"properties": shown}


class Server:
    """`start` it in the loop that will call it; `close` it in the end."""

    def __init__(self, label: str, prefix: str, config: ServerConfig) -> None:
        self.label, self.prefix, self.config = label, prefix, config
        self.tools: tuple[Tool, ...] = ()
        """As last listed; they stay while the connection is down, so that prompts keep their bytes."""
        self.attempted = asyncio.Event()
        """Set when the first attempt to connect has succeeded or failed."""
        self._state, self._detail, self._protocol = State.CONNECTING, "not connected yet", ""
        self._client: Client | None = None
        self._connections = 0
        self._ended = self._closing = False
        self._wake = asyncio.Event()
        self._confirmations: list[asyncio.Future[None]] = []
        self._slots = asyncio.Semaphore(config.concurrency)
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._breakers: dict[str, Breaker] = {}
        self._losses: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> Status:
        circuits = {
            tool.name: breaker.circuit
            for tool in self.tools
            if (breaker := self._breakers.get(tool.remote_name)) and breaker.circuit is not Circuit.CLOSED
        }
        return Status(self.label, self._state, self._detail, self._protocol, self.tools, circuits, self._running)

    def start(self) -> None:
        self._task = asyncio.create_task(self._supervise(), name=f"tool server {self.label}")

    async def close(self, drain: float = 0.0) -> None:
        """Disconnect, after waiting at most `drain` seconds for the calls under way."""
        if drain:
            try:
                async with asyncio.timeout(drain):
                    await self._idle.wait()
            except TimeoutError:
                pass
        if self._task is not None:
            self._closing = True  # the SDK may turn a cancellation into an error of its own
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def call(self, tool: Tool, arguments: dict[str, Any], progress: Progress | None = None) -> CallToolResult:
        """The tool's result, which may say that it failed. Raises CallFailed when there is none. Cancelled, it cancels
        the call at the server too."""
        self._running += 1
        self._idle.clear()
        breaker, connection = None, 0
        try:
            self._connected()
            async with asyncio.timeout(self.config.timeout), self._slots:
                breaker, connection = self._admitted(tool), self._connections
                result = await self._tried(tool, arguments, progress)
                breaker.succeeded()
                return result
        except TimeoutError:
            within = f"within {self.config.timeout:g} s"
            if breaker is None:
                raise CallFailed("busy", f"The tool server {self.label} is busy: no turn came {within}.") from None
            breaker.failed()
            self._wake.set()  # perhaps it is not the tool alone that hangs
            raise CallFailed("timeout", f"{tool.name} did not finish {within} and was cancelled.") from None
        except CallFailed as failure:
            if breaker is not None:
                self._judge(breaker, failure, tool, connection)
            raise
        except asyncio.CancelledError:
            if breaker is not None:
                breaker.left()
            raise
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    def _connected(self) -> Client:
        """Raises CallFailed while there is no connection."""
        if self._client is None:
            raise CallFailed("unavailable", f"The tool server {self.label} is not available: {self._detail}.")
        return self._client

    def _admitted(self, tool: Tool) -> Breaker:
        breaker = self._breakers.setdefault(tool.remote_name, Breaker())
        if not breaker.admit():
            raise CallFailed(
                "circuit_open",
                f"{tool.name} failed several times in a row and is not called for another {breaker.opens_in:.0f} s.",
            )
        return breaker

    def _judge(self, breaker: Breaker, failure: CallFailed, tool: Tool, connection: int) -> None:
        match failure.kind:
            case "broken":
                breaker.failed()
            case "lost" if self._losses.get(tool.remote_name) != connection:
                self._losses[tool.remote_name] = connection  # eight calls that lose one connection are one failure
                breaker.failed()
            case _:
                breaker.left()

    async def _tried(self, tool: Tool, arguments: dict[str, Any], progress: Progress | None) -> CallToolResult:
        """The call, and again after a lost connection where that is safe."""
        safe = self.config.retries if tool.read_only or tool.idempotent else 0
        tries = 0
        while True:
            client = self._connected()
            try:
                return await client.call_tool(tool.remote_name, arguments, progress_callback=progress)
            except MCPError as error:
                gone = _is_session_gone(error)
                if error.code == UNREACHED:
                    self._wake.set()
                    raise CallFailed(
                        "unavailable", f"The tool server {self.label} is not available: {_short(error)}."
                    ) from None
                if error.code != CONNECTION_CLOSED and not gone:
                    broken = error.code in (INTERNAL_ERROR, PARSE_ERROR)
                    raise CallFailed(
                        "broken" if broken else "refused", f"{tool.name} could not be called: {_short(error)}."
                    ) from None
                failure = CallFailed(
                    "lost",
                    f"The connection to the tool server {self.label} was lost during the call ({_short(error)}); "
                    f"whether {tool.name} did its work is not known.",
                )
            except Exception as error:  # an answer that breaks the protocol or the tool's own schema, among others
                raise CallFailed("broken", f"{tool.name} could not be called: {_short(error)}.") from None
            self._wake.set()
            tries += 1
            if tries > max(safe, gone):  # a server that did not know the session has not run anything
                raise failure
            await self._confirmed(failure)

    async def _confirmed(self, failure: CallFailed) -> None:
        """Wait until the server has listed its tools again, on this connection or a new one. Raises `failure` when
        that takes too long."""
        confirmation = asyncio.get_running_loop().create_future()
        self._confirmations.append(confirmation)
        try:
            async with asyncio.timeout(_RETRY_WAIT):
                await confirmation
        except TimeoutError:
            raise failure from None
        finally:
            if confirmation in self._confirmations:
                self._confirmations.remove(confirmation)

    async def _supervise(self) -> None:
        failures = 0
        try:
            while not self._closing:
                began, before = time.monotonic(), self._connections
                try:
                    await self._connect()
                except Exception as error:
                    if self._closing:
                        break
                    self._detail = self._why(error)
                if self._connections > before and time.monotonic() - began > _STEADY:
                    failures = 0
                self._state = State.RECONNECTING
                self.attempted.set()
                log.log(logging.INFO if failures else logging.WARNING, "tool server %s: %s", self.label, self._detail)
                await asyncio.sleep(pause(failures))
                failures += 1
        finally:
            self._state, self._detail = State.CLOSED, "it was taken out of the configuration"
            self.attempted.set()

    async def _connect(self) -> None:
        """Connect, and keep the list of tools as long as the connection holds. Ends with an exception."""
        self._ended = False
        self._wake.clear()
        async with asyncio.timeout(self.config.connect_timeout) as clock, AsyncExitStack() as stack:
            transport = connected(self.config, self._notice_end)
            client = Client(transport, cache=None, message_handler=self._notice, client_info=_GATEWAY)
            await stack.enter_async_context(client)
            self._take(await _list(client))
            self._client, self._connections = client, self._connections + 1
            self._state, self._detail, self._protocol = State.READY, "", client.protocol_version
            self.attempted.set()
            log.info("tool server %s: ready, %d tools", self.label, len(self.tools))
            listening = asyncio.create_task(self._listen(client))
            try:
                while True:
                    clock.reschedule(None)
                    await _set_within(self._wake, _REFRESH)
                    self._wake.clear()
                    if self._ended:
                        raise ConnectionError("the connection ended")
                    clock.reschedule(asyncio.get_running_loop().time() + self.config.connect_timeout)
                    self._take(await _list(client))
            finally:
                self._client, self._state, self._detail = None, State.RECONNECTING, "its connection was lost"
                listening.cancel()

    def _take(self, listed: list[mcp_types.Tool]) -> None:
        self.tools = offered(self.label, self.prefix, self.config, listed)
        waiting, self._confirmations = self._confirmations, []
        for confirmation in waiting:
            if not confirmation.done():
                confirmation.set_result(None)

    async def _listen(self, client: Client) -> None:
        """Where the protocol has it, keep the stream open on which changes of the list are told."""
        tools = client.server_capabilities.tools
        if client.protocol_version not in MODERN_PROTOCOL_VERSIONS or not tools or not tools.list_changed:
            return
        while True:
            try:
                async with client.listen(tools_list_changed=True) as changes:
                    async for _ in changes:
                        self._wake.set()
            except SubscriptionLost:
                pass
            except MCPError as error:
                if error.code != CONNECTION_CLOSED:
                    return  # it does not offer that after all: the list is refreshed from time to time
            self._wake.set()  # is it still there, and what was missed?
            await asyncio.sleep(_LISTEN_PAUSE)

    async def _notice(self, message: IncomingMessage) -> None:
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self._wake.set()

    def _notice_end(self) -> None:
        self._ended = True
        self._wake.set()

    def _why(self, error: BaseException) -> str:
        """What went wrong, in a line."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        match error:
            case TimeoutError():
                return f"no answer within {self.config.connect_timeout:g} s"
            case OSError(strerror=str(reason)):
                return f"{reason}: {error.filename}" if error.filename else reason
            case _:
                return _short(error)


async def _list(client: Client) -> list[mcp_types.Tool]:
    """All the tools of a server, page by page."""
    tools: list[mcp_types.Tool] = []
    cursor = None
    for _ in range(_MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        if (cursor := page.next_cursor) is None:
            break
    return tools


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


def _is_session_gone(error: MCPError) -> bool:
    """Whether a server that was started anew said that it does not know the session: it has not run the call."""
    return error.code == INVALID_REQUEST and error.message == SESSION_GONE


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(".")
