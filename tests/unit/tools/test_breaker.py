"""The circuit breaker, by a clock of the test's."""

from hearth_gateway.tools.breaker import Breaker, Circuit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(failures=2, cooldown=10, clock=clock)
    for _ in range(2):
        assert breaker.admit()
        breaker.failed()
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = Breaker(failures=2, cooldown=10, clock=Clock())
    for verdict in (breaker.failed, breaker.succeeded, breaker.failed):
        assert breaker.admit()
        verdict()
    assert breaker.circuit is Circuit.CLOSED
    assert breaker.admit()
    breaker.failed()
    assert breaker.circuit is Circuit.OPEN
    assert not breaker.admit()
    assert breaker.opens_in == 10


def test_after_a_while_it_lets_one_through() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 9.9
    assert not breaker.admit()
    clock.now = 10
    assert breaker.circuit is Circuit.HALF_OPEN
    assert breaker.admit()
    assert not breaker.admit(), "one at a time"
    breaker.succeeded()
    assert breaker.circuit is Circuit.CLOSED
    assert breaker.admit()


def test_one_more_failure_opens_it_again_for_as_long() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 15
    assert breaker.admit()
    breaker.failed()
    assert (breaker.circuit, breaker.opens_in) == (Circuit.OPEN, 10)


def test_a_caller_that_leaves_gives_its_place_to_the_next() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 10
    assert breaker.admit()
    breaker.left()
    assert breaker.circuit is Circuit.HALF_OPEN
    assert breaker.admit()


def test_calls_that_were_under_way_when_it_opened_do_not_keep_it_open() -> None:
    clock = Clock()
    breaker = Breaker(failures=1, cooldown=10, clock=clock)
    assert breaker.admit()
    assert breaker.admit()
    breaker.failed()
    breaker.succeeded()
    assert breaker.circuit is Circuit.CLOSED
