"""Which engine requests go to. It changes between two requests: whoever is being answered is answered to the end.

That is how one model takes another's place: both engines run, the route goes to the new one, and the old one is stopped
when nobody waits for it any more. Where only one fits into memory, the route is closed meanwhile, and requests wait.
None of it is kept: a gateway that starts anew asks the engine of its settings.
"""

import asyncio
from collections.abc import Callable

from yarl import URL


class Target:
    """One engine, and how many requests it has not answered yet."""

    __slots__ = ("_urls", "answering", "idle", "origin")

    def __init__(self, origin: URL) -> None:
        self.origin = origin
        self.answering = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self._urls: dict[str, URL] = {}

    def url(self, path: str) -> URL:
        if (url := self._urls.get(path)) is None:
            url = self._urls[path] = self.origin.with_path(path)
        return url

    def begin(self) -> None:
        self.answering += 1
        self.idle.clear()

    def end(self) -> None:
        self.answering -= 1
        if not self.answering:
            self.idle.set()


class Route:
    def __init__(self, origin: URL, changed: Callable[[], None]) -> None:
        """`changed` is called when requests begin to go elsewhere, or to go on."""
        self._default = origin
        self._changed = changed
        self.target = Target(origin)
        self._leaving: list[Target] = []
        self._open = asyncio.Event()
        self._open.set()
        self._reopening: asyncio.TimerHandle | None = None

    @property
    def closed(self) -> bool:
        return not self._open.is_set()

    async def take(self) -> Target:
        """The engine to ask, as soon as the route is open. To be followed by `begin` without an await between."""
        while not self._open.is_set():
            await self._open.wait()
        return self.target

    def lead(self, origin: URL | None = None) -> None:
        """From now on to `origin`; None is the engine of the settings. Opens the route."""
        if (origin := origin or self._default) != self.target.origin:
            others = [*self._leaving, self.target]
            self.target = next((target for target in others if target.origin == origin), None) or Target(origin)
            self._leaving = [target for target in others if target is not self.target and target.answering]
        self._reopen()

    def close(self, seconds: float) -> None:
        """Have new requests wait, so many seconds at most: whoever closes it may be gone before it opens it again."""
        if self._reopening:
            self._reopening.cancel()
        self._open.clear()
        self._reopening = asyncio.get_running_loop().call_later(seconds, self._reopen)

    async def drained(self, seconds: float) -> int:
        """How many requests are still unanswered by engines that get none any more, when all are answered or so many
        seconds are over."""
        targets = [*self._leaving, *([self.target] if self.closed else [])]
        try:
            async with asyncio.timeout(seconds):
                for target in targets:
                    await target.idle.wait()
        except TimeoutError:
            pass
        return sum(target.answering for target in targets)

    def _reopen(self) -> None:
        if self._reopening:
            self._reopening.cancel()
            self._reopening = None
        self._open.set()
        self._changed()
