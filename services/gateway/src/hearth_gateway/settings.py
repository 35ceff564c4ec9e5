"""The gateway's settings: one class, whose attribute docstrings are the manual."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Modality = Literal["text", "image", "audio", "video"]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class SettingsError(ValueError):
    """One or more settings have a value that is not allowed; the message names each of them."""


def _origin(url: str) -> str:
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


class Settings(BaseSettings):
    """Read from `HEARTH_…` environment variables."""

    model_config = SettingsConfigDict(
        env_prefix="HEARTH_", env_ignore_empty=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    engine_url: Annotated[str, AfterValidator(_origin)] = "http://engine:8000"
    """Where the engine listens. A trailing slash or `/v1` is fine."""

    host: str = "127.0.0.1"
    """Address to listen on. In a container: `0.0.0.0`, published as narrowly as you need."""

    port: Annotated[int, Field(ge=1, le=65_535)] = 8080
    """Port to listen on."""

    api_keys_file: Path | None = None
    """File of hashed API keys, one `name:sha256` a line, as `hearth-gateway keys` writes it; it is read again when it
    changes. Unset: everyone who reaches the port may ask. An empty file: nobody may."""

    metrics_public: bool = False
    """Whether `/metrics` needs no key where keys are configured. `/healthz` and `/readyz` never need one."""

    cors_origins: Annotated[list[str], NoDecode, BeforeValidator(_words)] = []
    """Web pages (comma-separated origins) that may call the gateway from a browser. Desktop agents need none."""

    modalities: Annotated[list[Modality], NoDecode, BeforeValidator(_words), AfterValidator(_text_first)] = ["text"]
    """What the served model reads (comma-separated): anything else in a message is refused with a clear error. Media
    must come inside the request as `data:` URLs: the stack fetches nothing on a client's behalf."""

    max_body_bytes: Annotated[int, Field(ge=1024)] = 8 * 2**20
    """Largest request body, in bytes."""

    max_choices: Annotated[int, Field(ge=1)] = 4
    """Largest `n`: answers that one request may ask for."""

    max_logprobs: Annotated[int, Field(ge=0)] = 20
    """Largest `top_logprobs` (chat) or `logprobs` (completions)."""

    max_grammar_bytes: Annotated[int, Field(ge=0)] = 65_536
    """Largest schema that the engine is asked to compile for structured output or a forced tool call, in bytes."""

    max_pattern_bytes: Annotated[int, Field(ge=0)] = 2048
    """Largest `regex` or `grammar` in `structured_outputs`, in bytes: short ones can already be costly."""

    connect_timeout: Seconds = 3
    """Seconds to wait for a connection to the engine; then 503."""

    engine_timeout: Seconds = 600
    """Seconds without a byte from the engine, queueing there included; then 504, or an error event in a stream."""

    ready_within: Seconds = 60
    """Seconds for which a token that the engine produced proves it ready; after them `/readyz` asks for a new one."""

    ready_timeout: Seconds = 20
    """Seconds that `/readyz` waits for that token."""

    shutdown_grace: Annotated[int, Field(ge=0)] = 30
    """Seconds for which running answers may finish when the gateway is told to stop."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged to standard error. Prompts, answers and keys never are."""


def load(**values: Any) -> Settings:
    """The settings from the environment, `values` first. Raises SettingsError naming each bad setting."""
    try:
        return Settings(**values)
    except ValidationError as error:
        lines = (
            f"HEARTH_{str(problem['loc'][0]).upper()}={problem['input']!r}: {problem['msg']}"
            for problem in error.errors()
        )
        raise SettingsError("\n".join(lines)) from None


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
