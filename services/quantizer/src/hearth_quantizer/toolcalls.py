"""Held-out tool prompts, and the calls that a model's answer makes in hermes' format."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hearth_quantizer.calibration import Message
from hearth_quantizer.refusal import Refusal

_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|$)", re.DOTALL)


class ToolPromptError(Refusal, ValueError):
    """Tool prompts that cannot be used; one line a problem, each naming file and row."""


class Call(BaseModel):
    """One call as the model makes it: arguments are a JSON object, not its text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    arguments: dict[str, Any]


class ToolPrompt(BaseModel):
    """A request with tools on offer, and the calls that answer it; none means that no tool must be called."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    lang: str = Field(pattern=r"^[a-z]{2}$")
    kind: str
    messages: tuple[Message, ...] = Field(min_length=1)
    tools: tuple[dict[str, Any], ...] = Field(min_length=1)
    expected: tuple[Call, ...]

    def chat(self) -> list[dict[str, Any]]:
        return [message.model_dump(exclude_none=True) for message in self.messages]


def read(files: Iterable[Path]) -> list[ToolPrompt]:
    """All prompts of JSONL files. Raises ToolPromptError naming file and row."""
    prompts: list[ToolPrompt] = []
    problems: list[str] = []
    places: dict[str, str] = {}
    for path in files:
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            problems.append(f"{path}: cannot be read: {error.strerror}")
            continue
        if not lines:
            problems.append(f"{path}: holds no prompt")
        for number, line in enumerate(lines, 1):
            place = f"{path}:{number}"
            try:
                prompt = ToolPrompt.model_validate_json(line)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                problems.append(f"{place}: {'.'.join(map(str, first['loc'])) or 'the row'}: {first['msg']}")
                continue
            if prompt.id in places:
                problems.append(f"{place}: id: {prompt.id!r} is that of {places[prompt.id]} too")
            places.setdefault(prompt.id, place)
            prompts.append(prompt)
    if problems:
        raise ToolPromptError("\n".join(problems))
    return prompts


def parse(answer: str) -> list[Call] | None:
    """The calls of an answer in their order; None where one of them is not valid: no client could run it."""
    try:
        return [Call.model_validate(json.loads(body)) for body in _CALL.findall(answer)]
    except ValueError:
        return None


def matches(answer: str, expected: Sequence[Call]) -> bool:
    """Whether the answer makes exactly the expected calls: names, arguments, number and order."""
    return parse(answer) == list(expected)
