"""The batch window: the first request of a burst is held for a moment, so that the burst enters one step of the engine.

`Window` decides when; `Batcher` holds.
"""

import asyncio


class Window:
    """It opens for a request that finds none open, and lets whatever came meanwhile go on at its one end."""

    __slots__ = ("_end", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds, self._end = seconds, float("-inf")

    def release(self, now: float) -> float:
        """When a request that comes `now` may go on. Both in seconds of the same clock, which never goes back."""
        if now >= self._end:
            self._end = now + self._seconds
        return self._end


class Batcher:
    def __init__(self, milliseconds: float) -> None:
        self._window = Window(milliseconds / 1e3)
        self._end = float("-inf")
        self._over = asyncio.Event()

    async def hold(self) -> None:
        """Return at the end of the window, in the order of arrival. One timer a window: all go on in one turn of the
        loop, however coarse its timers are."""
        loop = asyncio.get_running_loop()
        if (end := self._window.release(loop.time())) != self._end:
            self._end, self._over = end, asyncio.Event()
            loop.call_at(end, self._over.set)
        await self._over.wait()
