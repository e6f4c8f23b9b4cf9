"""Who may start under the memory budget: pure numbers; a grant is what one running job may take.

Every job starts with the same small grant. One that needs more comes back from its worker uncharged, says how much,
and waits until that fits beside what the others hold. Small jobs flow on meanwhile; but for one that has waited long
the bytes that it needs are kept free, so that they cannot starve it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

#: How long a large job lets small ones pass.
RESERVE_AFTER_S: Final = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """All running jobs together, and each of them unless it was granted more."""

    total_bytes: int
    grant_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Deferred:
    """A job that waits for memory. Monotonic seconds."""

    job: str
    needed_bytes: int
    since_s: float


def is_over(budget: Budget, needed_bytes: int) -> bool:
    """Whether the job could not run even alone."""
    return needed_bytes > budget.total_bytes


def may_start(
    budget: Budget, held: Collection[int], waiting: Sequence[Deferred], now_s: float, needed_bytes: int = 0
) -> bool:
    """Whether a job that waits for nothing may start beside those that hold these grants."""
    reserved = _overdue(waiting, now_s)
    kept_free = reserved.needed_bytes if reserved is not None else 0
    return sum(held) + kept_free + (needed_bytes or budget.grant_bytes) <= budget.total_bytes


def choose(
    budget: Budget, held: Collection[int], waiting: Sequence[Deferred], now_s: float
) -> Deferred | None:
    """Return the waiting job to start now, the one for which memory is kept free before all others."""
    reserved = _overdue(waiting, now_s)
    if reserved is not None and sum(held) + reserved.needed_bytes <= budget.total_bytes:
        return reserved
    for deferred in waiting:
        if deferred is not reserved and may_start(budget, held, waiting, now_s, deferred.needed_bytes):
            return deferred
    return None


def _overdue(waiting: Sequence[Deferred], now_s: float) -> Deferred | None:
    longest = min(waiting, key=lambda deferred: deferred.since_s, default=None)
    return longest if longest is not None and now_s - longest.since_s >= RESERVE_AFTER_S else None
