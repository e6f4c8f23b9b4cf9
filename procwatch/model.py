"""Frozen values that cross rooms.

Paths are `str` as os.fsdecode gives them (surrogateescape), so that any bytes survive; relative paths use "/".
"""

import enum
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

#: What SQLite and the workers' answers can hold. An mtime is more nanoseconds after April 2262, and the inodes of some
#: file systems (FUSE, CIFS) use all 64 bits.
MAX_INTEGER: Final = 2**63 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Fingerprint:
    """Guards one run against a file changing under it. Days after 2262 count as one moment."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Fingerprint":
        return cls(
            device=status.st_dev,
            inode=inode_of(status),
            size=status.st_size,
            mtime_ns=min(status.st_mtime_ns, MAX_INTEGER),
        )


def inode_of(status: os.stat_result) -> int:
    """Return the number of the inode, without its highest bit."""
    return status.st_ino & MAX_INTEGER


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What the ledger remembers of a file; devices and inodes change over reboots, so they are not in it."""

    inbox: str
    path: str
    size: int
    mtime_ns: int


class State(enum.StrEnum):
    """Where a job is on its way; the ledger stores these words."""

    QUEUED = "queued"
    RUNNING = "running"
    PUBLISHING = "publishing"
    DONE = "done"
    FAILED = "failed"
    VANISHED = "vanished"


class Original(enum.StrEnum):
    """Where the dropped file is after its job ended."""

    INBOX = "inbox"  # not disposed of yet
    ARCHIVED = "archived"
    DELETED = "deleted"
    KEPT = "kept"
    FAILED = "failed"  # moved to the failed folder
    STUCK = "stuck"  # done, but we may not remove it
    BLOCKED = "blocked"  # can be neither read nor moved
    GONE = "gone"  # somebody else removed it


OnSuccess = Literal["archive", "delete", "keep"]
OnConflict = Literal["suffix", "overwrite", "fail"]
ObserverKind = Literal["auto", "native", "polling"]


@dataclass(frozen=True, kw_only=True, slots=True)
class InboxSpec:
    """A watched folder together with its outbox, archive, failed folder and recipe. Folders are absolute."""

    name: str
    path: str
    outbox: str
    archive: str
    failed: str
    recipe: str
    recursive: bool = True
    on_success: OnSuccess = "archive"
    on_conflict: OnConflict = "suffix"
    settle_s: float = 2.0
    incomplete_after_s: float = 60.0
    rescan_s: float = 30.0
    include: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    observer: ObserverKind = "auto"
    output_mode: int = 0o664
    dir_mode: int = 0o2775
    archive_keep_s: float | None = None  # originals older than this leave the archive; None: never
    failed_keep_s: float | None = None
    min_free_bytes: int | None = None  # intake pauses while a disk of ours has less; None: never


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Caps on one file. Beyond one of them a file fails with its own code before it is decoded."""

    max_pixels: int = 200_000_000
    max_bytes: int = 1024**3
    max_frames: int = 2000
    timeout_s: float = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderTask:
    """What a worker gets: small, picklable, plain. `recipe` is an imaging Recipe (kept opaque for the pool)."""

    job: str
    attempt: int
    root: str  # the inbox folder, absolute
    path: str  # relative to root
    fingerprint: Fingerprint
    recipe: object
    staging_root: str  # absolute; where the worker puts its files below it says staging_prefix()
    limits: Limits
    output_mode: int = 0o600  # of new files: what the published one is to have, so that nobody has to set it
    want_digest: bool = False
    digest_later: bool = False  # it may come behind the answer
    grant_bytes: int = 0  # memory that it may take beside the idle worker's; 0: what every job may

    def __reduce__(self) -> Any:
        # As one tuple, in a third of the time: a dataclass with slots gets and sets its state field by field in Python.
        file, caps = self.fingerprint, self.limits
        return _task, (
            (self.job, self.attempt, self.root, self.path, self.recipe, self.staging_root),
            (file.device, file.inode, file.size, file.mtime_ns),
            (caps.max_pixels, caps.max_bytes, caps.max_frames, caps.timeout_s),
            (self.output_mode, self.want_digest, self.digest_later, self.grant_bytes),
        )


def _task(
    work: tuple[str, int, str, str, object, str],
    file: tuple[int, int, int, int],
    caps: tuple[int, int, int, float],
    rest: tuple[int, bool, bool, int],
) -> RenderTask:
    job, attempt, root, path, recipe, staging_root = work
    device, inode, size, mtime_ns = file
    max_pixels, max_bytes, max_frames, timeout_s = caps
    output_mode, want_digest, digest_later, grant_bytes = rest
    return RenderTask(
        job=job,
        attempt=attempt,
        root=root,
        path=path,
        fingerprint=Fingerprint(device=device, inode=inode, size=size, mtime_ns=mtime_ns),
        recipe=recipe,
        staging_root=staging_root,
        limits=Limits(max_pixels=max_pixels, max_bytes=max_bytes, max_frames=max_frames, timeout_s=timeout_s),
        output_mode=output_mode,
        want_digest=want_digest,
        digest_later=digest_later,
        grant_bytes=grant_bytes,
    )


#: Below an outbox: what is not published yet.
STAGING: Final = ".procwatch-staging"


def slot_folder(root: str, slot: int) -> str:
    """Return the folder below the staging root in which the files of a slot's worker wait for publishing."""
    return f"{root}/slot-{slot}"


def staging_prefix(root: str, slot: int, job: str, attempt: int) -> str:
    """Return what the paths of one attempt's files begin with. No two attempts share one, nor does one begin another.

    What follows is the output's index and the extension: "ROOT/slot-1/JOB.1.0.jpg". One folder for all attempts of a
    slot spares each file the making and the removing of its own.
    """
    return f"{slot_folder(root, slot)}/{job}.{attempt}."


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """One file that a worker made, still in staging. `file` is a bare name that begins as staging_prefix() says."""

    output: str
    file: str
    ext: str  # without dot, lower case
    width: int  # pixels
    height: int
    size: int  # bytes
    inode: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """What a worker says of a job that went well."""

    renditions: tuple[Staged, ...]
    width: int  # of the source, upright, pixels
    height: int
    format: str
    frames: int
    sha256: str | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderFailed:
    """What a worker says of a job that went wrong.

    `code` is a key of errors.ERROR_CODES, or one of five that cost the job nothing: "changed" (the file is not
    the one that was noticed), "vanished", "environment" (the output side has trouble: disk full, read-only …),
    "deferred" (it needs more memory; `reason` is the bytes), "sandbox-stale" (the worker is for folders that were
    replaced since).
    """

    code: str
    reason: str


RenderResult = Rendered | RenderFailed


_newest_id_ms = [0]


def new_id() -> str:
    """Return a job id that sorts after all before it: 12 hex digits of milliseconds, 6 random ones.

    "The newest job of a path" is the one with the highest id, so ids go up also when the clock is set back.
    """
    _newest_id_ms[0] = max(time.time_ns() // 1_000_000, _newest_id_ms[0] + 1)
    return f"{_newest_id_ms[0]:012x}{secrets.token_hex(3)}"


def ids_start_after(job: str | None) -> None:
    """Have new ids sort after that of the newest job of earlier runs, whatever the clock said then."""
    if job is not None:
        _newest_id_ms[0] = max(_newest_id_ms[0], int(job[:12], 16))
