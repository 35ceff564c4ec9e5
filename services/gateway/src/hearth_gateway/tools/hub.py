"""All tool servers together: the file that names them, their tools, and calls by whoever needs one."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from hearth_gateway.tools.config import ToolsConfig, ToolsConfigError, load
from hearth_gateway.tools.loop import Limits
from hearth_gateway.tools.results import READ_RESULT, Count, Results, render
from hearth_gateway.tools.server import CallFailed, Progress, Server, Status
from hearth_gateway.tools.types import BUILT_IN, PreparedCall, Result, Tool

Observe = Callable[[Tool, str, float], None]
"""(tool, outcome, seconds) of each call. The outcome is `ok`, `error` (the tool says so), `cancelled` or the kind of a
failure."""

_LOOK = 1.0  # seconds between looks at the file
_READ_TOKENS = 2048

log = logging.getLogger(__name__)


class Hub:
    """Use as an async context manager: within it, the servers are connected."""

    def __init__(self, path: Path | None, count: Count, observe: Observe | None = None) -> None:
        """`path`: hearth.tools.yaml, or None for no tools. Raises ToolsConfigError when it cannot be used."""
        self._path, self._observe = path, observe
        self._stamp = _stamp(path)
        self._config = load(path) if path else ToolsConfig()
        self._servers: dict[str, Server] = {}
        self._leaving: dict[asyncio.Task[None], Server] = {}
        self.results = Results(self._config.results, count)
        self.problem = ""
        """Why the file on disk is not the configuration in force; empty when it is."""

    async def __aenter__(self) -> Self:
        _keep_prompts_out_of_logs()
        self._apply(self._config)
        self._watching = asyncio.create_task(self._watch(), name="tools file")
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.reload)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        self._watching.cancel()
        servers = [*self._servers.values(), *self._leaving.values()]
        await asyncio.gather(*(server.close() for server in servers), *self._leaving)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools of all servers as last listed, and the gateway's own once there is a server, by name."""
        own = (READ_RESULT,) if self._servers else ()
        of_servers = (tool for server in self._servers.values() for tool in server.tools)
        return tuple(sorted((*own, *of_servers), key=lambda tool: tool.name))

    @property
    def labels(self) -> tuple[str, ...]:
        """Every configured server, also those that are down."""
        return tuple(self._servers)

    @property
    def default(self) -> frozenset[str]:
        """Names of the tools that a request without tools gets."""
        return frozenset(tool.name for label in self._config.default for tool in self._servers[label].tools)

    @property
    def limits(self) -> Limits:
        """What one request may cost."""
        return self._config.limits

    @property
    def servers(self) -> tuple[Status, ...]:
        """In the order of the file."""
        return tuple(server.status for server in self._servers.values())

    def find(self, name: str) -> Tool | None:
        """The tool that the model knows by this name."""
        return next((tool for tool in self.tools if tool.name == name), None)

    async def attempted(self) -> None:
        """Wait until each server has been connected or has failed to, once."""
        await asyncio.gather(*(server.attempted.wait() for server in self._servers.values()))

    async def call(self, prepared: PreparedCall, *, user: str = "", progress: Progress | None = None) -> Result:
        """What the model reads of a call. Whatever goes wrong is told there, never raised; only being cancelled is, and
        that cancels the call at the server. `user`: whose call it is, who alone may read on in a result that was cut.
        """
        tool, began, outcome = prepared.tool, time.perf_counter(), "cancelled"
        try:
            text, outcome = await self._text(prepared, user, progress)
        finally:
            if self._observe:
                self._observe(tool, outcome, time.perf_counter() - began)
        return Result(prepared.call.id, text, outcome != "ok")

    async def _text(self, prepared: PreparedCall, user: str, progress: Progress | None) -> tuple[str, str]:
        tool = prepared.tool
        if tool.server == BUILT_IN:
            text, is_error = await self.results.read(prepared.arguments, _READ_TOKENS, user)
            return text, "error" if is_error else "ok"
        if (server := self._servers.get(tool.server)) is None:
            return f"Error: the tool server {tool.server} is no longer configured.", "unavailable"
        try:
            result = await server.call(tool, prepared.arguments, progress)
        except CallFailed as failure:
            return f"Error: {failure.message}", failure.kind
        text = await self.results.cut(render(result), server.config.result_tokens, user)
        return text, "error" if result.is_error else "ok"

    def reload(self) -> None:
        """Read the file again. A bad one changes nothing, and is told in the log and in `problem`."""
        if self._path is None:
            return
        self._stamp = _stamp(self._path)
        try:
            config = load(self._path)
        except ToolsConfigError as error:
            self.problem = str(error)
            log.error("the tools stay as they were:\n%s", error)
            return
        self.problem = ""
        self._apply(config)
        log.info("%s was read: %d tool servers", self._path, len(self._servers))

    def _apply(self, config: ToolsConfig) -> None:
        """Start what is new or differs, let what is gone finish its calls, leave the rest alone."""
        before, self._servers = self._servers, {}
        for label, server_config in config.servers.items():
            server, prefix = before.get(label), config.prefix(label)
            if server is not None and (server.config, server.prefix) == (server_config, prefix):
                del before[label]
            else:
                server = Server(label, prefix, server_config)
                server.start()
            self._servers[label] = server
        for server in before.values():
            closing = asyncio.create_task(server.close(drain=server.config.timeout))
            self._leaving[closing] = server
            closing.add_done_callback(self._leaving.pop)
        self._config, self.results.limits = config, config.results

    async def _watch(self) -> None:
        """Read the file again when it changes. A look each second serves every file system and every kind of mount."""
        while True:
            await asyncio.sleep(_LOOK)
            if _stamp(self._path) != self._stamp:
                self.reload()


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    try:
        stat = path.stat() if path else None
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino) if stat else None


def _keep_prompts_out_of_logs() -> None:
    """The SDK logs whole messages: each at level debug, and those that it cannot read as errors."""
    for name in ("mcp", "client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
