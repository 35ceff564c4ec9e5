"""Calibration text: rows of JSONL or Parquet, dialogues rendered by the model's own template, cut to one length."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hearth_quantizer.log import Advance
from hearth_quantizer.recipe import Calibration
from hearth_quantizer.refusal import Refusal

Encode = Callable[["Row"], list[int]]
_PROBLEMS_SHOWN = 20


class CalibrationError(Refusal, ValueError):
    """Calibration data that would quantize badly; one line a problem, each naming file and row, the first of many."""

    def __init__(self, problems: Sequence[str]) -> None:
        more = [f"… and {len(problems) - _PROBLEMS_SHOWN} more"] if len(problems) > _PROBLEMS_SHOWN else []
        super().__init__("\n".join([*problems[:_PROBLEMS_SHOWN], *more]))


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    tool_calls: tuple[dict[str, Any], ...] | None = None
    tool_call_id: str | None = None


class Row(BaseModel):
    """One dialogue as a chat completion request holds it, or plain text, and the place it was read from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    messages: tuple[Message, ...] = ()
    tools: tuple[dict[str, Any], ...] | None = None
    text: str | None = Field(default=None, min_length=1)
    place: str = Field(exclude=True)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.messages) == (self.text is not None):
            raise ValueError("a row has either messages, at least one, or text")
        if self.tools is not None and not self.messages:
            raise ValueError("tools go with messages, not with text")
        return self

    def chat(self) -> list[dict[str, Any]]:
        return [message.model_dump(exclude_none=True) for message in self.messages]


def read(files: Iterable[Path]) -> list[Row]:
    """All rows of JSONL and Parquet files. Raises CalibrationError naming file and row, counted from 1."""
    rows: list[Row] = []
    problems: list[str] = []
    for path in files:
        reader = _READERS.get(path.suffix)
        if reader is None:
            problems.append(f"{path}: {path.suffix or 'no suffix'} is no format known here; allowed: .jsonl, .parquet")
            continue
        number = 0
        try:
            for number, entry in enumerate(reader(path), 1):
                row = _row(entry, f"{path}:{number}")
                if isinstance(row, Row):
                    rows.append(row)
                else:
                    problems.append(row)
        except (OSError, ValueError) as error:  # UnicodeDecodeError and pyarrow's errors among them
            problems.append(f"{path}: cannot be read{f' beyond row {number}' if number else ''}: {error}")
        else:
            if not number:
                problems.append(f"{path}: holds no rows")
    if problems:
        raise CalibrationError(problems)
    return rows


def _row(entry: Any, place: str) -> Row | str:
    """A row, or what is wrong with it."""
    if isinstance(entry, ValueError):
        return f"{place}: is not JSON: {entry}"
    if not isinstance(entry, dict):
        return f"{place}: is not a JSON object but {type(entry).__name__}"
    try:
        return Row.model_validate(entry | {"place": place})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        match first["type"]:
            case "value_error":
                text = str(first["ctx"]["error"])
            case "extra_forbidden" if len(first["loc"]) == 1:
                text = "unknown key; allowed: messages, tools, text"
            case _:
                text = first["msg"]
        return f"{place}: {f'{where}: ' if where else ''}{text}"


def _jsonl(path: Path) -> Iterator[Any]:
    """Each line's value, or the error that it is."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                yield error


def _parquet(path: Path) -> Iterator[Any]:
    """Each row without its nulls: Parquet gives every row of a nested column the keys of all of them.

    `messages` and `tools` may also be JSON in a string column, as tools often are because their schemas differ.
    """
    import pyarrow.parquet  # only where it is needed: the engine imports this package without it

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=256):
            for entry in batch.to_pylist():
                row = _without_nulls(entry)
                try:
                    yield row | {key: json.loads(row[key]) for key in ("messages", "tools") if _is_text(row.get(key))}
                except json.JSONDecodeError as error:
                    yield error


_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {".jsonl": _jsonl, ".parquet": _parquet}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def encoder(folder: Path) -> Encode:
    """Turns rows into tokens of the model in `folder`, dialogues by its chat template, text as it is."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)

    def encode(row: Row) -> list[int]:
        ids: list[int]
        if row.text is not None:
            ids = tokenizer(row.text)["input_ids"]
        else:
            ids = tokenizer.apply_chat_template(row.chat(), tools=row.tools, tokenize=True, return_dict=False)
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
        raise CalibrationError([f"{names}: {len(rows)} rows; calibration.samples asks for {wanted}"])
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
        raise CalibrationError(short)
    return sequences
