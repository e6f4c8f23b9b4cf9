"""What happens after an attempt that did not end its job: pure decisions, no sleeping, no I/O."""

import random
from dataclasses import dataclass
from typing import Final, Literal

from procwatch.pool.ports import Death

#: The second worker that dies of a file is one too many.
MAX_WORKER_DEATHS: Final = 2
#: A daemon that died this often while the job ran alone died of the job.
MAX_DAEMON_DEATHS: Final = 3
#: Rounds that cost a job nothing, while its file stays the same. Honest workers need two or three; one that was taken
#: over would have them without end.
MAX_FREE_ROUNDS: Final = 20
#: Trouble of the output side: first wait, and the longest.
_PAUSE_S: Final = 1.0
PAUSE_MAX_S: Final = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """`fail` ends the job with `error`; `retry` puts it at the end of the queue; neither blames anybody else."""

    action: Literal["fail", "retry"]
    error: str
    reason: str
    deaths: int  # of workers, charged to the job from now on


def after_death(death: Death, *, deaths: int, timeout_s: float, free_rounds: int = 0) -> Verdict:
    """Return what a worker's death means for the job it had; `free_rounds` that cost it nothing, with this one."""
    if not death.started:
        return _not_begun(death, deaths, free_rounds)
    if death.kind == "abandoned":
        reason = "its file system does not answer; the worker was taken away"
        return Verdict(action="retry", error="file-system-silent", reason=reason, deaths=deaths)
    if death.kind == "timeout":
        reason = f"rendering took longer than {timeout_s:g} s; the worker was stopped"
        return Verdict(action="fail", error="timeout", reason=reason, deaths=deaths)
    if death.kind == "out-of-memory":
        reason = f"a library ended the worker by {death.exit} when no more memory was granted"
        return Verdict(action="fail", error="out-of-memory", reason=reason, deaths=deaths)
    deaths += 1
    if deaths >= MAX_WORKER_DEATHS:
        reason = f"{deaths} worker processes died of this file (the last by {death.exit})"
        return Verdict(action="fail", error="worker-crashed", reason=reason, deaths=deaths)
    reason = f"the worker died by {death.exit}"
    return Verdict(action="retry", error="worker-crashed", reason=reason, deaths=deaths)


def _not_begun(death: Death, deaths: int, free_rounds: int) -> Verdict:
    if free_rounds > MAX_FREE_ROUNDS:
        reason = f"workers were lost with this file, or gave it back, {free_rounds} times; none said that it had begun"
        return Verdict(action="fail", error="worker-crashed", reason=reason, deaths=deaths)
    why = "workers die of everything at present" if death.kind == "degraded" else "it had not begun"
    reason = f"the worker was lost and the file is not blamed: {why}"
    return Verdict(action="retry", error="worker-crashed", reason=reason, deaths=deaths)


def pause_s(failures: int, jitter: float | None = None) -> float:
    """Return how long to wait after the n-th failure in a row (from 1): doubling, bounded, ±20 % of jitter."""
    factor = random.uniform(0.8, 1.2) if jitter is None else jitter  # noqa: S311 (spreads retries, no secret)
    return min(_PAUSE_S * 2.0 ** min(failures - 1, 10), PAUSE_MAX_S) * factor
