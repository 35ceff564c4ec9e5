"""The batch window: when a request may go on, and that those of one window go on together."""

import asyncio

import uvloop
from hypothesis import given
from hypothesis import strategies as st

from hearth_gateway.batch import Batcher, Window


def test_the_first_opens_a_window_and_the_others_share_its_end() -> None:
    window = Window(0.020)
    assert [window.release(now) for now in (1.000, 1.005, 1.019)] == [1.020] * 3
    assert window.release(1.020) == 1.040
    assert window.release(7.0) == 7.020


@given(st.lists(st.floats(0, 1), min_size=1).map(sorted), st.floats(0.001, 0.1))
def test_nobody_waits_longer_than_a_window_and_nobody_overtakes(arrivals: list[float], seconds: float) -> None:
    window = Window(seconds)
    ends = [window.release(now) for now in arrivals]
    assert all(now < end <= now + seconds for now, end in zip(arrivals, ends, strict=True))
    assert ends == sorted(ends)


def burst(loop_factory: object) -> list[str]:
    seen: list[str] = []

    async def ask(batcher: Batcher, name: str) -> None:
        await batcher.hold()
        seen.append(name)

    async def main() -> None:
        batcher = Batcher(100)
        tasks = [asyncio.create_task(ask(batcher, name)) for name in "abc"]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(ask(batcher, name)) for name in "def"]
        await asyncio.sleep(0)
        assert seen == []
        tasks[1].cancel()
        await tasks[0]
        await asyncio.sleep(0)  # they were woken in one turn, so they have all gone on
        seen.append("|")
        await asyncio.gather(*tasks, return_exceptions=True)
        await ask(batcher, "g")

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
    return seen


def test_a_burst_goes_on_in_one_turn_of_the_loop_and_who_left_holds_nobody_up() -> None:
    for loop_factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        assert burst(loop_factory) == list("acdef|g")
