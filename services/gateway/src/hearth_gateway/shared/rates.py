"""What each key may use in a minute, over all gateways: the buckets of admission.py, in Redis and by its clock."""

from contextlib import suppress
from math import ceil
from typing import Any

from hearth_gateway.admission import over_rate
from hearth_gateway.shared.state import PREFIX, SharedState, Unavailable

# One step for Redis, so that two gateways cannot both see the last of a minute. KEYS: the buckets of requests and of
# tokens. ARGV: what a minute brings of each (0: no limit), what to take of each, and whether one of each must be there.
# Answers which bucket has none (0: neither), and for how many milliseconds. A bucket that is full again needs no row.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local levels = {}
for which = 1, 2 do
  local most = tonumber(ARGV[which])
  if most > 0 then
    local kept = redis.call('HMGET', KEYS[which], 'level', 'at')
    local level = most
    if kept[1] then level = math.min(most, kept[1] + math.max(0, now - kept[2]) * most / 60) end
    if ARGV[5] == '1' and level < 1 then return {which, math.ceil((1 - level) * 60000 / most)} end
    levels[which] = level
  end
end
for which, level in pairs(levels) do
  local amount, most = tonumber(ARGV[which + 2]), tonumber(ARGV[which])
  if amount > 0 then
    level = level - amount
    redis.call('HSET', KEYS[which], 'level', string.format('%.6f', level), 'at', string.format('%.6f', now))
    redis.call('PEXPIRE', KEYS[which], math.ceil((most - level) * 60000 / most) + 1000)
  end
end
return {0, 0}
"""
_NAMES = ("", "requests", "tokens")


class SharedRates:
    def __init__(self, state: SharedState, requests: int | None, tokens: int | None) -> None:
        """What each key may use in a minute; None is no limit."""
        self._state, self._most = state, (requests or 0, tokens or 0)

    async def enter(self, key: str) -> bool:
        """Count a request of the key; False when nobody could be asked. Raises Problem 429."""
        if not any(self._most):
            return True
        try:
            which, milliseconds = await self._run(key, 1, 0, must=1)
        except Unavailable:
            return False
        if which:
            raise over_rate(self._most[which - 1], _NAMES[which], ceil(milliseconds / 1000))
        return True

    def used(self, key: str, tokens: int) -> None:
        """Count what an answer cost. Where that cannot be told now, it is not told later."""
        if self._most[1] and tokens:
            self._state.later(self._use(key, tokens))

    async def _use(self, key: str, tokens: int) -> None:
        with suppress(Unavailable):
            await self._run(key, 0, tokens, must=0)

    async def _run(self, key: str, requests: int, tokens: int, *, must: int) -> Any:
        keys = [f"{PREFIX}{name}:{key}" for name in _NAMES[1:]]
        return await self._state.ask(
            "rates", lambda redis: redis.eval(_SCRIPT, len(keys), *keys, *self._most, requests, tokens, must)
        )
