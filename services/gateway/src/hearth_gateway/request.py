"""What a client may ask of the engine: bytes in, checked bytes out, no I/O.

A parameter has one of three fates. It is **forwarded** when it is on the list below. It is **refused** when it is
dangerous and the client would believe that it was honoured. Everything else, and every null, is **dropped**: clients
send fields of other vendors (`thinking`, `stop_sequences`), and an answer without them is what those clients expect.
The engine itself takes any parameter it knows from anyone, so this list is the only guard.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from hearth_gateway.catalog import Catalog
from hearth_gateway.errors import Problem, bad_request
from hearth_gateway.settings import Settings

_SAMPLING = {
    "frequency_penalty", "ignore_eos", "include_stop_str_in_output", "logit_bias", "logprobs", "max_tokens", "min_p",
    "model", "n", "presence_penalty", "repetition_penalty", "response_format", "seed", "skip_special_tokens", "stop",
    "stop_token_ids", "stream", "stream_options", "structured_outputs", "temperature", "top_k", "top_p",
}  # fmt: skip

_CHAT = {"max_completion_tokens", "messages", "parallel_tool_calls", "reasoning_effort", "tool_choice", "tools",
         "top_logprobs"}  # fmt: skip

_GUIDED = "the engine ignores it; use structured_outputs or response_format"
_REFUSED = {
    "allowed_token_ids": "tokens are not chosen by id",
    "audio": "this server answers with text",
    "bad_words": "it slows every step of the engine",
    "best_of": "the engine has no such search; use n",
    "cache_salt": "the prefix cache is managed by the server",
    "chat_template": "the model's own chat template is used",
    "chat_template_kwargs": "the model's own chat template is used",
    "continue_final_message": "the model's own chat template is used",
    "documents": "put documents into the messages",
    "echo": "the prompt is not repeated",
    "ec_transfer_params": "it is internal to the engine",
    "function_call": "use tool_choice",
    "functions": "use tools",
    "guided_choice": _GUIDED,
    "guided_grammar": _GUIDED,
    "guided_json": _GUIDED,
    "guided_regex": _GUIDED,
    "kv_transfer_params": "it is internal to the engine",
    "logprob_token_ids": "use top_logprobs",
    "media_io_kwargs": "it is internal to the engine",
    "min_tokens": "answers end where the model ends them; use max_tokens to bound them",
    "mm_processor_kwargs": "it is internal to the engine",
    "priority": "requests are served in order",
    "prompt_embeds": "prompts are text",
    "prompt_logprobs": "log probabilities are given for the answer only",
    "suffix": "the model does not fill in the middle",
    "truncate_prompt_tokens": "a prompt is never cut silently",
    "use_beam_search": "use n",
    "vllm_xargs": "it is internal to the engine",
}
_INERT = {"best_of": 1}  # beside what is false, zero or empty

_TEXT_PARTS = {"text", "input_text", "output_text", "refusal", "thinking"}
# Whatever its type says, the engine takes media from a part's other keys where it finds a `uuid`: so keys are listed.
_TEXT_KEYS = _TEXT_PARTS | {"type", "cache_control", "annotations"}
_MEDIA_PARTS = {"image_url": "image", "video_url": "video", "audio_url": "audio", "input_audio": "audio"}


# What Python makes of a body takes up to thirty times its bytes where it is `{"":0},{"":0},…`. A body has no more
# values than commas and brackets, and in text there are fewer of those than any context holds.
_MOST_VALUES = 250_000

# What a schema may count to, and a pattern all in all.
_MOST_REPEATED = {
    "minItems": 1000, "maxItems": 1000, "minContains": 1000, "maxContains": 1000, "minProperties": 1000,
    "maxProperties": 1000, "minLength": 10_000, "maxLength": 10_000,
}  # fmt: skip
_MOST_TIMES = 100_000
_REPETITION = re.compile(r"[{,]\s*(\d+)\s*(?=[,}])")

# The engine looks for each of these in every step.
_MOST_ENTRIES = {"logit_bias": 1024, "stop": 64, "stop_token_ids": 256}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of the engine's two text resources and what it takes."""

    path: str
    forwarded: frozenset[str]


CHAT = Endpoint("/v1/chat/completions", frozenset(_SAMPLING | _CHAT))
COMPLETIONS = Endpoint("/v1/completions", frozenset(_SAMPLING | {"prompt"}))


def clean(given: Mapping[str, Any], endpoint: Endpoint, catalog: Catalog, settings: Settings) -> bytes:
    """The JSON body that the engine gets for what the client sent. Raises Problem 400 or 404.

    It is written anew even when nothing was dropped: so the engine's parser sees what was checked here, whatever it
    makes of repeated keys, and a body nested too deep for it fails here.
    """
    return dump(checked(given, endpoint, catalog, settings))


def parse(raw: bytes) -> dict[str, Any]:
    """The object that a client sent. Raises Problem 400."""
    if len(raw) > _MOST_VALUES and raw.count(b",") + raw.count(b"[") + raw.count(b"{") > _MOST_VALUES:
        raise bad_request(f"The body has more than {_MOST_VALUES} values.", code="too_many_values")
    try:
        given = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"The body is not valid JSON: {error}.", code="invalid_json") from None
    if not isinstance(given, dict):
        raise bad_request("The body should be a JSON object.", code="invalid_json")
    return given


def dump(body: Any) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise bad_request("The body is nested too deep.", code="invalid_json") from None


def checked(given: Mapping[str, Any], endpoint: Endpoint, catalog: Catalog, settings: Settings) -> dict[str, Any]:
    """What of a client's request goes to the engine. Raises Problem 400 or 404."""
    body = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in endpoint.forwarded:
            body[name] = value
        elif value and value != _INERT.get(name) and (reason := _REFUSED.get(name)):
            raise bad_request(f"{name} is not supported: {reason}.", name, "unsupported_parameter")

    _check_model(body, catalog)
    if body.get("tools") == []:  # some clients always send the list; the engine refuses an empty one
        del body["tools"]
    if body.get("tool_choice") in ("auto", "none") and "tools" not in body:
        del body["tool_choice"]
    if endpoint is CHAT:
        _check_messages(body.get("messages"), settings.modalities)
        _check_count(body, "top_logprobs", 0, settings.max_logprobs)
    else:
        _check_prompt(body.get("prompt"))
        _check_count(body, "logprobs", 0, settings.max_logprobs)
    _check_count(body, "n", 1, settings.max_choices)
    for name, most in _MOST_ENTRIES.items():
        if isinstance(entries := body.get(name), list | dict) and len(entries) > most:
            raise bad_request(f"{name} has {len(entries)} entries, at most {most}.", name)
    _check_grammars(body, settings)
    _clamp(body, catalog.context_length)
    return body


def _check_model(body: dict[str, Any], catalog: Catalog) -> None:
    model = body.get("model", "")
    if not isinstance(model, str):
        raise bad_request("model should be a string.", "model", "invalid_type")
    if not (names := catalog.names):
        return
    if not model:
        body["model"] = names[0]
    elif model not in names:
        known = ", ".join(names)
        raise Problem(404, f"The model {model!r} is not served here. Served: {known}.", code="model_not_found",
                      param="model")  # fmt: skip


def _check_messages(messages: Any, modalities: list[Any]) -> None:
    if not isinstance(messages, list) or not messages:
        raise bad_request("messages should be a list of at least one message.", "messages", "invalid_type")
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise bad_request(f"{where} should be an object with role and content.", where, "invalid_type")
        content = message.get("content")
        if content is None or isinstance(content, str):
            continue
        if not isinstance(content, list):
            raise bad_request(f"{where}.content should be a string or a list of parts.", where, "invalid_type")
        for part in content:
            if not isinstance(part, str):
                check_part(part, f"{where}.content", modalities)


def check_part(part: Any, where: str, modalities: list[Any]) -> None:
    if not isinstance(part, dict) or not isinstance(kind := part.get("type"), str):
        raise bad_request(f"{where}: each part should be an object with a type.", where, "invalid_type")
    if kind in _TEXT_PARTS:
        if extra := part.keys() - _TEXT_KEYS:
            raise bad_request(f"{where}: a part of type {kind} has no {min(extra)}.", where)
        return
    if _MEDIA_PARTS.get(kind) not in modalities:
        reads = ", ".join(modalities) + (" only" if len(modalities) == 1 else "")
        raise bad_request(f"{where}: this model reads {reads}, it cannot take a part of type {kind}.", where,
                          "unsupported_content")  # fmt: skip
    if extra := part.keys() - {"type", kind, "cache_control", "detail"}:
        raise bad_request(f"{where}: a part of type {kind} has no {min(extra)}.", where)
    if kind.endswith("_url"):
        media = part.get(kind)
        url = media.get("url") if isinstance(media, dict) else media
        if not isinstance(url, str) or not url.startswith("data:"):
            raise bad_request(f"{where}: {kind} should be a data: URL, nothing is fetched from elsewhere.", where)


def _check_prompt(prompt: Any) -> None:
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise bad_request("prompt should be one string.", "prompt", "invalid_type")


def _check_count(body: Mapping[str, Any], name: str, low: int, high: int) -> None:
    value = body.get(name, low)
    if type(value) is not int or not low <= value <= high:  # strict: the engine would also read "100" and 1e2
        raise bad_request(f"{name} should be a whole number between {low} and {high}.", name)


def _check_grammars(body: Mapping[str, Any], settings: Settings) -> None:
    """Bound what the engine would compile: that is work before the first token, and it blocks other requests."""
    response_format = body.get("response_format")
    if isinstance(response_format, dict):
        if response_format.get("type") not in ("text", "json_object", "json_schema"):
            raise bad_request("response_format.type should be text, json_object or json_schema.", "response_format")
        _check_size(response_format, "response_format", settings.max_grammar_bytes)
        _check_repetition(response_format, "response_format", settings)
    if outputs := body.get("structured_outputs"):
        known = {"json", "json_object", "choice", "regex", "grammar"}
        if not isinstance(outputs, dict) or not outputs.keys() <= known:
            raise bad_request(f"structured_outputs may have {', '.join(sorted(known))}.", "structured_outputs")
        _check_size(outputs, "structured_outputs", settings.max_grammar_bytes)
        for name in ("regex", "grammar"):
            _check_size(outputs.get(name), f"structured_outputs.{name}", settings.max_pattern_bytes)
            if isinstance(pattern := outputs.get(name), str):
                where = f"structured_outputs.{name}"
                _check_pattern(pattern, where, where, settings)
        schema = outputs.get("json")
        _check_repetition(_written(schema) if isinstance(schema, str) else schema, "structured_outputs", settings)
    choice, tools = body.get("tool_choice", "auto"), body.get("tools")
    if choice != "none" and (choice != "auto" or _any_strict(tools)):
        _check_size(tools, "tools", settings.max_grammar_bytes)
        _check_repetition(tools, "tools", settings)


def _written(schema: str) -> Any:
    """The schema in a text; None where it has none, which the engine says."""
    try:
        return orjson.loads(schema)
    except orjson.JSONDecodeError:
        return None


def _check_repetition(value: Any, name: str, settings: Settings) -> None:
    """Bound what a schema says in few bytes and the compiler writes out: a list of 10^9 items ended the engine."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as part:
                for key, inner in part.items():
                    most = _MOST_REPEATED.get(key)
                    if most is not None and isinstance(inner, int | float) and inner > most:
                        raise bad_request(f"{name}: {key} should be at most {most}.", name)
                    if key == "pattern" and isinstance(inner, str):
                        _check_pattern(inner, f"{name}: pattern", name, settings)
                    if key == "patternProperties" and isinstance(inner, dict):
                        for pattern in inner:
                            _check_pattern(pattern, f"{name}: patternProperties", name, settings)
                waiting += part.values()
            case list() as part:
                waiting += part


def _check_pattern(pattern: str, what: str, name: str, settings: Settings) -> None:
    if len(pattern.encode()) > settings.max_pattern_bytes:
        raise bad_request(f"{what} is too large, at most {settings.max_pattern_bytes} bytes.", name)
    times = 1
    for count in _REPETITION.findall(pattern):
        times *= max(1, int(count[:9]))
        if len(count) > 9 or times > _MOST_TIMES:
            raise bad_request(f"{what} repeats too often: its counts together at most {_MOST_TIMES} times.", name)


def _any_strict(tools: Any) -> bool:
    """Whether one of a request's tools has a grammar even where the model may choose."""
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return any(isinstance(function, dict) and function.get("strict") for function in functions)


def _check_size(value: Any, name: str, limit: int) -> None:
    try:
        size = len(orjson.dumps(value)) if value is not None else 0
    except orjson.JSONEncodeError:
        raise bad_request(f"{name} is nested too deep.", name) from None
    if size > limit:
        raise bad_request(f"{name} is too large: {size} bytes, at most {limit}.", name)


def _clamp(body: dict[str, Any], context_length: int | None) -> None:
    """Lower an answer's bound to the context. The engine refuses a larger one, and itself lowers any other to what
    the prompt leaves: so this is exact, and nothing needs to be counted here."""
    for name in ("max_tokens", "max_completion_tokens"):
        value = body.get(name)
        if context_length and isinstance(value, int | float) and value > context_length:
            body[name] = context_length
