"""The breaker asks a canary before it blames files or the installation."""

import pytest

from procwatch.pool.breaker import SUSPICIOUS_LOSSES, WINDOW_S, Breaker

pytestmark = pytest.mark.unit


def lost(breaker: Breaker, *times_s: float) -> Breaker:
    for at_s in times_s:
        breaker = breaker.lost(at_s)
    return breaker


def test_one_loss_is_nothing() -> None:
    breaker = lost(Breaker(), 1.0)
    assert breaker.is_closed
    assert not breaker.wants_canary(1.0)


def test_losses_in_a_row_send_a_canary_and_hold_work_back() -> None:
    breaker = lost(Breaker(), *range(SUSPICIOUS_LOSSES))
    assert breaker.wants_canary(2.0)
    out = breaker.sent()
    assert not out.is_closed
    assert not out.is_open
    assert not out.wants_canary(1000.0), "one at a time"


def test_a_success_between_two_losses_makes_them_two_single_ones() -> None:
    assert not lost(lost(Breaker(), 1.0).succeeded(), 2.0).wants_canary(2.0)


def test_losses_far_apart_have_nothing_to_do_with_each_other() -> None:
    assert not lost(Breaker(), 0.0, WINDOW_S).wants_canary(WINDOW_S)
    assert lost(Breaker(), 0.0, WINDOW_S - 0.1).wants_canary(WINDOW_S)


def test_a_canary_that_is_rendered_closes_and_forgets() -> None:
    assert lost(Breaker(), 0.0, 1.0).sent().passed() == Breaker()


def test_a_canary_that_fails_opens_and_the_next_ones_come_ever_later() -> None:
    breaker = lost(Breaker(), 0.0, 1.0).sent().failed(10.0)
    assert breaker.is_open
    assert not breaker.is_closed
    waits = []
    now_s = 10.0
    for _ in range(8):
        assert not breaker.wants_canary(breaker.canary_at_s - 0.1)
        assert breaker.wants_canary(breaker.canary_at_s)
        waits.append(breaker.canary_at_s - now_s)
        now_s = breaker.canary_at_s
        breaker = breaker.sent().failed(now_s)
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0, 60.0]
    assert breaker.open_since_s == 10.0


def test_a_job_that_ends_well_while_open_closes_too() -> None:
    assert lost(Breaker(), 0.0, 1.0).sent().failed(2.0).succeeded() == Breaker()


def test_a_job_that_ends_while_the_canary_is_out_leaves_the_answer_to_the_canary() -> None:
    breaker = lost(Breaker(), 0.0, 1.0).sent().succeeded()
    assert breaker.is_testing
    assert breaker.passed().is_closed


def test_a_job_that_ends_well_while_the_canary_is_out_outweighs_a_canary_that_fails() -> None:
    """On a loaded machine it may only have been too slow."""
    assert lost(Breaker(), 0.0, 1.0).sent().succeeded().failed(30.0) == Breaker()
