"""Which requests may ask the engine now: a bounded number at once, the rest in a bounded queue, in equal shares by key.

`Gate` decides; it knows neither asyncio nor a clock. `Admission` lets a request wait for what it decides.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from math import ceil
from time import monotonic
from types import TracebackType
from typing import Protocol

from hearth_gateway.errors import Problem
from hearth_gateway.metrics import Metrics
from hearth_gateway.settings import Settings

BYTES_OF_A_TOKEN = 4
"""About, for a prompt that nobody counted."""
_LONGEST_ADVICE = 60  # seconds in Retry-After: what a full queue will be like later, nobody knows


@dataclass(frozen=True, slots=True)
class Limits:
    """How many may run at the engine and wait for it, and what each key may use in a minute: None is no limit."""

    running: int
    waiting: int
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class State(Enum):
    WAITING = auto()
    RUNNING = auto()
    PUSHED_OUT = auto()
    """It left the queue to make room for a key that asks for less."""
    GONE = auto()


@dataclass(slots=True, eq=False)
class Ticket:
    """One request's place. `wake` is called when it stops waiting without having left by itself."""

    key: str
    firm: bool = False
    state: State = State.WAITING
    since: float = 0.0
    wake: Callable[[], None] | None = None


class Bucket:
    """A token bucket of a minute's worth, refilled evenly. It may be overdrawn: what an answer costs is known late."""

    __slots__ = ("_at", "_level", "_most", "_rate")

    def __init__(self, per_minute: int, now: float) -> None:
        self._most, self._rate, self._level, self._at = float(per_minute), per_minute / 60, float(per_minute), now

    def seconds_until_one(self, now: float) -> float:
        """How long until the next request may come; 0 is now."""
        self._level = min(self._most, self._level + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (1 - self._level) / self._rate)

    def take(self, amount: float) -> None:
        self._level -= amount


class Gate:
    """Every method that takes `now` expects seconds of a clock that never goes back."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.running = 0
        self.waiting = 0
        self._running_of: dict[str, int] = {}
        self._queues: dict[str, deque[Ticket]] = {}  # none is empty; the order is whose turn it is among equals
        self._requests: dict[str, Bucket] = {}
        self._tokens: dict[str, Bucket] = {}
        self._usual_stay = 1.0  # seconds, a moving average

    def enter(self, key: str, now: float, *, again: bool = False, counted: bool = False) -> Ticket:
        """A ticket that runs, or waits for its turn. Raises Problem 429.

        `again`: a further round of a request that was let in before. It may wait, before new ones of its key, but is
        never refused: its client may have heard the beginning of the answer. `counted`: its rates were checked
        elsewhere, and are kept here for when nobody can be asked there.
        """
        if not again and not counted:
            self._check_rates(key, now)
        ticket = Ticket(key, firm=again)
        if self.running < self._limits.running:  # then nobody waits
            self._run(ticket, now)
        else:
            if not again and self.waiting >= self._limits.waiting:
                self._make_room(key)
            queue = self._queues.setdefault(key, deque())
            queue.insert(sum(other.firm for other in queue) if again else len(queue), ticket)
            self.waiting += 1
        if not again:
            self._take_one(key, now)
        return ticket

    def count(self, key: str, now: float) -> None:
        """A request that asks the engine nothing, of which the key may make no more than of others. Raises Problem
        429."""
        self._check_rates(key, now)
        self._take_one(key, now)

    def leave(self, ticket: Ticket, now: float, tokens: int = 0) -> None:
        """The ticket's request is over, whether or not it ever ran, and cost so many tokens. Safe to repeat."""
        state, ticket.state = ticket.state, State.GONE
        if state is State.WAITING:
            self._unqueue(ticket)
        elif state is State.RUNNING:
            key = ticket.key
            self.running -= 1
            if left := self._running_of[key] - 1:
                self._running_of[key] = left
            else:
                del self._running_of[key]
            self._usual_stay += 0.1 * (now - ticket.since - self._usual_stay)
            if tokens and self._limits.tokens_per_minute:
                self._bucket(self._tokens, key, self._limits.tokens_per_minute, now).take(tokens)
            if self._queues:
                self._wake_next(now)

    def seconds_until_room(self) -> int:
        """A guess at when it is worth asking again."""
        rounds = (self.waiting + 1) / self._limits.running
        return min(_LONGEST_ADVICE, max(1, ceil(self._usual_stay * rounds)))

    def _run(self, ticket: Ticket, now: float) -> None:
        ticket.state, ticket.since = State.RUNNING, now
        self.running += 1
        self._running_of[ticket.key] = self._running_of.get(ticket.key, 0) + 1

    def _wake_next(self, now: float) -> None:
        """Whoever has the fewest at the engine is next; among equals, whose last turn is longest ago."""
        key = min(self._queues, key=lambda key: self._running_of.get(key, 0))
        queue = self._queues.pop(key)
        ticket = queue.popleft()
        if queue:
            self._queues[key] = queue  # at the end
        self.waiting -= 1
        self._run(ticket, now)
        if ticket.wake:
            ticket.wake()

    def _make_room(self, key: str) -> None:
        """Of a full queue no key has more than its share: the longest part gives up its last. Raises Problem 429 when
        that would be the new one itself."""
        longest = max(self._queues.values(), key=len, default=None)  # None: no queue is wanted
        if longest is None or longest[-1].firm or len(longest) <= len(self._queues.get(key, ())) + 1:
            raise self.full()
        ticket = longest[-1]
        self._unqueue(ticket)
        ticket.state = State.PUSHED_OUT
        if ticket.wake:
            ticket.wake()

    def _unqueue(self, ticket: Ticket) -> None:
        queue = self._queues[ticket.key]
        queue.remove(ticket)
        if not queue:
            del self._queues[ticket.key]
        self.waiting -= 1

    def full(self) -> Problem:
        return Problem(
            429,
            f"The server is busy: {self.running} requests are being answered and {self.waiting} wait.",
            code="queue_full",
            headers={"Retry-After": str(self.seconds_until_room())},
        )

    def _check_rates(self, key: str, now: float) -> None:
        for limit, buckets, what in (
            (self._limits.requests_per_minute, self._requests, "requests"),
            (self._limits.tokens_per_minute, self._tokens, "tokens"),
        ):
            if limit and (seconds := self._bucket(buckets, key, limit, now).seconds_until_one(now)):
                raise over_rate(limit, what, ceil(seconds))

    def _take_one(self, key: str, now: float) -> None:
        if most := self._limits.requests_per_minute:
            self._bucket(self._requests, key, most, now).take(1)

    @staticmethod
    def _bucket(buckets: dict[str, Bucket], key: str, per_minute: int, now: float) -> Bucket:
        """Keys are names from the key file, so there are few."""
        if (bucket := buckets.get(key)) is None:
            bucket = buckets[key] = Bucket(per_minute, now)
        return bucket


def over_rate(limit: int, what: str, seconds: int) -> Problem:
    return Problem(
        429,
        f"This key may use {limit} {what} a minute and has. Try again in {seconds} s.",
        code="rate_limit_exceeded",
        headers={"Retry-After": str(seconds)},
    )


class Rates(Protocol):
    """What each key may use in a minute, counted for several gateways."""

    async def enter(self, key: str) -> bool:
        """Count a request of the key; False when nobody could be asked. Raises Problem 429."""

    def used(self, key: str, tokens: int) -> None:
        """Count what an answer cost."""


class Admission:
    def __init__(self, settings: Settings, metrics: Metrics, rates: Rates | None = None) -> None:
        """`rates`: those that several gateways share; this one's own then hold only while nobody can be asked there."""
        self.gate = Gate(
            Limits(
                settings.max_in_flight, settings.max_queued, settings.requests_per_minute, settings.tokens_per_minute
            )
        )
        self.rates = rates
        self.metrics = metrics
        self.patience = settings.queue_timeout
        metrics.engine_in_flight.set_function(lambda: self.gate.running)
        metrics.queued.set_function(lambda: self.gate.waiting)

    def slot(self, key: str, *, again: bool = False) -> "Slot":
        """`async with admission.slot(key) as slot:` holds a place at the engine. Entering waits for it, and raises
        Problem 429 (busy, or over the key's rate) or 503 (waited too long); with `again`, as Gate.enter says, none."""
        return Slot(self, key, again)

    async def count(self, key: str) -> None:
        """A request that takes no place at the engine. Raises Problem 429 when it is over the key's rate."""
        try:
            if not (self.rates and await self.rates.enter(key)):
                self.gate.count(key, monotonic())
        except Problem as problem:
            self.metrics.refused.labels(problem.code).inc()
            raise


class Slot:
    """A class and not a generator: entering costs one microsecond where nobody waits, and every request enters."""

    __slots__ = ("_admission", "_again", "_key", "_ticket", "tokens")

    def __init__(self, admission: Admission, key: str, again: bool) -> None:
        self._admission, self._key, self._again = admission, key, again
        self.tokens = 0
        """What the answer cost, prompt included: set it before leaving."""

    async def __aenter__(self) -> "Slot":
        rates = self._admission.rates
        try:
            counted = rates is not None and not self._again and await rates.enter(self._key)
            self._ticket = self._admission.gate.enter(self._key, monotonic(), again=self._again, counted=counted)
            if self._ticket.state is not State.RUNNING:
                await self._wait(self._ticket)
        except Problem as problem:
            self._admission.metrics.refused.labels(problem.code).inc()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admission.gate.leave(self._ticket, monotonic(), self.tokens)
        if rates := self._admission.rates:
            rates.used(self._key, self.tokens)

    async def _wait(self, ticket: Ticket) -> None:
        gate, patience = self._admission.gate, self._admission.patience
        woken = asyncio.Event()
        ticket.wake = woken.set
        started = monotonic()
        try:
            async with asyncio.timeout(None if ticket.firm else patience):
                await woken.wait()
        except TimeoutError:
            if ticket.state is State.WAITING:
                gate.leave(ticket, monotonic())
                raise Problem(
                    503,
                    f"The server is busy: this request waited {patience:g} s for its turn.",
                    code="queue_timeout",
                    headers={"Retry-After": str(gate.seconds_until_room())},
                ) from None
        except BaseException:  # the client left; its turn may have come in the same moment
            gate.leave(ticket, monotonic())
            raise
        finally:
            self._admission.metrics.queue_seconds.observe(monotonic() - started)
        if ticket.state is State.PUSHED_OUT:
            raise gate.full()
