"""The responses that clients may go on from, and the turns that are carried, where every gateway finds them."""

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import orjson

from hearth_gateway.errors import Problem
from hearth_gateway.responses.store import Stored, packed, unpacked
from hearth_gateway.shared.state import PREFIX, SharedState, Unavailable

log = logging.getLogger(__name__)


class SharedResponses:
    """As `ResponseStore`; what is kept when memory is short is Redis's to decide (`maxmemory-policy`)."""

    def __init__(self, state: SharedState, seconds: float, most: int) -> None:
        """`most`: bytes of one response and its conversation, compressed; a larger one is not kept."""
        self._state, self._seconds, self._most = state, seconds, most

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def put(self, user: str, response: dict[str, Any], items: Sequence[dict[str, Any]]) -> None:
        """Keep it. Without Redis that costs the memory of it, not the answer."""
        row = {"response": packed(response), "items": packed(items)}
        if sum(map(len, row.values())) > self._most:
            return
        name = _name(user, response["id"])

        async def question(redis: Any) -> None:
            async with redis.pipeline() as both:
                await both.hset(name, mapping=row).pexpire(name, int(self._seconds * 1000)).execute()

        try:
            await self._state.ask("responses", question)
        except Unavailable:
            log.error("a response cannot be stored: the shared state cannot be asked")

    async def get(self, user: str, id: str) -> Stored | None:
        """Raises Problem 503: that it is unknown cannot be said."""
        row = await self._ask(lambda redis: redis.hmget(_name(user, id), "response", "items"))
        return Stored(unpacked(row[0]), unpacked(row[1])) if row[0] and row[1] else None

    async def delete(self, user: str, id: str) -> bool:
        """Whether it was there. Raises Problem 503."""
        return bool(await self._ask(lambda redis: redis.delete(_name(user, id))))

    async def _ask(self, question: Any) -> Any:
        try:
            return await self._state.ask("responses", question)
        except Unavailable:
            raise Problem(
                503,
                "Stored responses cannot be read now: try again, or send the whole conversation.",
                code="shared_state_unavailable",
                headers={"Retry-After": "2"},
            ) from None


class SharedCarry:
    """The turns of `tools.carry.CarryStore`."""

    def __init__(self, state: SharedState, seconds: float) -> None:
        self._state, self._seconds = state, seconds

    async def put(self, user: str, call_id: str, messages: Sequence[dict[str, Any]]) -> None:
        name, data = f"{PREFIX}carry:{user}:{call_id}", orjson.dumps(messages)
        with suppress(Unavailable):  # the conversation is then the client's own, as after a restart
            await self._state.ask("carry", lambda redis: redis.set(name, data, px=int(self._seconds * 1000)))

    async def find(self, user: str, call_ids: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
        """What is kept under these ids; as good as nothing where nobody can be asked."""
        ids = list(dict.fromkeys(call_ids))
        if not ids:
            return {}
        try:
            found = await self._state.ask(
                "carry", lambda redis: redis.mget([f"{PREFIX}carry:{user}:{one}" for one in ids])
            )
        except Unavailable:
            return {}
        return {one: orjson.loads(data) for one, data in zip(ids, found, strict=True) if data}


def _name(user: str, id: str) -> str:
    return f"{PREFIX}response:{user}:{id}"
