"""The gateway's settings: one class, whose attribute docstrings are the manual."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Modality = Literal["text", "image", "audio", "video"]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class SettingsError(ValueError):
    """One or more settings have a value that is not allowed; the message names each of them."""


def origin(url: str) -> str:
    """`http://host:port`, whether or not a slash or `/v1` was typed after it."""
    url = url.rstrip("/").removesuffix("/v1").rstrip("/")
    scheme, separator, host = url.partition("://")
    if scheme not in ("http", "https") or not separator or not host or set(host) & set("/?#@ "):
        raise ValueError("should look like http://host:port")
    return url


def _words(value: Any) -> Any:
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def _text_first(value: list[Modality]) -> list[Modality]:
    if "text" not in value:
        raise ValueError("should contain text")
    return value


def _shared(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if scheme not in ("redis", "rediss", "unix") or not separator or not rest:
        raise ValueError("should look like redis://host:6379, rediss://host:6379 or unix:///socket")
    if "@" in rest:
        raise ValueError("should have no user or password in it: HEARTH_SHARED_STATE_PASSWORD_FILE has the password")
    return url


class Settings(BaseSettings):
    """Read from `HEARTH_…` environment variables."""

    model_config = SettingsConfigDict(
        env_prefix="HEARTH_", env_ignore_empty=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    engine_url: Annotated[str, AfterValidator(origin)] = "http://engine:8000"
    """Where the engine listens. A trailing slash or `/v1` is fine."""

    control_socket: Path | None = None
    """Unix socket where `hearth-gateway route` tells the running gateway to ask another engine. Unset: nothing can."""

    host: str = "127.0.0.1"
    """Address to listen on. In a container: `0.0.0.0`, published as narrowly as you need."""

    port: Annotated[int, Field(ge=1, le=65_535)] = 8080
    """Port to listen on."""

    api_keys_file: Path | None = None
    """File of hashed API keys, one `name:sha256` a line, as `hearth-gateway keys` writes it; it is read again when it
    changes. Unset: everyone who reaches the port may ask. An empty file: nobody may."""

    tools_file: Path | None = None
    """The tool servers, in a file hearth.tools.yaml; it is read again when it changes or on SIGHUP, and a mistake in it
    leaves the tools as they were. Unset: the gateway has no tools of its own, and passes those of clients on."""

    metrics_public: bool = False
    """Whether `/metrics` needs no key where keys are configured. `/healthz` and `/readyz` never need one."""

    cors_origins: Annotated[list[str], NoDecode, BeforeValidator(_words)] = []
    """Web pages (comma-separated origins) that may call the gateway from a browser. Desktop agents need none."""

    shared_state_url: Annotated[str, AfterValidator(_shared)] | None = None
    """Redis that several gateways share: `redis://host:6379/0`, `rediss://…` with TLS or `unix:///socket`. It then has
    the rates of each key, what `/v1/responses` answered, and the key of approvals unless a file has it. Unset: each
    gateway has its own. While Redis is down, rates hold for each gateway alone, and stored responses are 503."""

    shared_state_password_file: Path | None = None
    """File with its password."""

    approval_key_file: Path | None = None
    """File of at least 32 secret bytes that sign the approval requests of tool calls, the same for every process that
    should take them. Unset: a key that the gateways share, where they share state; else one of the process's own, so
    that a restart forgets what was asked."""

    approval_seconds: Seconds = 900
    """Seconds for which a user may grant or deny a tool call."""

    responses_file: Path | None = None
    """SQLite file that keeps what `/v1/responses` answered, for `previous_response_id`; one for all processes, and it
    holds all that users and the model wrote. Unset: they are kept in memory, and a restart forgets them. In the stack:
    unset is a file in the volume `gateway-data`, empty is in memory."""

    responses_seconds: Seconds = 86_400
    """Seconds for which a response is kept, unless its request says `store: false`."""

    responses_bytes: Annotated[int, Field(ge=2**20)] = 2**26
    """Bytes of all of them together, compressed; the oldest go first. In a shared state: of one of them."""

    modalities: Annotated[list[Modality], NoDecode, BeforeValidator(_words), AfterValidator(_text_first)] = ["text"]
    """What the served model reads (comma-separated): anything else in a message is refused with a clear error. Media
    must come inside the request as `data:` URLs: the stack fetches nothing on a client's behalf."""

    max_body_bytes: Annotated[int, Field(ge=1024)] = 8 * 2**20
    """Largest request body, in bytes."""

    max_bodies_bytes: Annotated[int, Field(ge=1024)] = 2**26
    """Bytes of all request bodies together, of requests that wait and of those that are being answered; then 429 with
    Retry-After. One whose length is not told counts as the largest, and one alone always passes. What is made of a body
    takes a few times its own memory."""

    max_choices: Annotated[int, Field(ge=1)] = 4
    """Largest `n`: answers that one request may ask for."""

    max_logprobs: Annotated[int, Field(ge=0)] = 20
    """Largest `top_logprobs` (chat) or `logprobs` (completions)."""

    max_grammar_bytes: Annotated[int, Field(ge=0)] = 65_536
    """Largest schema that the engine is asked to compile for structured output or a forced tool call, in bytes."""

    max_pattern_bytes: Annotated[int, Field(ge=0)] = 2048
    """Largest `regex` or `grammar` in `structured_outputs`, in bytes: short ones can already be costly."""

    max_in_flight: Annotated[int, Field(ge=1)] = 64
    """Requests that the engine is asked at once; more wait here, where each key gets its share. More than the engine's
    `HEARTH_MAX_NUM_SEQS` only moves the queue into the engine. In the stack it is that number unless it is set."""

    max_queued: Annotated[int, Field(ge=0)] = 256
    """Requests that may wait for a place among those; then 429 with Retry-After. A full queue makes room for a key with
    few in it by giving up the last of the key with the most."""

    queue_timeout: Seconds = 120
    """Seconds that a request may wait there; then 503."""

    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Requests that each key may make in a minute (everyone together where no keys are configured), all of them at once
    if it likes; then 429. Unset: no limit."""

    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Tokens, prompt and answer, that each key may use in a minute. They are known after an answer: the key that used
    more waits until the minute has made up for it. Where an answer does not tell (a stream without
    `stream_options.include_usage`, or one broken off) they are estimated: an event is a token, and so are four bytes of
    the request."""

    batch_window_ms: Annotated[float, Field(ge=0, le=1000)] = 0
    """Milliseconds for which the first request of a burst is held, so that the burst enters one step of the engine
    together. 0: not at all."""

    client_timeout: Seconds = 60
    """Seconds for which a client may take nothing of an answer that waits for it; then its connection is closed: it
    would keep its place at the engine."""

    connect_timeout: Seconds = 3
    """Seconds to wait for a connection to the engine; then 503."""

    engine_timeout: Seconds = 600
    """Seconds without a byte from the engine, queueing there included; then 504, or an error event in a stream."""

    engine_retries: Annotated[int, Field(ge=0, le=100)] = 3
    """How often a request is asked again that the engine's side lost (no connection, one that broke off, 502, 503, a
    router's own 500) before its client heard anything of the answer: after 0.1 s, then twice as long each time, at most
    1 s. Never when the engine answered otherwise or took too long."""

    retry_seconds: Seconds = 5
    """Seconds after the first loss within which that is done."""

    ready_within: Seconds = 5
    """Seconds for which a token that the engine produced proves it ready; after them `/readyz` asks for a new one."""

    ready_timeout: Seconds = 20
    """Seconds that `/readyz` waits for that token."""

    shutdown_grace: Annotated[int, Field(ge=0)] = 30
    """Seconds for which running answers may finish when the gateway is told to stop."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged to standard error. Keys never are, prompts and answers only where HEARTH_LOG_REQUESTS says so."""

    log_format: Literal["json", "text"] = "json"
    """`json`: one object a line, with the request's id; `text`: for people."""

    log_requests: Literal["none", "summary", "bodies"] = "none"
    """What is logged of each request, at the level info: nothing; who asked what and how it ended, without any text of
    it; or also the body that the engine got, with all that its user wrote."""

    tracing: bool = False
    """Whether OpenTelemetry traces are sent: a span for the request, one in it for each exchange with the engine (which
    gets its `traceparent`) and each tool call. Where to: the standard `OTEL_…` variables, for example
    `OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318` (HTTP)."""

    replay_log: Path | None = None
    """File that takes every request to the engine, its answer and every tool result, byte by byte:
    `hearth-gateway replay FILE` reproduces the conversations from it. It holds all that users and the model wrote. In
    the stack: a file in `/var/lib/hearth`, the volume `gateway-data`."""

    replay_log_bytes: Annotated[int, Field(ge=2**20)] = 2**28
    """Size at which that file becomes FILE.1, replacing the one before: at most twice this is kept."""


def load(**values: Any) -> Settings:
    """The settings from the environment, `values` first. Raises SettingsError naming each bad setting."""
    try:
        return Settings(**values)
    except ValidationError as error:
        lines = (
            f"HEARTH_{str(problem['loc'][0]).upper()}={_told(problem['input'])}: {problem['msg']}"
            for problem in error.errors()
        )
        raise SettingsError("\n".join(lines)) from None


def _told(given: Any) -> str:
    """A value as an error shows it: without what stands where a URL has its password."""
    return re.sub(r"(://)[^/]*@", r"\1…@", repr(given))


def manual() -> list[tuple[str, str, str]]:
    """(variable, default, what it does) of every setting, in order."""
    return [
        (f"HEARTH_{name.upper()}", _shown(field.default), " ".join((field.description or "").split()))
        for name, field in Settings.model_fields.items()
    ]


def _shown(default: Any) -> str:
    if isinstance(default, list):
        return ",".join(default)
    return "" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
