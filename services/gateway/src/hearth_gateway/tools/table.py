"""hearth-gateway tools: the tool servers of a running gateway, their tools and states, as tables."""

import ssl
from typing import Any

import aiohttp
import orjson
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

_COLOURS = {"ready": "green", "connecting": "yellow", "reconnecting": "red", "closed": "red"}
_DESCRIPTION = 72  # characters


async def show(
    url: str, api_key: str | None, seconds: float, console: Console | None = None, tls: ssl.SSLContext | None = None
) -> bool:
    """Print what GET /v1/tools of the gateway at `url` tells; whether it told. `tls`: whom to believe; default: the
    system's CAs."""
    console = console or Console()
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    url = url.rstrip("/").removesuffix("/v1")
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls or True),
                timeout=aiohttp.ClientTimeout(total=seconds),
                headers=headers,
            ) as session,
            session.get(f"{url}/v1/tools") as answer,
        ):
            told = orjson.loads(await answer.read())
            if answer.status != 200:
                raise ValueError(told["error"]["message"])
        console.print(render(told))
    except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
        console.print(f"[red]{escape(url)}: {escape(str(error) or type(error).__name__)}[/red]")
        return False
    return True


def render(told: dict[str, Any]) -> RenderableType:
    """The answer of GET /v1/tools as tables."""
    servers = Table("server", "state", "protocol", "tools", "running", "why", title="Tool servers")
    for server in told["servers"]:
        state = server["state"]
        servers.add_row(
            escape(server["label"]),
            f"[{_COLOURS.get(state, 'white')}]{escape(state)}",
            server["protocol"] or "",
            str(len(server["tools"])),
            str(server["running"]),
            escape(server["detail"] or ""),
        )
    circuits = {name: circuit for server in told["servers"] for name, circuit in server["circuits"].items()}
    tools = Table("tool", "what it does", "marks", title="Tools")
    for tool in told["data"]:
        marks = [word for word in ("read_only", "idempotent", "approval") if tool[word]]
        if circuit := circuits.get(tool["name"]):
            marks.append(f"circuit {circuit}")
        tools.add_row(escape(tool["name"]), escape(_line(tool["description"])), " ".join(marks).replace("_", "-"))
    parts: list[RenderableType] = [servers, tools] if told["servers"] else ["No tool servers: see HEARTH_TOOLS_FILE."]
    if told["problem"]:
        parts.insert(0, f"[red]The file on disk is not in force:[/red] {escape(told['problem'])}")
    return Group(*parts)


def _line(text: str) -> str:
    first = text.strip().partition("\n")[0]
    return first if len(first) <= _DESCRIPTION else first[: _DESCRIPTION - 1] + "…"
