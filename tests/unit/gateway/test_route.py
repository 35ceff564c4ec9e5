"""Where requests go, while one engine takes another's place."""

import asyncio

import pytest
from yarl import URL

from hearth_gateway.route import Route

OLD, NEW = URL("http://old:8000"), URL("http://new:8000")


@pytest.fixture
def changes() -> list[None]:
    return []


@pytest.fixture
def route(changes: list[None]) -> Route:
    return Route(OLD, lambda: changes.append(None))


async def test_new_requests_go_to_the_new_engine_and_old_ones_are_waited_for(route: Route, changes) -> None:
    first = await route.take()
    first.begin()
    route.lead(NEW)
    assert (await route.take()).url("/v1/models") == URL("http://new:8000/v1/models")
    assert len(changes) == 1

    assert await route.drained(0) == 1
    waiting = asyncio.create_task(route.drained(30))
    await asyncio.sleep(0)
    first.end()
    assert await waiting == 0


async def test_what_the_current_engine_answers_is_not_waited_for(route: Route) -> None:
    (await route.take()).begin()
    assert await route.drained(0) == 0


async def test_back_before_the_old_one_is_done(route: Route) -> None:
    first = await route.take()
    first.begin()
    route.lead(NEW)
    second = await route.take()
    second.begin()
    route.lead(None)
    assert await route.take() is first
    assert await route.drained(0) == 1
    second.end()
    assert await route.drained(0) == 0


async def test_a_closed_route_lets_running_requests_end_and_new_ones_wait(route: Route, changes) -> None:
    running = await route.take()
    running.begin()
    route.close(30)
    new = asyncio.create_task(route.take())
    await asyncio.sleep(0)
    assert route.closed
    assert not new.done()
    assert await route.drained(0) == 1
    running.end()
    assert await route.drained(0) == 0

    route.lead(NEW)
    assert (await new).origin == NEW
    assert not route.closed
    assert len(changes) == 1


async def test_a_route_that_nobody_opens_opens_by_itself(route: Route) -> None:
    route.close(0.01)
    route.close(0.02)
    assert (await asyncio.wait_for(route.take(), 30)).origin == OLD
    assert not route.closed
