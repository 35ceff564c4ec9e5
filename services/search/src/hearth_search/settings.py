"""The search server's settings: one class, whose attribute docstrings are the manual."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Provider = Literal["local", "searxng", "tavily", "duckduckgo"]


class SettingsError(ValueError):
    """One or more settings have a value that is not allowed; the message names each of them."""


def _base(url: str) -> str:
    scheme, separator, host = url.partition("://")
    if scheme not in ("http", "https") or not separator or not host or set(host) & set("?#@ "):
        raise ValueError("should look like https://host or http://host:port/path")
    return url.rstrip("/")


class Settings(BaseSettings):
    """Read from `HEARTH_SEARCH_…` environment variables."""

    model_config = SettingsConfigDict(
        env_prefix="HEARTH_SEARCH_",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        validate_by_name=True,
    )

    provider: Provider = "local"
    """Where to search: `local` (the documents in the workspace, offline), `searxng` (an instance of yours), `tavily`,
    or `duckduckgo` (its Instant Answer API: encyclopedic answers and related topics, not the whole web)."""

    url: Annotated[str, AfterValidator(_base)] | None = None
    """Address of the search service. `searxng` needs one, and its `settings.yml` must list `json` under
    `search.formats`. Default: the service's own. In the stack its host must be in `HEARTH_EGRESS_ALLOW` (or
    `HEARTH_EGRESS_PRIVATE`), the only way out."""

    api_key: SecretStr | None = None
    """Key for `tavily`. A file is the better place: see `HEARTH_SEARCH_API_KEY_FILE`."""

    api_key_file: Path | None = None
    """File that holds the key for `tavily`, read at each search."""

    timeout: Annotated[float, Field(gt=0, le=120)] = 10
    """Seconds to wait for a search service; then the tool answers with an error."""

    workspace: Path = Path("/workspace")
    """Folder whose documents `local` finds. Links in it are never followed, hidden files and folders never read."""

    index: Path = Path("/index/search.sqlite")
    """File of the full-text index. It is brought up to date before each search, and may be deleted at any time."""

    max_documents: Annotated[int, Field(ge=1, le=1_000_000)] = 5000
    """Documents that are indexed; of more, those first in order of their paths."""

    max_file_bytes: Annotated[int, Field(ge=1024)] = 16 * 2**20
    """Largest file that is read, in bytes; larger ones are found by their name only."""

    max_characters: Annotated[int, Field(ge=1000)] = 200_000
    """Characters of a document that are indexed; the rest of a longer one is not found."""

    snippet_characters: Annotated[int, Field(ge=40, le=4000)] = 300
    """Length of the extract that a result shows, in characters."""

    host: str = "127.0.0.1"
    """Address to listen on, where no socket is given."""

    port: Annotated[int, Field(ge=1, le=65_535)] = 8000
    """Port to listen on, where no socket is given."""

    socket: Annotated[Path | None, Field(validation_alias="HEARTH_SOCKET")] = None
    """Unix socket to listen on, instead of a port. The image sets it: it needs no network to be reached."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.provider == "searxng" and self.url is None:
            raise ValueError("HEARTH_SEARCH_URL should name the instance that HEARTH_SEARCH_PROVIDER=searxng asks")
        if self.provider == "tavily" and self.api_key is None and self.api_key_file is None:
            raise ValueError("HEARTH_SEARCH_API_KEY_FILE should name a file with tavily's key")
        return self


def load(**values: Any) -> Settings:
    """The settings from the environment, `values` first. Raises SettingsError naming each bad setting."""
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError("\n".join(map(_problem, error.errors()))) from None


def _problem(problem: Any) -> str:
    if not problem["loc"]:
        return str(problem["msg"]).removeprefix("Value error, ")
    return f"{_variable(str(problem['loc'][0]))}={problem['input']!r}: {problem['msg']}"


def manual() -> list[tuple[str, str, str]]:
    """(variable, default, what it does) of every setting, in order."""
    return [
        (
            _variable(name),
            "" if field.default is None else str(field.default),
            " ".join((field.description or "").split()),
        )
        for name, field in Settings.model_fields.items()
    ]


def _variable(name: str) -> str:
    return "HEARTH_SOCKET" if name in ("socket", "HEARTH_SOCKET") else f"HEARTH_SEARCH_{name.upper()}"
