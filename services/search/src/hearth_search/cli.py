"""hearth-search: serve, settings."""

import argparse
import logging
import sys

import uvicorn
from starlette.applications import Starlette

from hearth_search.server import create_server
from hearth_search.settings import Settings, SettingsError, load, manual


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="hearth-search", description="The search server of hearth (MCP).")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="serve, configured by HEARTH_SEARCH_ variables").set_defaults(run=_serve)
    settings = commands.add_parser("settings", help="explain the settings")
    settings.add_argument("--markdown", action="store_true", help="as a Markdown table")
    settings.set_defaults(run=_settings)
    given = parser.parse_args(arguments)
    try:
        return int(given.run(given))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2


def app(settings: Settings) -> Starlette:
    # The SDK guards a loopback address against web pages that reach it by a name of theirs; they reach no Unix socket.
    host = "" if settings.socket else settings.host
    return create_server(settings).streamable_http_app(stateless_http=True, json_response=True, host=host)


def _serve(_: argparse.Namespace) -> int:
    settings = load()
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx2", "mcp"):  # the one logs URLs, and with them queries
        logging.getLogger(chatty).setLevel("WARNING")
    uvicorn.run(
        app(settings), uds=str(settings.socket) if settings.socket else None, host=settings.host, port=settings.port,
        access_log=False, server_header=False, log_config=None, timeout_graceful_shutdown=5,
    )  # fmt: skip
    return 0


def _settings(given: argparse.Namespace) -> int:
    if given.markdown:
        print("| variable | default | what it does |\n| --- | --- | --- |")
        for variable, default, text in manual():
            print(f"| `{variable}` | {f'`{default}`' if default else ''} | {text} |")
    else:
        for variable, default, text in manual():
            print(f"{variable}={default}\n    {text}\n")
    return 0
