"""A job while it is in the daemon's memory, owned by the dispatcher's thread."""

from collections.abc import Mapping
from dataclasses import dataclass

from procwatch.intake.settle import Cause
from procwatch.model import Fingerprint, Identity, State


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipePlan:
    """What the dispatcher needs to know of a recipe; `payload` goes to the worker unopened."""

    name: str
    hash: str
    templates: Mapping[str, str]  # output → name template
    payload: object
    extensions: Mapping[str, frozenset[str]]  # output → those that its format can have


@dataclass(kw_only=True, slots=True)
class Job:
    """One file of one identity to be rendered with one recipe."""

    id: str
    inbox: str
    path: str
    fingerprint: Fingerprint
    ctime_ns: int
    changed_ns: int  # the later of mtime and ctime when it was noticed, wall clock
    queued_s: float  # monotonic
    queued_at: float  # epoch seconds
    removable_after_s: float  # monotonic; before it a tool may still set times or modes by name
    want_digest: bool  # the original may be touched between rendering and removal
    state: State = State.QUEUED
    attempt: int = 0  # runs so far; the current one while running
    deaths: int = 0  # workers that died of it
    suspicion: int = 0  # daemon deaths while it was running
    refusals: int = 0  # times that a worker could not read what the daemon can
    relosses: int = 0  # times that staged files were gone
    stales: int = 0  # times that a worker's sandbox did not fit the folders
    free_rounds: int = 0  # that cost it nothing while its file stayed the same
    free_of: Fingerprint | None = None  # that file
    folders_seen: object = None  # what the daemon found where a worker's sandbox did not fit
    grant_bytes: int = 0  # memory that a worker said it needs; 0: what every job gets
    started_s: float = 0.0  # monotonic, of the current attempt
    touched: Cause | None = None  # an event that came while it was in work: look again when it is over
    told_stuck: bool = False  # people were told already that the original cannot be removed
    sha256: str | None = None
    error: str = ""  # set with State.FAILED

    def count_free_round(self) -> int:
        """Note that a worker gave it back, or died, for no fault of its file; return how often that was so."""
        if self.free_of != self.fingerprint:
            self.free_of, self.free_rounds = self.fingerprint, 0
        self.free_rounds += 1
        return self.free_rounds

    @property
    def identity(self) -> Identity:
        return Identity(
            inbox=self.inbox, path=self.path, size=self.fingerprint.size, mtime_ns=self.fingerprint.mtime_ns
        )
