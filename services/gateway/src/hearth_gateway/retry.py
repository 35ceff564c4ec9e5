"""Asking again: what the engine's side lost before its client heard anything of the answer.

That is safe because a completion is computing and nothing else: at worst it is computed twice. It is not done for what
the engine answered (a bad request stays one), nor for what takes too long (it would take as long again). A request that
never reached an engine is tried for a while; one that may have is not often, since it may itself be what ends engines.
"""

import asyncio
import random
from time import monotonic
from typing import Any

from hearth_gateway.errors import Problem, has_error_shape
from hearth_gateway.metrics import Metrics
from hearth_gateway.settings import Settings

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


class Lost(Problem):
    """The engine could not be reached, or was lost on the way. `reached`: an engine may have begun with the request."""

    def __init__(self, status: int, message: str, *, code: str, reached: bool, **more: Any) -> None:
        super().__init__(status, message, code=code, **more)
        self.reached = reached


def in_transit(status: int, body: bytes) -> Lost | None:
    """An answer that is a router's, whose engine could not be reached or went away. (A 500 of the engine itself says so
    in the shape of its errors; a router answers 503 when it has no engine to ask.)"""
    if status in (502, 503) or (status == 500 and not has_error_shape(body)):
        return Lost(status, f"The engine answered {status}.", code="engine_error", reached=status != 503)
    return None


class Retries:
    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.most, self.seconds, self.metrics = settings.engine_retries, settings.retry_seconds, metrics

    def begin(self) -> "Attempts":
        return Attempts(self)


class Attempts:
    """At one request.

    attempts = retries.begin()
    while True:
        try:
            return await …       # raises Lost only as long as the client has heard nothing
        except Lost as lost:
            await attempts.again(lost)
    """

    __slots__ = ("_made", "_reached", "_retries", "_until")

    def __init__(self, retries: Retries) -> None:
        self._retries, self._made, self._reached, self._until = retries, 0, 0, 0.0

    def left(self, lost: Lost) -> bool:
        """Whether `again` would wait for another attempt."""
        retries = self._retries
        in_time = monotonic() < self._until if self._until else retries.seconds > 0
        return in_time and (not lost.reached or self._reached < retries.most)

    async def again(self, lost: Lost) -> None:
        """Wait until it is time for the next attempt. Raises `lost` when there is none. The pauses double, and are
        shortened at random: those who lost an engine together should not come back together."""
        if not self.left(lost):
            raise lost
        self._until = self._until or monotonic() + self._retries.seconds
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._made)
        self._made += 1
        self._reached += lost.reached
        self._retries.metrics.engine_retries.labels(lost.code).inc()
        await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
