"""hearth-gateway: serve, route, keys, smoke, tools, replay, settings."""

import argparse
import asyncio
import os
import socket
import sys
from pathlib import Path

from hearth_gateway import control, keys, logs
from hearth_gateway.auth import KeyFileError
from hearth_gateway.replay import ReplayError, read, replay
from hearth_gateway.settings import SettingsError, load, manual, origin
from hearth_gateway.tools.config import ToolsConfigError
from hearth_gateway.tools.config import manual as tools_manual

_CA = "certificates to trust beside the system's, PEM: a CA's, or the gateway's own (default: HEARTH_TLS_CA)"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="hearth-gateway", description="The OpenAI-compatible gateway of hearth.")
    commands = parser.add_subparsers(dest="command", required=True)

    commands.add_parser("serve", help="serve, configured by HEARTH_ variables").set_defaults(run=_serve)

    route = commands.add_parser(
        "route", help="where a running gateway's requests go; a change waits until what went elsewhere is answered"
    )
    change = route.add_mutually_exclusive_group()
    change.add_argument("--to", type=_origin, metavar="URL", help="to this engine")
    change.add_argument("--default", action="store_true", help="to the engine of the settings")
    change.add_argument("--close", type=float, metavar="SECONDS", help="to none: new requests wait, so long at most")
    route.add_argument("--drain", type=float, default=0, metavar="SECONDS",
                       help="wait for answers; status 1 if some are missing then (default: %(default)s)")  # fmt: skip
    route.add_argument("--socket", type=Path, default=os.environ.get("HEARTH_CONTROL_SOCKET"),
                       help="the gateway's (default: HEARTH_CONTROL_SOCKET)")  # fmt: skip
    route.set_defaults(run=_route)

    keys.declare(commands.add_parser("keys", help="create, list and revoke API keys"))

    smoke = commands.add_parser("smoke", help="check a running stack")
    smoke.add_argument("--url", default="http://127.0.0.1:8080", help="the gateway (default: %(default)s)")
    smoke.add_argument("--api-key", default=os.environ.get("HEARTH_API_KEY"), help="(default: HEARTH_API_KEY)")
    smoke.add_argument("--timeout", type=float, default=120, help="seconds for one request (default: %(default)s)")
    smoke.add_argument("--ca", type=Path, default=os.environ.get("HEARTH_TLS_CA") or None, help=_CA)
    smoke.set_defaults(run=_smoke)

    tools = commands.add_parser("tools", help="list a running gateway's tool servers and their tools")
    tools.add_argument("--url", default="http://127.0.0.1:8080", help="the gateway (default: %(default)s)")
    tools.add_argument("--api-key", default=os.environ.get("HEARTH_API_KEY"), help="(default: HEARTH_API_KEY)")
    tools.add_argument("--timeout", type=float, default=10, help="seconds (default: %(default)s)")
    tools.add_argument("--ca", type=Path, default=os.environ.get("HEARTH_TLS_CA") or None, help=_CA)
    tools.set_defaults(run=_tools)

    replay = commands.add_parser("replay", help="reproduce a replay log's conversations, compare each byte")
    replay.add_argument("file", type=Path, help="what HEARTH_REPLAY_LOG wrote")
    replay.set_defaults(run=_replay)

    settings = commands.add_parser("settings", help="explain the settings")
    settings.add_argument("--markdown", action="store_true", help="as a Markdown table")
    settings.add_argument("--tools-file", action="store_true", help="the keys of hearth.tools.yaml instead")
    settings.set_defaults(run=_settings)

    given = parser.parse_args(arguments)
    try:
        return int(given.run(given))
    except (SettingsError, KeyFileError, ToolsConfigError, ReplayError, control.ControlError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _serve(_: argparse.Namespace) -> int:
    import uvicorn

    from hearth_gateway.app import create_app
    from hearth_gateway.connection import connections
    from hearth_gateway.tls import Certificate

    settings = load()
    logs.configure(settings)
    certificate = Certificate.of(settings)
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=connections(settings.request_timeout),
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        ssl_context_factory=(lambda *_: certificate.context) if certificate else None,
        timeout_graceful_shutdown=settings.shutdown_grace,
    )
    listener = config.bind_socket()
    drop_stalled(listener, settings.client_timeout)
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    return 0 if server.started else 3


def drop_stalled(listener: socket.socket, seconds: float) -> None:
    """Have the kernel close accepted connections whose client takes nothing of what was sent for so long. The gateway
    sees a client that left; nothing needs to be timed for each chunk."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1e3))


def _origin(url: str) -> str:
    try:
        return origin(url)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{url!r} {error}") from None


def _route(given: argparse.Namespace) -> int:
    if given.socket is None:
        raise control.ControlError("No socket: give --socket or set HEARTH_CONTROL_SOCKET.")
    what: dict[str, object] = {"drain": given.drain}
    if given.to or given.default:
        what["to"] = given.to
    elif given.close is not None:
        what["close"] = given.close
    state = asyncio.run(control.order(Path(given.socket), **what))
    print(f"{'closed' if state['closed'] else state['to']}, {state['unanswered']} unanswered elsewhere")
    return 1 if state["unanswered"] and given.drain else 0


def _smoke(given: argparse.Namespace) -> int:
    from hearth_gateway.smoke import run
    from hearth_gateway.tls import trust

    return 0 if asyncio.run(run(given.url, given.api_key, given.timeout, tls=trust(given.ca))) else 1


def _tools(given: argparse.Namespace) -> int:
    from hearth_gateway.tls import trust
    from hearth_gateway.tools.table import show

    return 0 if asyncio.run(show(given.url, given.api_key, given.timeout, tls=trust(given.ca))) else 1


def _replay(given: argparse.Namespace) -> int:
    return asyncio.run(_replayed(given.file))


async def _replayed(file: Path) -> int:
    from hearth_gateway.app import create_app

    try:
        conversations = read(file)
    except (ReplayError, OSError) as error:
        raise ReplayError(f"{file}: {error.strerror}" if isinstance(error, OSError) else error) from None
    different = 0
    async for outcome in replay(conversations, create_app):
        asked = len(outcome.conversation.exchanges)
        print(f"{outcome.conversation.request_id}: {outcome.difference or f'{asked} requests, every byte the same'}")
        different += outcome.difference is not None
    print(f"{len(conversations)} conversations, {different} different")
    return 1 if different else 0


def _settings(given: argparse.Namespace) -> int:
    noun, explained, sign = ("key", tools_manual(), ": ") if given.tools_file else ("variable", manual(), "=")
    if given.markdown:
        print(f"| {noun} | default | what it does |\n| --- | --- | --- |")
        for name, default, text in explained:
            print(f"| `{name}` | {f'`{default}`' if default else ''} | {text} |")
    else:
        for name, default, text in explained:
            print(f"{name}{sign}{default}\n    {text}\n")
    return 0
