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
            Call(call.get("id") or "", call["function"]["name"], call["function"].get("arguments") or "")
            for call in message.get("tool_calls") or []
        )
        finish_reason = choice.get("finish_reason") or "stop"
        return Turn(message.get("content") or "", calls, finish_reason, Usage.parse(completion.get("usage")))
    except (KeyError, IndexError, TypeError, AttributeError):
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
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
            delta = choice.get("delta") or {}
            for part in delta.get("tool_calls") or []:
                parts = self._calls.setdefault(part.get("index") or 0, _Parts())
                function = part.get("function") or {}
                parts.id = parts.id or part.get("id") or ""
                parts.name = function.get("name") or parts.name
                parts.arguments += function.get("arguments") or ""
            content: str = delta.get("content") or ""
        except (KeyError, IndexError, TypeError, AttributeError):
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
