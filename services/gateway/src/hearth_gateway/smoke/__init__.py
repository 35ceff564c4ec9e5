"""Functional checks against a running stack, as a client sees it. A check is a function that says what it saw, or
raises Failed; append it to CHECKS and it runs."""

import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import aiohttp
import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hearth_gateway.smoke import model, tools
from hearth_gateway.smoke.stack import Failed, Seen, Stack


class Check(NamedTuple):
    name: str
    see: Callable[[Stack], Awaitable[Seen]]
    needs: tuple[str, ...] = ()  # runs only where these tools do


CHECKS = [
    Check("ready", model.ready),
    Check("models", model.models),
    Check("plain answer", model.plain_answer),
    Check("streamed answer", model.streamed_answer),
    Check("two-turn conversation", model.two_turns),
    *(
        Check(f"{name}, {speech.language}", partial(check, speech))
        for name, check in (
            ("text", model.knows),
            ("tool call", model.calls_a_tool),
            ("tool result", model.uses_a_result),
            ("three turns", model.remembers),
        )
        for speech in (model.ENGLISH, model.CHINESE)
    ),
    Check("tool servers", tools.servers),
    Check("a folder to work in", tools.prepares, (tools.MAKE,)),
    *(
        Check(f"search, {speech.language}", partial(tools.searches, speech), (tools.WRITE, tools.SEARCH))
        for speech in (model.ENGLISH, model.CHINESE)
    ),
    Check("list, then read", tools.lists_and_reads, (tools.WRITE, tools.LIST, tools.READ)),
    Check("command", tools.runs_a_command, (tools.RUN,)),
    Check("command without network", tools.reaches_nothing, (tools.RUN,)),
    Check("command without end", tools.is_killed, (tools.RUN,)),
    Check("page", tools.reads_a_page, (tools.OPEN, tools.LOOK)),
    Check("the folder removed", tools.tidies, (tools.MAKE, tools.RUN)),
]


async def run(
    url: str,
    api_key: str | None = None,
    timeout: float = 120,  # noqa: ASYNC109
    console: Console | None = None,
    tls: ssl.SSLContext | None = None,
) -> bool:
    """Run all checks against the gateway at `url`, `timeout` seconds for each request; print a table. `tls`: whom to
    believe; default: the system's CAs.

    Returns whether all passed. A failure does not stop the others: the table shows what still works.
    What tools are asked for is in a folder of its own in the workspace, which the last check removes.
    """
    url = url.rstrip("/").removesuffix("/v1")
    table = Table("check", "", "TTFT, ms", "TPOT, ms", "detail", title=f"smoke test of {url}")
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    limits = aiohttp.ClientTimeout(total=timeout)
    passed = True
    connector = aiohttp.TCPConnector(ssl=tls or True)
    async with aiohttp.ClientSession(
        url, connector=connector, headers=headers, timeout=limits, json_serialize=_dumps
    ) as session:
        stack = Stack(session)
        for name, check, needs in CHECKS:
            if not stack.tools.keys() >= set(needs):
                continue
            try:
                seen = await check(stack)
            except Failed as failure:
                passed, outcome, seen = False, "[red]fail", Seen(str(failure))
            except (KeyError, IndexError, TypeError, AttributeError, orjson.JSONDecodeError) as error:
                passed, outcome, seen = False, "[red]fail", Seen(f"the answer lacks something: {error!r}")
            except (aiohttp.ClientError, OSError) as error:
                passed, outcome, seen = False, "[red]fail", Seen(str(error) or f"no answer in {timeout:g} s")
            else:
                outcome = "[green]pass"
            table.add_row(name, outcome, _milliseconds(seen.ttft), _milliseconds(seen.tpot), escape(seen.detail))
    (console or Console()).print(table)
    return passed


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.1f}"
