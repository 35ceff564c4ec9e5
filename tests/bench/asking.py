"""The yardstick's client, whose requests also ask for a tool of ours: python asking.py LOAD.PY ITS_ARGUMENTS…"""

import json
import runpy
import sys
from typing import Any

ECHO = {"type": "mcp", "server_label": "t", "allowed_tools": ["echo"]}
dumps = json.dumps


def asking(value: Any, **options: Any) -> str:
    if isinstance(value, dict) and "tools" in value:
        value = value | {"tools": [*value["tools"], ECHO]}
    return dumps(value, **options)


json.dumps = asking
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
