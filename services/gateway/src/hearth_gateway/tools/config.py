"""hearth.tools.yaml: which tool servers there are, what of them the model may use, and how."""

import os
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from hearth_gateway.tools.loop import Limits
from hearth_gateway.tools.naming import OWN_PREFIX
from hearth_gateway.tools.types import BUILT_IN

Label = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Prefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,32}$")]
Pattern = Annotated[str, Field(min_length=1)]
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
Policy = Literal["never", "always"]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class ToolsConfigError(ValueError):
    """The file cannot be used. One problem a line, each as `file:line: key: what is wrong; what is allowed`."""


class _MisplacedError(ValueError):
    """A mistake that shows only when several keys are seen together, told at one of them."""

    def __init__(self, loc: tuple[str, ...], text: str) -> None:
        super().__init__(text)
        self.loc = loc


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Value(_Part):
    """A header's or variable's value: text as it stands, or where the gateway finds a secret. Never printed."""

    text: str | None = Field(default=None, repr=False)
    """The value itself; a plain string in place of the mapping means the same."""

    env: str | None = None
    """The environment variable of the gateway that has it."""

    file: Path | None = None
    """The file that has it; white space at its end is left out."""

    prefix: str = Field(default="", repr=False)
    """What stands before it: `"Bearer "`."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.text, self.env, self.file)) != 1:
            raise ValueError("must be a string, or have one of: env, file")
        if not self.resolve().isprintable():
            raise ValueError("has a line break or another control character in its value")
        return self

    def resolve(self) -> str:
        """The value as it is now: a secret may have been renewed. Raises ValueError when it is not there."""
        value = self.text or ""
        if self.env is not None:
            if not (value := os.environ.get(self.env, "")):
                raise ValueError(f"the environment variable {self.env} is not set")
        elif self.file is not None:
            try:
                value = self.file.read_text("utf-8").rstrip()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
                raise ValueError(f"the file {self.file} cannot be read: {reason}") from None
        return self.prefix + value


def _as_value(given: Any) -> Any:
    return {"text": given} if isinstance(given, str) else given


def _as_policies(given: Any) -> Any:
    return {"*": given} if isinstance(given, str) else given


def _plain_url(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    host = rest.partition("/")[0]
    if scheme not in ("http", "https") or not separator or not host or "@" in host or set(rest) & set(" #"):
        raise ValueError("should look like http://host:port/path; secrets go into headers")
    return url


Secret = Annotated[Value, BeforeValidator(_as_value)]


class Presentation(_Part):
    """What the model reads of a tool, in place of what its server says: descriptions take part of every request's
    context, and a small model is lost in long ones."""

    description: str | None = None
    """In place of the tool's description."""

    parameters: dict[str, str] | None = None
    """The parameters that the model sees, each with its description; none that the tool requires may be missing."""


class ServerConfig(_Part):
    """One MCP server."""

    url: Annotated[str, AfterValidator(_plain_url)] | None = None
    """Where it speaks streamable HTTP, for example `http://tool-files:8080/mcp`. A server has this or `command`."""

    socket: Path | None = None
    """The Unix socket through which `url` is reached: a server on the same machine then needs no network."""

    headers: dict[str, Secret] = {}
    """HTTP headers for it. A value is a string, or `{env: NAME}` or `{file: PATH}` (with `prefix: "Bearer "` if need
    be) for a secret."""

    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The program, with its arguments, that speaks MCP over stdio. The gateway starts it, and again when it ends.
    What it writes to standard error goes to the gateway's."""

    env: dict[str, Secret] = {}
    """Environment variables for `command`, with values like those of `headers`. It gets PATH, HOME and the like, and
    nothing else of the gateway's own environment."""

    cwd: Path | None = None
    """The folder that `command` starts in."""

    prefix: Prefix | None = None
    """What stands before each tool's name, so that names differ between servers. Default: the label and `_`.
    A name that begins with it already is not given it twice. Beside other servers, one with the prefix `""` lists its
    tools in `allow` name by name, so that a name that two servers have is found here."""

    allow: tuple[Pattern, ...] = ("*",)
    """The server's own names of the tools that the model may use; `*` and `?` stand for anything."""

    deny: tuple[Pattern, ...] = ()
    """Names of tools that it may not use, whatever `allow` says."""

    timeout: Seconds = 30
    """Seconds for a call, waiting for its turn and a second try included."""

    connect_timeout: Seconds = 30
    """Seconds for connecting: start, handshake, first list of tools."""

    concurrency: Annotated[int, Field(ge=1, le=256)] = 8
    """Calls at the same time; more wait."""

    result_tokens: Annotated[int, Field(ge=128)] = 2048
    """Tokens of a result that the model reads at once; it can fetch the rest."""

    retries: Annotated[int, Field(ge=0, le=5)] = 1
    """Further tries of a call whose connection was lost, for tools only that the server calls read-only or
    idempotent. Other calls are never sent twice."""

    tools: dict[str, Presentation] = {}
    """How the model sees a tool, by the server's own name of it: `{read_file: {description: Read a file.,
    parameters: {path: Path of the file}}}`. Parameters that are not named are not shown. What does not fit the tool
    that the server has is told in the log, and left out."""

    approval: Annotated[dict[Pattern, Policy], BeforeValidator(_as_policies)] = {}
    """Whether a call needs the user's consent: `never` (the default), `always`, or by tool: `{delete_*: always}`,
    where the first name that fits decides, and a tool that none fits needs none."""

    @model_validator(mode="after")
    def _one_transport(self) -> Self:
        if (self.url is None) == (self.command is None):
            raise ValueError("must have one of: url, command")
        if self.url is None and (self.headers or self.socket):
            raise ValueError("headers and socket: only a server with url has them; command has env")
        if self.command is None and (self.env or self.cwd):
            raise ValueError("env and cwd: only a server with command has them; url has headers")
        return self

    def allows(self, name: str) -> bool:
        return _fits(name, self.allow) and not _fits(name, self.deny)

    def needs_approval(self, name: str) -> bool:
        return next((policy for pattern, policy in self.approval.items() if fnmatchcase(name, pattern)), "never") == (
            "always"
        )


class ResultsConfig(_Part):
    """Results too long for the model, kept so that it can read on."""

    megabytes: Annotated[int, Field(ge=1, le=65_536)] = 64
    """Memory for them, in MiB; beyond it, what was not read for the longest time goes."""

    seconds: Annotated[float, Field(gt=0)] = 3600
    """How long each is kept after it was last read."""


class ToolsConfig(_Part):
    """The whole file; unknown keys are refused."""

    servers: dict[Label, ServerConfig] = {}
    """The servers by label."""

    default: tuple[str, ...] = ()
    """Labels of the servers whose tools a request without tools of its own gets."""

    results: ResultsConfig = ResultsConfig()
    """Results too long for the model."""

    limits: Limits = Limits()
    """What one request may cost."""

    @field_validator("servers")
    @classmethod
    def _not_built_in(cls, servers: dict[str, ServerConfig]) -> dict[str, ServerConfig]:
        if BUILT_IN in servers:
            raise _MisplacedError(("servers", BUILT_IN), "this label is taken by the gateway's own tools")
        return servers

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        """No two servers can ever give two tools one name, whichever tools they have and whichever of them came up
        first: no prefix begins with another, and where there is none the names are known and begin with none."""
        prefixes = {label: prefix for label in self.servers if (prefix := self.prefix(label)) or len(self.servers) == 1}
        for label, prefix in prefixes.items():
            if prefix.startswith(OWN_PREFIX):
                raise _MisplacedError(
                    ("servers", label, "prefix"), f"no prefix but the gateway's own begins {OWN_PREFIX}"
                )
            for other, longer in prefixes.items():
                if label != other and longer.startswith(prefix):
                    raise _MisplacedError(
                        ("servers", label, "prefix"),
                        f"{prefix!r} begins the prefix of {other}, {longer!r}, so names could collide; set another",
                    )
        bare: dict[str, str] = {}
        for label in (label for label in self.servers if label not in prefixes):
            for name in self.servers[label].allow:
                if not _NAME.fullmatch(name):
                    raise _MisplacedError(
                        ("servers", label, "allow"),
                        f"{name!r}: beside other servers, one without a prefix lists its tools name by name "
                        "(letters, digits, _ and -)",
                    )
                if (other := bare.setdefault(name, label)) != label:
                    raise _MisplacedError(
                        ("servers", label, "allow"), f"{other} has a tool {name!r} too, and neither has a prefix"
                    )
                if taken := [other for other, prefix in prefixes.items() if name.startswith(prefix)]:
                    raise _MisplacedError(
                        ("servers", label, "allow"), f"{name!r} begins with the prefix of {taken[0]}; set a prefix"
                    )
        return self

    @model_validator(mode="after")
    def _defaults_exist(self) -> Self:
        if unknown := [label for label in self.default if label not in self.servers]:
            known = ", ".join(self.servers) or "none"
            raise _MisplacedError(("default",), f"there is no server {', '.join(unknown)}; there are: {known}")
        return self

    def prefix(self, label: str) -> str:
        """What stands before the names of a server's tools."""
        given = self.servers[label].prefix
        return f"{label}_" if given is None else given


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


_PARTS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("", ToolsConfig),
    ("servers.LABEL.", ServerConfig),
    ("results.", ResultsConfig),
    ("limits.", Limits),
)


def load(path: Path) -> ToolsConfig:
    """Read the file. Raises ToolsConfigError that names every problem by file, line and key."""
    try:
        return parse(path.read_text("utf-8"), str(path))
    except OSError as error:
        raise ToolsConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ToolsConfigError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from None


def parse(text: str, name: str) -> ToolsConfig:
    """The configuration that `text` holds; `name` is the file's, for errors."""
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        repeated = [f"{name}:{line}: {key}: given twice" for line, key in _repeated(root)]
        data = loader.construct_document(root) if root else {}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ToolsConfigError(f"{name}:{line}: is not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date like 2026-13-40
        raise ToolsConfigError(f"{name}: is not YAML: {error}") from None
    if not isinstance(data, dict):
        raise ToolsConfigError(f"{name}:1: must be a mapping; allowed: {_keys(ToolsConfig)}")
    try:
        config = ToolsConfig.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise ToolsConfigError(
            "\n".join(repeated + [f"{name}:{_describe(root, problem)}" for problem in problems])
        ) from None
    if repeated:
        raise ToolsConfigError("\n".join(repeated))
    return config


def manual() -> list[tuple[str, str, str]]:
    """(key, default, what it does) of every key, in order; LABEL stands for a server's label."""
    return [
        (where + key, "" if field.is_required() else _shown(field.default), " ".join((field.description or "").split()))
        for where, part in (
            ("", ToolsConfig),
            ("servers.LABEL.", ServerConfig),
            ("servers.LABEL.tools.NAME.", Presentation),
            ("results.", ResultsConfig),
            ("limits.", Limits),
        )
        for key, field in part.model_fields.items()
    ]


def _shown(default: Any) -> str:
    if isinstance(default, tuple | list):
        return f"[{', '.join(map(repr, default))}]" if default else ""
    return "" if default in (None, {}) or isinstance(default, BaseModel) else str(default)


_SHAPES = {"tuple_type": "should be a list", "dict_type": "should be a mapping", "model_type": "should be a mapping"}


def _describe(root: yaml.Node | None, problem: Mapping[str, Any]) -> str:
    """One of pydantic's errors as `line: key: what is wrong; what is allowed`. It never shows a value that may be a
    secret."""
    loc, ctx = problem["loc"], problem.get("ctx", {})
    if isinstance(error := ctx.get("error"), _MisplacedError):
        loc = error.loc
    line, key = _locate(root, loc)
    match problem["type"]:
        case "extra_forbidden":
            text = f"unknown key; allowed: {_keys(_part_at(loc[:-1]))}"
        case "missing":
            text = "is required"
        case "literal_error":
            text = f"{problem['input']!r} is not supported; allowed: {ctx['expected']}"
        case "value_error":
            text = str(ctx["error"])
        case _:
            text = _SHAPES.get(problem["type"]) or problem["msg"].removeprefix("Input ").removeprefix("String ")
            scalar = isinstance(problem["input"], str | int | float) and not {"headers", "env"} & set(loc)
            text += f", not {problem['input']!r}" if scalar else ""
    return f"{line}: {key}: {text}" if key else f"{line}: {text}"


def _locate(root: yaml.Node | None, loc: tuple[int | str, ...]) -> tuple[int, str]:
    """Line and dotted key of a pydantic location; the line of what is around it where the key itself is absent."""
    node, line, keys = root, 1, list[str]()
    for step in loc:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(step)), None)
            if found:
                line, node = found[0].start_mark.line + 1, found[1]
            else:
                node = None
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break  # below a plain value: the key stands for a shorter way to write it
        if step != "[key]":
            keys.append(str(step))
    return line, ".".join(keys)


def _part_at(loc: tuple[int | str, ...]) -> type[BaseModel]:
    """The class of the mapping at a location."""
    match loc:
        case ():
            return ToolsConfig
        case ("servers", _):
            return ServerConfig
        case ("servers", _, "tools", _):
            return Presentation
        case ("results",):
            return ResultsConfig
        case ("limits",):
            return Limits
        case _:
            return Value


def _keys(part: type[BaseModel]) -> str:
    return ", ".join(part.model_fields)


def _repeated(node: yaml.Node | None, path: str = "") -> Iterator[tuple[int, str]]:
    """YAML lets the last of two equal keys win without a word."""
    if isinstance(node, yaml.MappingNode):
        seen = set[str]()
        for key, value in node.value:
            name = f"{path}{key.value}"
            if name in seen:
                yield key.start_mark.line + 1, name
            seen.add(name)
            yield from _repeated(value, f"{name}.")
