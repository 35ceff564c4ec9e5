"""A call's arguments: the model's text in, what its tool's schema allows out. Nothing is guessed.

A repair is made only where one reading is left: closing brackets that are missing or too many at the end, control
characters within strings, an object written as a string. A text that ends within a string, in a number or after a comma
may have lost anything, and a repeated key has two readings: those are errors.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson
from jsonschema import SchemaError
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_CLOSERS = {"{": "}", "[": "]"}
_LONGEST_PROBLEM = 300


class ArgumentsError(ValueError):
    """The arguments cannot be used. The message is for the model: it says what is wrong, and where."""


def prepare(text: str, schema: Mapping[str, Any], *, cut: bool = False) -> dict[str, Any]:
    """The arguments that `text` means, checked against `schema`. `cut`: the model was stopped while it wrote, so a
    closing bracket is not all that may be missing. Raises ArgumentsError."""
    if not text.strip() and not cut and not schema.get("properties") and not schema.get("required"):
        return {}  # a tool without parameters: there was nothing to say
    arguments = parse(text, cut=cut)
    _check(arguments, schema)
    return arguments


def parse(text: str, *, cut: bool = False) -> dict[str, Any]:
    """The JSON object that `text` is, or unambiguously means. Raises ArgumentsError."""
    try:
        value = _loads(text)
        if isinstance(value, str):  # an object written as a string
            value = _loads(value)
    except json.JSONDecodeError as error:
        if cut or (repaired := _balanced(text)) is None:
            raise ArgumentsError(_not_json(text, error)) from None
        try:
            value = _loads(repaired)
        except json.JSONDecodeError:
            raise ArgumentsError(_not_json(text, error)) from None
    if not isinstance(value, dict):
        raise ArgumentsError(f"the arguments should be a JSON object, not {_kind(value)}")
    try:
        json.dumps(value, allow_nan=False)
        orjson.dumps(value)
    except (ValueError, TypeError):
        # Half of a surrogate pair, 1e999, more than 64 bits, very deep: Python reads them, but they cannot be sent on.
        raise ArgumentsError("the arguments hold a character, a number or a depth that cannot be sent on") from None
    return value


def schema_problem(schema: Mapping[str, Any]) -> str | None:
    """Why `schema` is no usable JSON schema, or None. A tool with such a schema cannot be called."""
    try:
        _validator(orjson.dumps(schema))
    except SchemaError as error:
        return f"{error.json_path}: {_short(error.message)}"
    except Exception as error:  # `$schema: []`, whole numbers of more than 64 bits: each with an exception of its own
        return _short(f"it cannot be read: {error}")
    return None


def _check(arguments: dict[str, Any], schema: Mapping[str, Any]) -> None:
    try:
        # The most relevant one only: alternatives that all failed would be a page.
        error = best_match(_validator(orjson.dumps(schema)).iter_errors(arguments))
    except SchemaError as broken:
        raise ArgumentsError(f"the tool's own schema is broken: {_short(broken.message)}") from None
    except Exception as broken:  # a reference to nowhere or to itself, each with an exception of its own
        raise ArgumentsError(f"the tool's own schema cannot be checked: {_short(str(broken))}") from None
    if isinstance(error, ValidationError):
        where = error.json_path.removeprefix("$").removeprefix(".")
        raise ArgumentsError(f"{where}: {_short(error.message)}" if where else _short(error.message))


@lru_cache(maxsize=512)
def _validator(schema: bytes) -> Validator:
    """Raises SchemaError. References are looked up in the schema itself: the registry fetches nothing."""
    loaded = orjson.loads(schema)
    kind = validator_for(loaded, default=Draft202012Validator)
    kind.check_schema(loaded)
    return kind(loaded, registry=Registry())


def _loads(text: str) -> Any:
    """JSON; within strings control characters may stand as they are. Raises JSONDecodeError or ArgumentsError."""
    try:
        return json.loads(text, strict=False, object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise ArgumentsError("the arguments are nested too deep") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ArgumentsError(f"the key {_short(twice)!r} stands there twice")
    return found


def _refuse(constant: str) -> Any:
    raise ArgumentsError(f"{constant} is not JSON")


def _balanced(text: str) -> str | None:
    """`text` with the brackets at its end as many as are open, or None where that is not all that is wrong."""
    text = text.strip()
    open_, position, end = [], 0, len(text)
    while position < end:
        character = text[position]
        if character == '"':
            if not (string := _STRING.match(text, position)):
                return None  # it ends within a string
            position = string.end()
            continue
        if character in _CLOSERS:
            open_.append(_CLOSERS[character])
        elif character in "}]":
            if not open_:  # whole already: what is left may be nothing but brackets
                return None if text[position:].strip("}] \t\r\n") else text[:position]
            if open_.pop() != character:
                return None
        position += 1
    if not open_ or text[-1].isdigit():
        return None
    return text + "".join(reversed(open_))


def _not_json(text: str, error: json.JSONDecodeError) -> str:
    if not text.strip():
        return "there are no arguments"
    return f"the arguments are not valid JSON: {error.msg} at character {error.pos} of {len(text)}"


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_PROBLEM else text[: _LONGEST_PROBLEM - 1] + "…"
