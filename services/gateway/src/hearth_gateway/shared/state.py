"""The connection to Redis, and what becomes of a request while there is none.

Nothing waits long for it: it is near, so it answers within a second or counts as down, and then it is left alone for
a second. What each user of it does meanwhile is its own business: limits are kept by each gateway for itself, a stored
response cannot be read.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from hearth_gateway.metrics import Metrics
from hearth_gateway.settings import SettingsError

PREFIX = "hearth:"
_PATIENCE = 1.0  # seconds for a connection and for an answer
_PAUSE = 1.0  # seconds without asking, after it failed

log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Unavailable(Exception):  # noqa: N818 - a state, not a mistake
    """The shared state cannot be reached, or refuses."""


class SharedState:
    """Use as an async context manager."""

    def __init__(self, url: str, password_file: Path | None, metrics: Metrics) -> None:
        """Raises SettingsError when the password cannot be read."""
        try:
            password = password_file.read_text("utf-8").strip() if password_file else None
        except OSError as error:
            raise SettingsError(f"HEARTH_SHARED_STATE_PASSWORD_FILE={password_file}: {error.strerror}") from None
        # One more try, at once: a connection that Redis closed while it was idle says nothing about Redis.
        retry = Retry(NoBackoff(), 1)
        try:
            self._redis: Redis = Redis.from_url(
                url, password=password, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE, retry=retry
            )
        except ValueError as error:
            raise SettingsError(f"HEARTH_SHARED_STATE_URL: {error}") from None
        self._metrics = metrics
        self._left_alone_until = float("-inf")
        self._down = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Raises SettingsError when Redis cannot be asked: two gateways that each think they are alone would be worse
        than one that does not start."""
        try:
            await self._redis.ping()  # type: ignore[misc]  # its stubs are those of the synchronous client, too
        except (RedisError, OSError) as error:
            raise SettingsError(f"HEARTH_SHARED_STATE_URL: {_reason(error)}") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*self._tasks)
        await self._redis.aclose()

    async def ask(self, what: str, question: Callable[[Any], Awaitable[_T]]) -> _T:
        """What `question` gets from the client it is called with. `what`: for the metrics. Raises Unavailable."""
        if monotonic() < self._left_alone_until:
            self._metrics.shared_state_errors.labels(what).inc()
            raise Unavailable
        try:
            answer = await question(self._redis)
        except (RedisError, OSError) as error:
            self._metrics.shared_state_errors.labels(what).inc()
            self._left_alone_until = monotonic() + _PAUSE
            if not self._down:
                log.error("the shared state cannot be asked, each gateway goes on by itself: %s", _reason(error))
            self._down = True
            raise Unavailable from None
        if self._down:
            self._down = False
            log.warning("the shared state answers again")
        return answer

    def later(self, work: Awaitable[None]) -> None:
        """Do it while nobody waits for it; the end of the gateway does."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def secret(self, name: str, proposed: bytes) -> bytes:
        """The secret of that name: `proposed`, for whoever asks first. Raises SettingsError."""

        async def question(redis: Any) -> bytes:
            await redis.set(PREFIX + name, proposed, nx=True)
            found: bytes = await redis.get(PREFIX + name)
            return found

        try:
            return await self.ask("secret", question)
        except Unavailable:
            raise SettingsError("HEARTH_SHARED_STATE_URL: it went away during the start") from None


def _reason(error: BaseException) -> str:
    """Redis never repeats a password in what it says."""
    return f"{type(error).__name__}: {error}"
