"""Who gets which tools: a request's wish, the operator's default, and what there is. No I/O."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hearth_gateway.errors import Problem, bad_request
from hearth_gateway.tools.types import BUILT_IN, Tool

_KEYS = {"type", "server_label", "server_description", "allowed_tools", "require_approval", "defer_loading"}
_OPERATOR = {"server_url", "connector_id", "headers", "authorization"}

_Entry = tuple[int, Any]
"""One of a request's tools, and its place among them."""


@dataclass(frozen=True, slots=True)
class Selection:
    """`tools`: ours that the model gets, by name. `body`: the request without the entries that asked for them."""

    tools: tuple[Tool, ...]
    body: dict[str, Any]


def select(
    body: Mapping[str, Any], catalog: Collection[Tool], labels: Collection[str], default: Collection[str] = ()
) -> Selection | None:
    """The tools for a request, or None when none of ours is asked for: such a request passes untouched.

    `catalog`: every tool there is now. `labels`: every configured server, also those that are down. `default`: names of
    the tools that a request without any gets. A selection may turn out empty, when its server is down for example.
    Raises Problem 400.
    """
    entries = body.get("tools") or []
    if not isinstance(entries, list):
        return None  # the engine says what is wrong with it
    hosted: list[_Entry] = []
    functions: list[_Entry] = []
    for index, entry in enumerate(entries):
        is_hosted = isinstance(entry, dict) and entry.get("type") == "mcp"
        (hosted if is_hosted else functions).append((index, entry))
    chosen = _asked_for(hosted, catalog, labels) if entries else [tool for tool in catalog if tool.name in default]
    if not hosted and not chosen:
        return None

    choice = _resolved(body.get("tool_choice"), chosen)
    if choice == "none":
        chosen = []
    if chosen:
        if body.get("n") not in (None, 1):
            raise bad_request("n should be 1 where the gateway runs tools: only one answer can go on.", "n")
        names = {tool.name for tool in chosen}
        chosen += [tool for tool in catalog if tool.server == BUILT_IN and tool.name not in names]
        # Servers come up in any order, and the prompt's first bytes decide whether the engine has them cached.
        chosen.sort(key=lambda tool: (tool.name, tool.server))
        _check_names(chosen, functions)
    rest = {name: value for name, value in body.items() if name not in ("tools", "tool_choice")}
    if functions:
        rest["tools"] = [function for _, function in functions]
    if choice is not None and (functions or chosen):
        rest["tool_choice"] = choice
    return Selection(tuple(chosen), rest)


def _asked_for(hosted: list[_Entry], catalog: Collection[Tool], labels: Collection[str]) -> list[Tool]:
    chosen: list[Tool] = []
    seen: set[str] = set()
    for index, entry in hosted:
        where = f"tools[{index}]"
        label = _label(entry, where, {*labels, BUILT_IN})
        if label in seen:
            raise bad_request(f"{where}: the server {label!r} is there twice.", where)
        seen.add(label)
        chosen += _allowed(entry, where, [tool for tool in catalog if tool.server == label])
    return chosen


def _label(entry: Mapping[str, Any], where: str, labels: Collection[str]) -> str:
    for key, value in entry.items():
        if key in _OPERATOR and value:
            reason = "tool servers are configured by the operator; give server_label only"
            raise bad_request(f"{where}.{key} is not supported: {reason}.", f"{where}.{key}", "unsupported_parameter")
        if key not in _KEYS | _OPERATOR:
            raise bad_request(f"{where} has no {key}. Allowed: {', '.join(sorted(_KEYS))}.", f"{where}.{key}")
    label = entry.get("server_label")
    if not isinstance(label, str) or label not in labels:
        known = ", ".join(sorted({*labels} - {BUILT_IN})) or "none"
        message = f"{where}.server_label: there is no server {label!r}. Configured: {known}."
        raise bad_request(message, f"{where}.server_label", "unknown_tool_server")
    return label


def _allowed(entry: Mapping[str, Any], where: str, tools: list[Tool]) -> list[Tool]:
    """The server's tools that the entry lets through, and which of their calls it wants to be asked about.

    A client may ask for more consent than the operator does, never for less: "never" leaves the operator's policy.
    """
    names = _picked(entry.get("allowed_tools"), f"{where}.allowed_tools", tools)
    approval = entry.get("require_approval")
    asks: set[str] = set()
    if approval == "always":
        asks = names
    elif isinstance(approval, dict) and approval and approval.keys() <= {"always", "never"}:
        for policy, wanted in approval.items():
            picked = _picked(wanted, f"{where}.require_approval.{policy}", tools)
            asks = picked if policy == "always" else asks
    elif approval not in (None, "never"):
        allowed = '"always", "never" or {"always": {"tool_names": […]}}'
        raise bad_request(f"{where}.require_approval should be {allowed}.", f"{where}.require_approval")
    return [
        replace(tool, approval=True) if tool.name in asks and not tool.approval else tool
        for tool in tools
        if tool.name in names
    ]


def _picked(wanted: Any, where: str, tools: list[Tool]) -> set[str]:
    """Names of the tools that a filter of OpenAI's has: a list of names, or {"tool_names", "read_only"}, or null for
    all. A tool goes by the name that its server gave it and by the one that the model sees."""
    names, read_only = wanted, None
    if isinstance(wanted, dict):
        if extra := wanted.keys() - {"tool_names", "read_only"}:
            raise bad_request(f"{where} has no {min(extra)}. Allowed: read_only, tool_names.", where)
        names, read_only = wanted.get("tool_names"), wanted.get("read_only")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise bad_request(f"{where} should be a list of names.", where, "invalid_type")
    if read_only not in (None, True, False):
        raise bad_request(f"{where}.read_only should be true or false.", where, "invalid_type")
    if names is None and read_only is None:
        return {tool.name for tool in tools}
    known = {name for tool in tools for name in (tool.name, tool.remote_name)}
    if tools and (unknown := [name for name in names or [] if name not in known]):  # a server that is down has none
        has = ", ".join(sorted(tool.remote_name for tool in tools))
        message = f"{where}: the server {tools[0].server!r} has no tool {unknown[0]!r}. It has: {has}."
        raise bad_request(message, where, "unknown_tool")
    return {
        tool.name
        for tool in tools
        if (names is None or tool.name in names or tool.remote_name in names)
        and (read_only is None or tool.read_only == read_only)
    }


def _resolved(choice: Any, tools: Iterable[Tool]) -> Any:
    """`tool_choice` as the engine knows it: a hosted tool is chosen by the name that the model sees."""
    if not isinstance(choice, dict) or choice.get("type") != "mcp":
        return choice
    for tool in tools:
        if tool.server == choice.get("server_label") and choice.get("name") in (tool.name, tool.remote_name):
            return {"type": "function", "function": {"name": tool.name}}
    message = "tool_choice of type mcp should have the server_label and the name of one of the tools asked for."
    raise bad_request(message, "tool_choice", "unknown_tool")


def _check_names(tools: list[Tool], functions: list[_Entry]) -> None:
    """A name is one tool's: the model's call says nothing else."""
    ours: dict[str, Tool] = {}
    for tool in tools:
        if (other := ours.setdefault(tool.name, tool)) is not tool:
            raise _taken(f"the servers {other.server!r} and {tool.server!r} both have a tool {tool.name!r}.", "tools")
    for index, entry in functions:
        function = entry.get("function") if isinstance(entry, dict) and entry.get("type") == "function" else None
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str) and name not in ours:
            continue
        where = f"tools[{index}]"
        if not isinstance(name, str):
            shapes = '{"type": "function", "function": {"name": …}} or {"type": "mcp", "server_label": …}'
            raise bad_request(f"{where} should be {shapes}.", where, "invalid_type")
        raise _taken(
            f"{where}: the function {name!r} has the name of a tool of the server {ours[name].server!r}. "
            f"Rename it, or leave {ours[name].remote_name!r} out with allowed_tools.",
            where,
        )


def _taken(message: str, where: str) -> Problem:
    return bad_request(message, where, "duplicate_tool_name")
