"""Grants never exceed the budget, small jobs flow past a large one, and cannot starve it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procwatch.pool.admission import (
    RESERVE_AFTER_S,
    Budget,
    Deferred,
    choose,
    is_over,
    may_start,
)

pytestmark = pytest.mark.unit

BUDGET = Budget(total_bytes=1000, grant_bytes=100)


def deferred(job: str, needed_bytes: int, since_s: float = 0.0) -> Deferred:
    return Deferred(job=job, needed_bytes=needed_bytes, since_s=since_s)


def test_a_job_starts_when_its_grant_fits() -> None:
    assert may_start(BUDGET, [], [], 0.0)
    assert may_start(BUDGET, [100] * 9, [], 0.0)
    assert not may_start(BUDGET, [100] * 10, [], 0.0)


def test_a_large_job_waits_until_it_fits() -> None:
    large = deferred("large", 850)
    assert choose(BUDGET, [100, 100], [large], 0.0) is None
    assert choose(BUDGET, [100], [large], 0.0) is large


def test_small_jobs_and_a_smaller_large_one_pass_it_meanwhile() -> None:
    large, middle = deferred("large", 950), deferred("middle", 300)
    assert may_start(BUDGET, [100], [large], 1.0)
    assert choose(BUDGET, [100], [large, middle], 1.0) is middle


def test_after_a_while_memory_is_kept_free_for_it() -> None:
    large, middle = deferred("large", 850), deferred("middle", 300, since_s=1.0)
    now_s = RESERVE_AFTER_S
    assert not may_start(BUDGET, [100], [large, middle], now_s), "nobody new takes what it waits for"
    assert choose(BUDGET, [100, 100], [large, middle], now_s) is None
    assert choose(BUDGET, [100], [large, middle], now_s) is large


def test_what_fits_beside_the_reservation_still_flows() -> None:
    large = deferred("large", 700)
    assert may_start(BUDGET, [100], [large], RESERVE_AFTER_S)
    assert not may_start(BUDGET, [100, 100, 100], [large], RESERVE_AFTER_S)


def test_what_exceeds_the_whole_budget_never_runs() -> None:
    assert is_over(BUDGET, 1001)
    assert not is_over(BUDGET, 1000)


@given(
    st.lists(st.integers(1, 400), max_size=8),
    st.lists(st.tuples(st.integers(101, 1000), st.floats(0, 100)), max_size=6),
    st.floats(0, 200),
)
def test_no_choice_exceeds_the_budget_and_an_idle_pool_always_chooses(
    held: list[int], waits: list[tuple[int, float]], now_s: float
) -> None:
    waiting = [deferred(str(number), need, since) for number, (need, since) in enumerate(waits)]
    chosen = choose(BUDGET, held, waiting, now_s)
    if chosen is not None:
        assert sum(held) + chosen.needed_bytes <= BUDGET.total_bytes
    if may_start(BUDGET, held, waiting, now_s):
        assert sum(held) + BUDGET.grant_bytes <= BUDGET.total_bytes
    if waiting:
        assert choose(BUDGET, [], waiting, now_s) is not None
