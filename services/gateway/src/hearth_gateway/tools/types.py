"""The nouns that the tool loop, the tool servers and the router share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from hearth_gateway.tools.loop import Limits

BUILT_IN = "hearth"
"""The server label of tools that the gateway has itself."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool as the model sees it.

    `name` is unique in a request: the server's prefix and `remote_name`. `parameters` is a JSON schema, draft 2020-12
    unless its `$schema` says otherwise; it is stored in canonical order. `approval`: a call needs the user's consent.
    """

    name: str
    server: str
    remote_name: str
    description: str
    parameters: Mapping[str, Any]
    read_only: bool = False
    idempotent: bool = False
    approval: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", canonical(self.parameters))

    def function(self) -> dict[str, Any]:
        """OpenAI's function tool; equal tools give equal bytes, because the prompt's prefix is cached by them."""
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": self.parameters},
        }


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the model made it. `arguments` is the text that the model wrote, JSON or not."""

    id: str
    name: str
    arguments: str

    def message(self) -> dict[str, Any]:
        """An entry of an assistant message's `tool_calls`."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A call whose arguments fit the schema of its tool."""

    call: Call
    tool: Tool
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What the model reads of a call."""

    call_id: str
    text: str
    is_error: bool = False

    def message(self) -> dict[str, Any]:
        """The tool message. No field says that it is an error: the text does, and engines refuse unknown fields."""
        return {"role": "tool", "tool_call_id": self.call_id, "content": self.text}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one model call, or of several together."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @classmethod
    def parse(cls, usage: Any) -> "Usage":
        """From the engine's `usage`; whatever is missing counts as 0."""
        usage = usage if isinstance(usage, Mapping) else {}
        details = usage.get("prompt_tokens_details") or {}
        return cls(
            int(usage.get("prompt_tokens") or 0),
            int(usage.get("completion_tokens") or 0),
            int(details.get("cached_tokens") or 0),
        )

    def message(self) -> dict[str, Any]:
        """OpenAI's `usage` object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }


@dataclass(frozen=True, slots=True)
class Turn:
    """What the model said in one call of it."""

    content: str
    calls: tuple[Call, ...] = ()
    finish_reason: str = "stop"
    usage: Usage = Usage()


class Progress(Protocol):
    """Hears how far a running tool says that it is."""

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None: ...


class Toolbox(Protocol):
    """What a loop needs of the tool servers: their hub, or a recording of it."""

    @property
    def tools(self) -> tuple[Tool, ...]:
        """All there are now."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Every configured server, also those that are down."""

    @property
    def default(self) -> frozenset[str]:
        """Names of the tools that a request without tools gets."""

    @property
    def limits(self) -> "Limits":
        """What one request may cost."""

    async def call(
        self,
        prepared: PreparedCall,
        *,
        user: str = "",
        progress: Progress | None = None,
    ) -> Result:
        """What the model reads of a call, which never raises."""


def canonical(schema: Any) -> Any:
    """`schema` with its keys in one order, whatever order a server sent them in.

    Required properties come first, in the order of `required` (a list, so its order is the author's): a model that
    writes arguments in the schema's order then writes a path before a file's content. All else is sorted.
    """
    if isinstance(schema, Mapping):
        ordered = {key: canonical(schema[key]) for key in sorted(schema)}
        properties, required = ordered.get("properties"), ordered.get("required")
        if isinstance(properties, dict) and isinstance(required, list):
            first = [name for name in dict.fromkeys(filter(_is_text, required)) if name in properties]
            ordered["properties"] = {name: properties[name] for name in [*first, *properties]}
        return ordered
    return [canonical(item) for item in schema] if isinstance(schema, (list, tuple)) else schema


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
