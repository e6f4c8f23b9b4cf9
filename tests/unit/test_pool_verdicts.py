"""What the pool says of a death decides what the file is charged."""

import pytest

from procwatch.dispatch.retry import after_death
from procwatch.pool.ports import Death

pytestmark = pytest.mark.unit


def test_deaths_while_the_pool_is_degraded_charge_nobody() -> None:
    verdict = after_death(Death(kind="degraded", exit="SIGSEGV", started=False), deaths=1, timeout_s=1.0)
    assert (verdict.action, verdict.deaths) == ("retry", 1)
    assert "workers die of everything at present" in verdict.reason


def test_an_abort_near_the_memory_limit_fails_at_once_under_its_own_code() -> None:
    verdict = after_death(Death(kind="out-of-memory", exit="SIGABRT", started=True), deaths=0, timeout_s=1.0)
    assert (verdict.action, verdict.error, verdict.deaths) == ("fail", "out-of-memory", 0)
    assert "SIGABRT" in verdict.reason
