"""What the model said, read from the engine's answer: whole, or chunk by chunk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hearth_gateway.tools.types import Call, Turn, Usage


def parse(completion: Mapping[str, Any]) -> Turn:
    """From a chat completion. Raises ValueError when it is none."""
    try:
        choice = completion["choices"][0]
        message = choice["message"]
        calls = tuple(
            Call(_text(call.get("id")), _text(call["function"]["name"]), _text(call["function"].get("arguments")))
            for call in message.get("tool_calls") or []
        )
        finish_reason = _text(choice.get("finish_reason")) or "stop"
        return Turn(_text(message.get("content")), calls, finish_reason, Usage.parse(completion.get("usage")))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        raise ValueError("the engine's answer is no chat completion") from None


@dataclass(slots=True)
class TurnBuilder:
    """The same from a stream's chunks. A call's parts are joined by its `index`; a name given twice counts once."""

    usage: Usage = field(default_factory=Usage)
    finish_reason: str = ""
    _content: list[str] = field(default_factory=list)
    _calls: dict[int, "_Parts"] = field(default_factory=dict)

    def add(self, chunk: Mapping[str, Any]) -> str:
        """The text in this chunk. Raises ValueError when it is no chunk of a chat completion."""
        try:
            if usage := chunk.get("usage"):
                self.usage = Usage.parse(usage)
            if not chunk["choices"]:
                return ""
            choice = chunk["choices"][0]
            self.finish_reason = _text(choice.get("finish_reason")) or self.finish_reason
            delta = choice.get("delta") or {}
            for part in delta.get("tool_calls") or []:
                parts = self._calls.setdefault(int(part.get("index") or 0), _Parts())
                function = part.get("function") or {}
                parts.id = parts.id or _text(part.get("id"))
                parts.name = _text(function.get("name")) or parts.name
                parts.arguments += _text(function.get("arguments"))
            content = _text(delta.get("content"))
        except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError):
            raise ValueError("the engine's answer is no chunk of a chat completion") from None
        if content:
            self._content.append(content)
        return content

    def say(self, text: str) -> None:
        """What chunks that were not added have as their text."""
        self._content.append(text)

    def turn(self) -> Turn:
        """All of it. A call whose name never came is none; what never finished was cut."""
        parts = [self._calls[index] for index in sorted(self._calls)]
        calls = tuple(Call(one.id, one.name, one.arguments) for one in parts if one.name)
        return Turn("".join(self._content), calls, self.finish_reason or "length", self.usage)


@dataclass(slots=True)
class _Parts:
    id: str = ""
    name: str = ""
    arguments: str = ""


def _text(value: Any) -> str:
    """Raises TypeError for what is neither text nor nothing."""
    if not isinstance(value, str | None):
        raise TypeError
    return value or ""
