"""Frozen values between the loop and an inbox's finishing lane: what is to be done, and what became of it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from procwatch.dispatch.ledger_reader import Known
from procwatch.model import Fingerprint, InboxSpec, Original, Rendered

#: In an order about a job of an earlier run: the ledger remembers no devices and inodes.
UNKNOWN_INODE: Final = 0

#: The largest file that is hashed behind its answer takes 8 ms of a fast CPU. Without a digest a file whose times are
#: set later is rendered again.
_LATE_DIGEST_S: Final = 1.0
_LATE_DIGEST_LOOK_S: Final = 0.0002

#: Where it was that the output side or the ledger refused.
Stage = Literal["render", "publish", "dispose", "ledger"]
Disposal = Literal["archive", "delete", "keep", "failed"]


def destination(spec: InboxSpec, disposal: Disposal) -> str | None:
    """Return the folder that an original is moved to, None where it is not moved."""
    return {"archive": spec.archive, "failed": spec.failed}.get(disposal)


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishOrder:
    """Check, name and publish what a worker made. `line` is the terminal log line but for what naming adds.

    `staging` is what the paths of its files begin with, see model.staging_prefix.
    """

    job: str
    path: str
    fingerprint: Fingerprint
    rendered: Rendered
    staging: str
    recipe: str
    templates: Mapping[str, str]  # output → name template
    line: Mapping[str, Any]
    late_digest: Callable[[], str | None] | None = None  # see pool.ports.Report

    def digest(self) -> str | None:
        """Return the sha256 of what was rendered, None if that is not known. Lane: may wait for the worker's word."""
        if self.rendered.sha256 is not None or self.late_digest is None:
            return self.rendered.sha256
        until_s = time.monotonic() + _LATE_DIGEST_S
        while (digest := self.late_digest()) is None and time.monotonic() < until_s:
            time.sleep(_LATE_DIGEST_LOOK_S)
        return digest or None


@dataclass(frozen=True, kw_only=True, slots=True)
class FailOrder:
    """Record a failure, and remove what a worker may have left in staging."""

    job: str
    path: str
    fingerprint: Fingerprint
    recipe: str
    recipe_hash: str
    queued_at: float
    error: str
    reason: str
    staging: str | None
    line: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class DisposeOrder:
    """Bring an original out of the inbox, if it is still the file that the job was about."""

    job: str
    path: str
    fingerprint: Fingerprint
    ctime_ns: int
    sha256: str | None
    disposal: Disposal
    report: Mapping[str, Any]  # what the error file says, for a failed one


@dataclass(frozen=True, kw_only=True, slots=True)
class Disposed:
    """What became of an original. Touched: not removed, since somebody set its times or mode just now."""

    job: str
    result: Literal["disposed", "touched", "changed"]
    original: Original = Original.INBOX
    moved_to: str | None = None
    problem: str = ""  # why it is stuck or blocked
    fingerprint: Fingerprint | None = None  # for touched: how it is now
    ctime_ns: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovered:
    """What start-up recovery found in the ledger for one inbox."""

    lines: tuple[
        tuple[str, str, Mapping[str, Any]], ...
    ] = ()  # (job, event, fields) that may not have been logged
    undisposed: tuple[Known, ...] = ()
    rolled_forward: int = 0
    requeued: int = 0
    swept: int = 0


class Results(Protocol):
    """The loop's ears: each is posted to the dispatcher's thread."""

    def published(
        self, job: str, line: Mapping[str, Any], sha256: str | None, fingerprint: Fingerprint
    ) -> None: ...
    def unpublished(self, job: str, code: str, reason: str) -> None: ...
    def failed(self, job: str, line: Mapping[str, Any]) -> None: ...
    def trouble(self, job: str, stage: Stage, error: OSError) -> None: ...
    def disposed(self, what: Disposed) -> None: ...
