"""How the operator's commands reach the running gateway: a Unix socket in its container, a line of JSON each way."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from yarl import URL

from hearth_gateway.route import Route
from hearth_gateway.settings import SettingsError

_LONGEST = 4096  # bytes of a line


class ControlError(RuntimeError):
    """The gateway could not be told, or refuses; the message says why."""


async def act(route: Route, order: dict[str, Any]) -> dict[str, Any]:
    """Do what `order` says; returns where requests go and how many of those that went elsewhere are unanswered.

    `to`: an origin, or None for the engine of the settings; `close`: seconds for which new requests wait at most;
    neither leaves everything as it is. `drain`: seconds to wait for the answers of the engines that get no more.
    """
    if "to" in order:
        route.lead(URL(order["to"]) if order["to"] else None)
    elif "close" in order:
        route.close(order["close"])
    unanswered = await route.drained(order.get("drain", 0))
    return {"to": str(route.target.origin), "closed": route.closed, "unanswered": unanswered}


@asynccontextmanager
async def listening(path: Path | None, route: Route) -> AsyncIterator[None]:
    """Take orders at a socket that only this user may open. Raises SettingsError when it cannot be made."""
    if path is None:
        yield
        return

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError):  # somebody who hung up, or wrote no order
            answer = await act(route, json.loads(await reader.readline()))
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    mask = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(serve, path, limit=_LONGEST)
    except OSError as error:
        raise SettingsError(f"HEARTH_CONTROL_SOCKET={path}: {error.strerror}") from None
    finally:
        os.umask(mask)
    try:
        yield
    finally:
        server.close()


async def order(path: Path, **what: Any) -> dict[str, Any]:
    """Tell the gateway that listens at `path`. Raises ControlError."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(json.dumps(what).encode() + b"\n")
        line = await reader.readline()
        writer.close()
    except OSError as error:
        raise ControlError(f"{path}: {error.strerror}: is the gateway running?") from None
    if not line:
        raise ControlError(f"{path}: the gateway closed without an answer")
    answer: dict[str, Any] = json.loads(line)
    return answer
