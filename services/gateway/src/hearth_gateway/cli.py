"""hearth-gateway: serve, keys, smoke, tools, replay, settings."""

import argparse
import asyncio
import os
import socket
import sys
from pathlib import Path

from hearth_gateway import logs
from hearth_gateway.auth import KeyFileError, issue
from hearth_gateway.replay import ReplayError, read, replay
from hearth_gateway.settings import SettingsError, load, manual
from hearth_gateway.tools.config import ToolsConfigError
from hearth_gateway.tools.config import manual as tools_manual


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="hearth-gateway", description="The OpenAI-compatible gateway of hearth.")
    commands = parser.add_subparsers(dest="command", required=True)

    commands.add_parser("serve", help="serve, configured by HEARTH_ variables").set_defaults(run=_serve)

    keys = commands.add_parser("keys", help="make an API key and append its hash to the key file")
    keys.add_argument("name", help="who it is for")
    keys.add_argument("--file", type=Path, default=os.environ.get("HEARTH_API_KEYS_FILE"),
                      help="key file (default: HEARTH_API_KEYS_FILE)")  # fmt: skip
    keys.set_defaults(run=_keys)

    smoke = commands.add_parser("smoke", help="check a running stack")
    smoke.add_argument("--url", default="http://127.0.0.1:8080", help="the gateway (default: %(default)s)")
    smoke.add_argument("--api-key", default=os.environ.get("HEARTH_API_KEY"), help="(default: HEARTH_API_KEY)")
    smoke.add_argument("--timeout", type=float, default=120, help="seconds for one request (default: %(default)s)")
    smoke.set_defaults(run=_smoke)

    tools = commands.add_parser("tools", help="list a running gateway's tool servers and their tools")
    tools.add_argument("--url", default="http://127.0.0.1:8080", help="the gateway (default: %(default)s)")
    tools.add_argument("--api-key", default=os.environ.get("HEARTH_API_KEY"), help="(default: HEARTH_API_KEY)")
    tools.add_argument("--timeout", type=float, default=10, help="seconds (default: %(default)s)")
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
    except (SettingsError, KeyFileError, ToolsConfigError, ReplayError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _serve(_: argparse.Namespace) -> int:
    import uvicorn

    from hearth_gateway.app import create_app
    from hearth_gateway.connection import connections

    settings = load()
    logs.configure(settings)
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


def _keys(given: argparse.Namespace) -> int:
    if given.file is None:
        raise KeyFileError("No key file: give --file or set HEARTH_API_KEYS_FILE.")
    try:
        key = issue(Path(given.file), given.name)
    except OSError as error:
        raise KeyFileError(f"{given.file}: {error.strerror}") from None
    print(key)
    print(f"The key of {given.name}, shown this once; {given.file} holds its hash.", file=sys.stderr)
    return 0


def _smoke(given: argparse.Namespace) -> int:
    from hearth_gateway.smoke import run

    return 0 if asyncio.run(run(given.url, given.api_key, given.timeout)) else 1


def _tools(given: argparse.Namespace) -> int:
    from hearth_gateway.tools.table import show

    return 0 if asyncio.run(show(given.url, given.api_key, given.timeout)) else 1


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
