"""Who is to blame for dead workers: their files, or everything. A death is told when that is known.

    worker lost ─► withheld ─► told as it was
                      └─ several in a row ─► canary ─┬─ it renders: told as they were
                                                     └─ it fails: "degraded", nobody's fault
The canary is the built-in image, rendered on a worker of its own.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from procwatch.pool.breaker import Breaker
from procwatch.pool.ports import Death, Post, Report, Running
from procwatch.pool.slot import ask_canary
from procwatch.pool.starting import Starter

#: The canary image takes milliseconds; only a machine in trouble, or a broken installation, comes near this.
_CANARY_TIMEOUT_S = 30.0


class Listener(Protocol):
    """Who hears that the pool is degraded, and that it is not any more; called on the dispatcher's thread."""

    def pool_degraded(self, reason: str, deaths: int) -> None: ...
    def pool_recovered(self, seconds: float) -> None: ...
    def capacity_changed(self) -> None: ...


class Verdicts:
    """The breaker, and the deaths whose blame waits for it."""

    def __init__(
        self, *, starter: Starter, listener: Listener, post: Post, clock: Callable[[], float]
    ) -> None:
        self._starter = starter
        self._listener = listener
        self._post = post
        self._clock = clock
        self._breaker = Breaker()
        self._withheld: list[tuple[Running, Report]] = []

    @property
    def may_hand_out(self) -> bool:
        return self._breaker.is_closed

    @property
    def is_degraded(self) -> bool:
        return self._breaker.is_open

    def worked(self) -> None:
        """A worker finished a job: it does not matter how the job ended."""
        self._change(self._breaker.succeeded())

    def withhold(self, future: Running, report: Report) -> None:
        """Keep how a job lost its worker until note_loss() or the canary tells whose fault it was."""
        self._withheld.append((future, report))

    def note_loss(self, *, counts: bool = True) -> None:
        """A worker was lost: tell what is withheld, unless a canary has to be asked first."""
        now_s = self._clock()
        if counts:
            self._breaker = self._breaker.lost(now_s)
        self.tick(now_s)
        if self._breaker.is_closed:
            self._tell()
        elif self._breaker.is_open:
            self._tell("degraded", started=False)

    def tick(self, now_s: float) -> float | None:
        """Send the canary if it is wanted; return when to ask again, None: not by time."""
        if self._breaker.wants_canary(now_s) and not self._starter.is_stopping:
            self._breaker = self._breaker.sent()
            self._starter.in_thread(self._ask_canary)
        waits = self._breaker.is_open and not self._breaker.is_testing
        return self._breaker.canary_at_s if waits else None

    def stop(self) -> None:
        """Nobody will know any more."""
        self._tell("stopped", started=False)

    def _ask_canary(self) -> None:
        """Thread: render the canary image on a fresh worker."""
        reason = ask_canary(self._starter.entry, _CANARY_TIMEOUT_S, self._starter.give_up)
        self._post(self._canary_answered, reason)

    def _canary_answered(self, reason: str) -> None:
        if self._starter.is_stopping:
            return
        was_open, deaths = self._breaker.is_open, len(self._breaker.losses_s)
        after = self._breaker.failed(self._clock()) if reason else self._breaker.passed()
        if after.is_closed:
            self._change(after)
            self._tell()
            return
        self._breaker = after
        if not was_open:
            self._listener.pool_degraded(f"{deaths} workers lost in a row, and {reason}", deaths)
        self._tell("degraded", started=False)

    def _change(self, breaker: Breaker) -> None:
        before, self._breaker = self._breaker, breaker
        if before.open_since_s is not None and not breaker.is_open:
            self._listener.pool_recovered(self._clock() - before.open_since_s)
        if breaker.is_closed and not before.is_closed:
            self._listener.capacity_changed()

    def _tell(self, kind: str = "", *, started: bool = True) -> None:
        """Answer the futures of lost workers; `kind` and `started` override what the deaths looked like."""
        withheld, self._withheld = self._withheld, []
        for future, report in withheld:
            death = report.death
            assert death is not None
            told: Death = replace(death, kind=kind or death.kind, started=death.started and started)
            future.set_result(replace(report, death=told))
