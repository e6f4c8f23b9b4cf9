"""The circuit breaker: are workers dying of their files, or of everything? Pure; the pool asks, a canary image answers.

closed ──(workers lost in a row)──► testing ──(canary renders)──► closed
                                       └──(canary fails too)──► open ──(a later canary renders)──► closed
"""

from dataclasses import dataclass, replace
from typing import Final

#: As many losses in a row, with no job finished between them, as it takes to fail a file: so no file can fail
#: because the installation is broken. A canary costs one start of a worker, about 60 ms.
SUSPICIOUS_LOSSES: Final = 2
WINDOW_S: Final = 60.0
#: How long an open breaker waits for the next canary: first, and at most.
_RETRY_S: Final = 5.0
_RETRY_MAX_S: Final = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Breaker:
    """What is known; every change makes a new value. Times are monotonic seconds."""

    losses_s: tuple[float, ...] = ()  # of workers, since the last success, within the window
    is_testing: bool = False  # a canary is out
    has_succeeded: bool = False  # a worker finished a job meanwhile
    open_since_s: float | None = None
    canaries_failed: int = 0  # in a row
    canary_at_s: float = 0.0  # when open: the next one

    @property
    def is_closed(self) -> bool:
        """Whether work may be handed out and deaths be charged."""
        return self.open_since_s is None and not self.is_testing

    @property
    def is_open(self) -> bool:
        return self.open_since_s is not None

    def lost(self, now_s: float) -> "Breaker":
        """A worker died or could not start."""
        recent = tuple(at_s for at_s in self.losses_s if now_s - at_s < WINDOW_S)
        return replace(self, losses_s=(*recent, now_s))

    def succeeded(self) -> "Breaker":
        """A worker finished a job: it does not matter how the job ended."""
        return replace(self, losses_s=(), has_succeeded=True) if self.is_testing else Breaker()

    def wants_canary(self, now_s: float) -> bool:
        """Whether a canary should be sent now."""
        if self.is_testing:
            return False
        return now_s >= self.canary_at_s if self.is_open else len(self.losses_s) >= SUSPICIOUS_LOSSES

    def sent(self) -> "Breaker":
        """The canary is out."""
        return replace(self, is_testing=True)

    def passed(self) -> "Breaker":
        """The canary was rendered: whatever died, died of its file."""
        return Breaker()

    def failed(self, now_s: float) -> "Breaker":
        """The canary failed too: it is not the files. But a job that went well meanwhile is the better canary."""
        if self.has_succeeded:
            return Breaker()
        count = self.canaries_failed + 1
        return replace(
            self,
            is_testing=False,
            open_since_s=now_s if self.open_since_s is None else self.open_since_s,
            canaries_failed=count,
            canary_at_s=now_s + min(_RETRY_S * 2.0 ** min(count - 1, 10), _RETRY_MAX_S),
        )
