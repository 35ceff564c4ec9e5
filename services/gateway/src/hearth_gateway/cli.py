"""hearth-gateway: serve, keys, smoke, settings."""

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from hearth_gateway.auth import KeyFileError, issue
from hearth_gateway.settings import SettingsError, load, manual


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

    settings = commands.add_parser("settings", help="explain the settings")
    settings.add_argument("--markdown", action="store_true", help="as a Markdown table")
    settings.set_defaults(run=_settings)

    given = parser.parse_args(arguments)
    try:
        return int(given.run(given))
    except (SettingsError, KeyFileError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _serve(_: argparse.Namespace) -> int:
    import uvicorn

    from hearth_gateway.app import create_app

    settings = load()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        timeout_graceful_shutdown=settings.shutdown_grace,
    )
    return 0


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


def _settings(given: argparse.Namespace) -> int:
    if given.markdown:
        print("| variable | default | what it does |\n| --- | --- | --- |")
        for variable, default, text in manual():
            print(f"| `{variable}` | {f'`{default}`' if default else ''} | {text} |")
    else:
        for variable, default, text in manual():
            print(f"{variable}={default}\n    {text}\n")
    return 0
