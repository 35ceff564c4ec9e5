"""Who may ask the engine now: the decisions, without tasks and with a clock made of numbers; then the waiting."""

import asyncio
import random
from collections import Counter, defaultdict

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hearth_gateway.admission import Admission, Bucket, Gate, Limits, State, Ticket
from hearth_gateway.errors import Problem
from hearth_gateway.metrics import Metrics
from hearth_gateway.settings import Settings


def states(tickets: list[Ticket]) -> list[State]:
    return [ticket.state for ticket in tickets]


class TestQueue:
    def test_up_to_the_limit_run_and_the_others_wait_their_turn(self) -> None:
        gate = Gate(Limits(running=2, waiting=2))
        tickets = [gate.enter("alice", 0) for _ in range(4)]
        assert states(tickets) == [State.RUNNING] * 2 + [State.WAITING] * 2
        gate.leave(tickets[1], 1)
        assert states(tickets[2:]) == [State.RUNNING, State.WAITING]
        assert (gate.running, gate.waiting) == (2, 1)

    def test_beyond_the_queue_it_is_429_with_a_time_to_come_back(self) -> None:
        gate = Gate(Limits(running=1, waiting=1))
        for _ in range(2):
            gate.enter("alice", 0)
        with pytest.raises(Problem) as caught:
            gate.enter("alice", 0)
        assert (caught.value.status, caught.value.code) == (429, "queue_full")
        assert caught.value.headers
        assert int(caught.value.headers["Retry-After"]) >= 1

    def test_the_time_to_come_back_follows_how_long_answers_take(self) -> None:
        gate = Gate(Limits(running=1, waiting=9))
        for n in range(100):
            gate.leave(gate.enter("alice", n * 20), n * 20 + 20)
        assert gate.seconds_until_room() == 20
        gate.enter("alice", 2000)
        gate.enter("alice", 2000)
        assert gate.seconds_until_room() == 40

    def test_without_a_queue_nobody_waits(self) -> None:
        gate = Gate(Limits(running=1, waiting=0))
        ticket = gate.enter("alice", 0)
        with pytest.raises(Problem, match="busy"):
            gate.enter("bob", 0)
        gate.leave(ticket, 1)
        assert gate.enter("bob", 1).state is State.RUNNING

    def test_leaving_twice_frees_one_place(self) -> None:
        gate = Gate(Limits(running=1, waiting=3))
        first, *others = [gate.enter("alice", 0) for _ in range(3)]
        for _ in range(3):
            gate.leave(first, 1)
        assert states(others) == [State.RUNNING, State.WAITING]

    def test_who_leaves_the_queue_is_passed_over(self) -> None:
        gate = Gate(Limits(running=1, waiting=3))
        first, second, third = [gate.enter("alice", 0) for _ in range(3)]
        gate.leave(second, 1)
        gate.leave(first, 2)
        assert third.state is State.RUNNING


class TestFairShare:
    def test_a_place_goes_to_the_key_with_the_fewest(self) -> None:
        """Not one each in turn: a key whose answers are long would end up with all places."""
        gate = Gate(Limits(running=4, waiting=100))
        running = [gate.enter("greedy", 0) for _ in range(4)]
        waiting = [gate.enter("greedy", 1) for _ in range(50)] + [gate.enter("modest", 2) for _ in range(3)]
        for ticket in running[:2]:
            gate.leave(ticket, 3)
        assert Counter(ticket.key for ticket in waiting if ticket.state is State.RUNNING) == {"modest": 2}
        gate.leave(running[2], 4)
        assert Counter(ticket.key for ticket in waiting if ticket.state is State.RUNNING) == {"modest": 2, "greedy": 1}

    def test_equals_take_turns(self) -> None:
        gate = Gate(Limits(running=1, waiting=100))
        current = gate.enter("first", 0)
        queue = [gate.enter(key, 1) for key in "aaabbbccc"]
        order = []
        while queue:
            gate.leave(current, 2)
            current = next(ticket for ticket in queue if ticket.state is State.RUNNING)
            queue.remove(current)
            order.append(current.key)
        assert order == list("abcabcabc")

    def test_a_full_queue_makes_room_for_a_key_with_few_in_it(self) -> None:
        gate = Gate(Limits(running=1, waiting=4))
        greedy = [gate.enter("greedy", 0) for _ in range(5)]
        woken = []
        greedy[-1].wake = lambda: woken.append(greedy[-1].state)
        modest = [gate.enter("modest", 1), gate.enter("modest", 1)]
        assert states(modest) == [State.WAITING] * 2
        assert states(greedy) == [State.RUNNING, State.WAITING, State.WAITING, State.PUSHED_OUT, State.PUSHED_OUT]
        assert woken == [State.PUSHED_OUT]
        for key in ("greedy", "modest"):  # two each: nobody has too much
            with pytest.raises(Problem, match="busy"):
                gate.enter(key, 2)
        assert gate.waiting == 4

    def test_a_further_round_is_never_refused_and_comes_before_new_ones_of_its_key(self) -> None:
        gate = Gate(Limits(running=1, waiting=2, requests_per_minute=3))
        first, *new = [gate.enter("alice", 0) for _ in range(3)]
        again = [gate.enter("alice", 0, again=True) for _ in range(2)]
        order = []
        current = first
        for _ in range(4):
            gate.leave(current, 1)
            current = next(ticket for ticket in new + again if ticket.state is State.RUNNING)
            order.append(current)
        assert order == again + new

    def test_a_further_round_is_not_pushed_out(self) -> None:
        gate = Gate(Limits(running=1, waiting=2))
        gate.enter("alice", 0)
        again = [gate.enter("alice", 0, again=True) for _ in range(4)]
        with pytest.raises(Problem, match="busy"):
            gate.enter("bob", 0)
        assert states(again) == [State.WAITING] * 4


class TestRates:
    def test_a_minutes_requests_may_come_at_once_and_then_evenly(self) -> None:
        gate = Gate(Limits(running=100, waiting=0, requests_per_minute=6))
        for _ in range(6):
            gate.enter("alice", 0)
        with pytest.raises(Problem) as caught:
            gate.enter("alice", 2)
        assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
        assert caught.value.headers == {"Retry-After": "8"}
        assert "6 requests a minute" in caught.value.message
        gate.enter("bob", 2)
        gate.enter("alice", 10)
        with pytest.raises(Problem):
            gate.enter("alice", 10)

    def test_what_was_refused_costs_nothing(self) -> None:
        gate = Gate(Limits(running=1, waiting=0, requests_per_minute=2))
        ticket = gate.enter("alice", 0)
        for _ in range(10):
            with pytest.raises(Problem, match="busy"):
                gate.enter("alice", 0)
        gate.leave(ticket, 0)
        gate.enter("alice", 0)

    def test_tokens_are_settled_when_they_are_known(self) -> None:
        gate = Gate(Limits(running=9, waiting=0, tokens_per_minute=600))
        gate.leave(gate.enter("alice", 0), 0, tokens=900)  # nobody could know: 300 too many
        with pytest.raises(Problem) as caught:
            gate.enter("alice", 0)
        assert "600 tokens a minute" in caught.value.message
        assert caught.value.headers == {"Retry-After": "31"}  # 300 at 10 a second, and one to begin with
        gate.enter("bob", 0)
        gate.enter("alice", 31)

    def test_a_pause_saves_up_a_minute_and_no_more(self) -> None:
        bucket = Bucket(60, 0)
        assert bucket.seconds_until_one(1000) == 0
        bucket.take(60)
        assert bucket.seconds_until_one(1000) == 1


class Queue(RuleBasedStateMachine):
    """Whatever comes and goes in whatever order: places are neither lost nor made."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = Limits(running=3, waiting=4)
        self.gate = Gate(self.limits)
        self.now = 0.0
        self.tickets: list[Ticket] = []
        self.woken: defaultdict[Ticket, int] = defaultdict(int)

    @rule(key=st.sampled_from("abc"), again=st.booleans())
    def enter(self, key: str, again: bool) -> None:
        try:
            ticket = self.gate.enter(key, self.now, again=again)
        except Problem:
            assert not again
            assert self.gate.waiting >= self.limits.waiting
            return
        if ticket.state is State.WAITING:
            ticket.wake = lambda: self.woken.update({ticket: self.woken[ticket] + 1})
        self.tickets.append(ticket)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.now += 1
        self.gate.leave(data.draw(st.sampled_from(self.tickets)), self.now)

    @invariant()
    def places_are_counted(self) -> None:
        counted = Counter(ticket.state for ticket in self.tickets)
        assert self.gate.running == counted[State.RUNNING] <= self.limits.running
        assert self.gate.waiting == counted[State.WAITING]

    @invariant()
    def nobody_waits_beside_a_free_place(self) -> None:
        assert not self.gate.waiting or self.gate.running == self.limits.running

    @invariant()
    def whoever_stopped_waiting_was_woken_once(self) -> None:
        assert all(count == 1 for count in self.woken.values())
        waited = [ticket for ticket in self.tickets if ticket.wake]
        assert all(ticket in self.woken for ticket in waited if ticket.state in (State.RUNNING, State.PUSHED_OUT))

    def teardown(self) -> None:
        for ticket in self.tickets:
            self.gate.leave(ticket, self.now)
        assert (self.gate.running, self.gate.waiting, self.gate._running_of, self.gate._queues) == (0, 0, {}, {})


TestQueueUnderAnything = Queue.TestCase
TestQueueUnderAnything.settings = hypothesis_settings(max_examples=100, stateful_step_count=40, deadline=None)


def admission(**given: object) -> Admission:
    return Admission(Settings(**given), Metrics())


async def turns(count: int = 5) -> None:
    """Let every task go on as far as it can."""
    for _ in range(count):
        await asyncio.sleep(0)


class TestWaiting:
    async def test_a_request_waits_until_another_leaves(self) -> None:
        door, seen = admission(max_in_flight=1), []

        async def second() -> None:
            async with door.slot("alice"):
                seen.append("in")

        async with door.slot("alice"):
            task = asyncio.create_task(second())
            await turns()
            assert (seen, door.gate.waiting) == ([], 1)
        await task
        assert (seen, door.gate.running) == (["in"], 0)

    async def test_who_waits_too_long_is_sent_away_with_503(self) -> None:
        door = admission(max_in_flight=1, queue_timeout=0.01)
        async with door.slot("alice"):
            with pytest.raises(Problem) as caught:
                async with door.slot("alice"):
                    pytest.fail("there was no place")
            assert (caught.value.status, caught.value.code) == (503, "queue_timeout")
            assert door.gate.waiting == 0

    async def test_who_is_pushed_out_hears_429(self) -> None:
        door = admission(max_in_flight=1, max_queued=2)

        async def ask(key: str) -> None:
            async with door.slot(key):
                pass

        async with door.slot("greedy"):
            greedy = [asyncio.create_task(ask("greedy")) for _ in range(2)]
            await turns()
            modest = asyncio.create_task(ask("modest"))
            with pytest.raises(Problem, match="busy"):
                await greedy[1]
        await asyncio.gather(greedy[0], modest)
        assert door.metrics.refused.labels("queue_full")._value.get() == 1

    async def test_who_leaves_in_the_moment_of_its_turn_gives_it_on(self) -> None:
        door, seen = admission(max_in_flight=1), []

        async def ask(name: str) -> None:
            async with door.slot("alice"):
                seen.append(name)

        async with door.slot("alice"):
            leaving, staying = asyncio.create_task(ask("leaving")), asyncio.create_task(ask("staying"))
            await turns()
        leaving.cancel()  # its turn has come, but it has not run yet
        await asyncio.gather(leaving, staying, return_exceptions=True)
        assert (seen, leaving.cancelled()) == (["staying"], True)
        assert (door.gate.running, door.gate.waiting) == (0, 0)

    @pytest.mark.parametrize("seed", range(20))
    async def test_no_place_is_lost_whenever_clients_leave(self, seed: int) -> None:
        chance = random.Random(seed)
        door = admission(max_in_flight=3, max_queued=8, queue_timeout=0.002)
        most = 0

        async def ask(key: str) -> None:
            nonlocal most
            async with door.slot(key):
                most = max(most, door.gate.running)
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(chance.choice([0, 0, 0.001]))
                if chance.random() < 0.2:
                    raise RuntimeError

        tasks = []
        for _ in range(200):
            tasks.append(asyncio.create_task(ask(chance.choice("abc"))))
            if chance.random() < 0.5:
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                chance.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (most, door.gate.running, door.gate.waiting) == (3, 0, 0)
