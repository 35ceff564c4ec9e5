"""The search services on the web: what is asked of each, and what its answer means."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import httpx2

from hearth_search.result import Answer, Result, SearchError
from hearth_search.settings import Settings

MAX_ANSWER_BYTES = 4 * 2**20
_DEFAULTS = {"tavily": "https://api.tavily.com", "duckduckgo": "https://api.duckduckgo.com"}


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    url: str
    params: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    json: dict[str, Any] | None = None


def request(provider: str, base: str, key: str, query: str, max_results: int) -> Request:
    """What is asked. searxng has no parameter for the number of results; duckduckgo neither."""
    if provider == "searxng":
        return Request("GET", f"{base}/search", {"q": query, "format": "json"})
    if provider == "tavily":
        return Request(
            "POST", f"{base}/search", headers={"Authorization": f"Bearer {key}"},
            json={"query": query, "max_results": max_results, "search_depth": "basic"},
        )  # fmt: skip
    return Request("GET", f"{base}/", {"q": query, "format": "json", "no_html": "1", "skip_disambig": "1"})


def results(provider: str, answer: Any, max_results: int) -> list[Result]:
    """What was found. Raises SearchError where the answer is of another shape."""
    try:
        found = _instant(answer) if provider == "duckduckgo" else _listed(answer)
        return [result for result in found if result.location][:max_results]
    except (KeyError, TypeError, AttributeError):
        raise SearchError(f"{provider} answered in a form that is not its documented one") from None


def _listed(answer: Any) -> Iterator[Result]:
    """searxng and tavily: `results`, each with `title`, `url` and `content`."""
    for item in answer["results"]:
        yield Result(_text(item.get("title")), item["url"], _text(item.get("content")))


def _instant(answer: Any) -> Iterator[Result]:
    """duckduckgo's Instant Answer: an abstract, direct results, and topics that may stand in groups."""
    heading = _text(answer.get("Heading"))
    yield Result(heading, answer.get("AbstractURL", ""), _text(answer["AbstractText"]))
    topics = [*answer.get("Results", []), *answer["RelatedTopics"]]
    for topic in topics:
        for item in topic.get("Topics", [topic]):
            text = _text(item["Text"])
            yield Result(text.partition(" - ")[0][:120], item["FirstURL"], text)


def _text(value: Any) -> str:
    return " ".join(unescape(value or "").split())


class Service:
    """The service that the settings name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._base = settings.url or _DEFAULTS[settings.provider]
        # Redirects are not followed: an API has none, and a key must not travel on.
        self._client = httpx2.AsyncClient(timeout=settings.timeout, follow_redirects=False)

    async def search(self, query: str, max_results: int) -> Answer:
        """Raises SearchError."""
        name = self._settings.provider
        asked = request(name, self._base, self._key(), query, max_results)
        try:
            async with (
                asyncio.timeout(self._settings.timeout),  # for all of it: the client's own are for each read
                self._client.stream(
                    asked.method, asked.url, params=asked.params, headers=asked.headers, json=asked.json
                ) as response,
            ):
                body = b""
                async for block in response.aiter_bytes():
                    body += block
                    if len(body) > MAX_ANSWER_BYTES:
                        raise SearchError(f"{name} answered with more than {MAX_ANSWER_BYTES} bytes")
        except (TimeoutError, httpx2.TimeoutException):
            raise SearchError(f"{name} did not answer within {self._settings.timeout:g} s") from None
        except httpx2.ProxyError as error:
            raise SearchError(
                f"{name} is not reachable: the way out refused {asked.url}, see HEARTH_EGRESS_ALLOW ({error})"
            ) from None
        except httpx2.HTTPError as error:
            raise SearchError(f"{name} is not reachable at {self._base}: {type(error).__name__}") from None
        if response.status_code != 200:
            raise SearchError(_refusal(name, response.status_code))
        try:
            answer = json.loads(body)
        except ValueError:
            raise SearchError(f"{name} answered with something that is not JSON; is {self._base} right?") from None
        return Answer(results(name, answer, max_results))

    def _key(self) -> str:
        file = self._settings.api_key_file
        if file is not None:
            try:
                return file.read_text().strip()
            except OSError as error:
                raise SearchError(f"HEARTH_SEARCH_API_KEY_FILE={file}: {error.strerror}") from None
        return self._settings.api_key.get_secret_value() if self._settings.api_key else ""


def _refusal(name: str, status: int) -> str:
    if status in (401, 403):
        hint = (
            "list json under search.formats in its settings.yml" if name == "searxng"
            else "check HEARTH_SEARCH_API_KEY_FILE, or HEARTH_EGRESS_ALLOW where a proxy stands between"
        )  # fmt: skip
        return f"{name} refused the search ({status}): {hint}"
    if status in (429, 432, 433):  # the last two are tavily's: the plan's limit, the pay-as-you-go limit
        return f"{name} allows no more searches for now ({status})"
    return f"{name} failed ({status})"
