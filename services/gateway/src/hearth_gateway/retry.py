"""Asking again: what the engine's side lost before its client heard anything of the answer.

That is safe because a completion is computing and nothing else: at worst it is computed twice. It is not done for what
the engine answered (a bad request stays one), nor for what takes too long (it would take as long again); and not often,
since a request may itself be what ends engines.
"""

import asyncio
import random
from time import monotonic

from hearth_gateway.errors import Problem, has_error_shape
from hearth_gateway.metrics import Metrics
from hearth_gateway.settings import Settings

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


class Lost(Problem):
    """The engine could not be reached, or was lost on the way."""


def is_lost(status: int, body: bytes) -> bool:
    """Whether an answer is a router's whose engine could not be reached, or went away. (A 500 of the engine itself says
    so in the shape of its errors.)"""
    return status in (502, 503) or (status == 500 and not has_error_shape(body))


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

    __slots__ = ("_made", "_retries", "_until")

    def __init__(self, retries: Retries) -> None:
        self._retries, self._made, self._until = retries, 0, 0.0

    @property
    def left(self) -> bool:
        """Whether `again` would wait for another attempt."""
        return self._made < self._retries.most and (not self._until or monotonic() < self._until)

    async def again(self, lost: Lost) -> None:
        """Wait until it is time for the next attempt. Raises `lost` when there is none: enough were made, or they
        failed for too long. The pauses double, and are shortened at random: those who lost an engine together should
        not come back together."""
        if not self.left:
            raise lost
        self._until = self._until or monotonic() + self._retries.seconds
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._made)
        self._made += 1
        self._retries.metrics.engine_retries.labels(lost.code).inc()
        await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
