"""A circuit breaker: after several failures in a row a tool is not called for a while, then once to see."""

import time
from collections.abc import Callable
from enum import StrEnum

FAILURES = 5
COOLDOWN = 30.0


class Circuit(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Closed: calls pass. Open, after `failures` in a row: none does for `cooldown` seconds. Half-open after that: one
    passes, and closes it or opens it again.

    Each call that was admitted ends with one of `succeeded`, `failed` or, without a verdict, `left`.
    """

    def __init__(
        self, failures: int = FAILURES, cooldown: float = COOLDOWN, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self._cooldown, self._clock = failures, cooldown, clock
        self._in_a_row = 0
        self._opened: float | None = None
        self._trial = False

    @property
    def circuit(self) -> Circuit:
        if self._opened is None:
            return Circuit.CLOSED
        return Circuit.OPEN if self.opens_in > 0 else Circuit.HALF_OPEN

    @property
    def opens_in(self) -> float:
        """Seconds until a call may pass again; 0 when one may now, or when the one that may is on its way."""
        return 0.0 if self._opened is None else max(0.0, self._opened + self._cooldown - self._clock())

    def admit(self) -> bool:
        """Whether a call may pass now."""
        match self.circuit:
            case Circuit.CLOSED:
                return True
            case Circuit.HALF_OPEN if not self._trial:
                self._trial = True
                return True
            case _:
                return False

    def succeeded(self) -> None:
        self._in_a_row, self._opened, self._trial = 0, None, False

    def failed(self) -> None:
        self._in_a_row += 1
        if self._in_a_row >= self._limit:
            self._opened = self._clock()
        self._trial = False

    def left(self) -> None:
        """The caller went away, or the failure was not the tool's."""
        self._trial = False
