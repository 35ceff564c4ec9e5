"""Calibration text: chat rows, rendered by the model's own template, cut to one length."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hearth_quantizer.log import Advance
from hearth_quantizer.recipe import Calibration
from hearth_quantizer.refusal import Refusal

Encode = Callable[["Row"], list[int]]


class CalibrationError(Refusal, ValueError):
    """Calibration data that would quantize badly; one line a problem, each naming file and row."""


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    tool_calls: tuple[dict[str, Any], ...] | None = None
    tool_call_id: str | None = None


class Row(BaseModel):
    """One dialogue, as a chat completion request holds it, and the place it was read from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    messages: tuple[Message, ...] = Field(min_length=1)
    tools: tuple[dict[str, Any], ...] | None = None
    place: str = Field(exclude=True)

    def chat(self) -> list[dict[str, Any]]:
        return [message.model_dump(exclude_none=True) for message in self.messages]


def read(files: Iterable[Path]) -> list[Row]:
    """All rows of JSONL files. Raises CalibrationError naming file and row."""
    rows: list[Row] = []
    problems: list[str] = []
    for path in files:
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path}: cannot be read: {error}")
            continue
        for number, line in enumerate(lines, 1):
            try:
                rows.append(Row.model_validate(json.loads(line) | {"place": f"{path}:{number}"}))
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                problems.append(f"{path}:{number}: {'.'.join(map(str, first['loc']))}: {first['msg']}")
            except (ValueError, TypeError) as error:
                problems.append(f"{path}:{number}: is not a JSON object: {error}")
    if problems:
        raise CalibrationError("\n".join(problems))
    return rows


def encoder(folder: Path) -> Encode:
    """Renders rows by the chat template of the model in `folder`, into its tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)

    def encode(row: Row) -> list[int]:
        ids: list[int] = tokenizer.apply_chat_template(row.chat(), tools=row.tools, tokenize=True, return_dict=False)
        return ids

    return encode


def sample(
    rows: Sequence[Row], calibration: Calibration, encode: Encode, advance: Advance = lambda done: None
) -> list[list[int]]:
    """`calibration.samples` token sequences, from rows spread evenly over all that there are.

    `advance` gets the number of rows encoded so far. Raises CalibrationError for too few rows and, unless
    `calibration.allow_poor`, for rows below `calibration.shortest` tokens: GPTQ would go on, and the model would be as
    bad as a rounded one.
    """
    wanted = calibration.samples
    if len(rows) < wanted:
        names = ", ".join(map(str, calibration.files))
        raise CalibrationError(f"{names}: {len(rows)} rows; calibration.samples asks for {wanted}")
    picked = [rows[index * len(rows) // wanted] for index in range(wanted)]
    sequences = []
    for row in picked:
        sequences.append(encode(row)[: calibration.tokens])
        advance(len(sequences))
    short = [
        f"{row.place}: {len(sequence)} tokens; at least {calibration.shortest} are needed"
        for row, sequence in zip(picked, sequences, strict=True)
        if len(sequence) < calibration.shortest
    ]
    if short and not calibration.allow_poor:
        raise CalibrationError("\n".join(short))
    return sequences
