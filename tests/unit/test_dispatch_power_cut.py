"""A power cut after every single effect of a job's way, and what recovery makes of it.

SIGKILL keeps the page cache, so it would pass with every fsync deleted. Here un-fsynced effects are dropped as well
(the four corners of what may survive, see MemoryDisk), and the ledger loses commits that were not durable.
"""

import itertools
import json
import os
import sqlite3
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from procwatch.delivery.memory_fs import MemoryFs
from procwatch.dispatch.disposing import Disposer
from procwatch.dispatch.ledger import Ledger
from procwatch.dispatch.orders import UNKNOWN_INODE, Disposal, Disposed, DisposeOrder, FailOrder, PublishOrder
from procwatch.dispatch.publishing import Publisher
from procwatch.dispatch.recovery import Recovery
from procwatch.dispatch.schema import migrate
from procwatch.model import (
    STAGING,
    Fingerprint,
    Identity,
    InboxSpec,
    Original,
    Rendered,
    Staged,
    State,
    staging_prefix,
)

pytestmark = pytest.mark.unit

T = TypeVar("T")
SPEC = InboxSpec(
    name="inbox",
    path="/in",
    outbox="/out",
    archive="/archive",
    failed="/failed",
    recipe="web",
    recursive=True,
)
TEMPLATES = {"web": "{stem}-web.{ext}", "thumb": "{stem}-thumb.{ext}"}
JOBS = itertools.count()  # ids go up, also from one daemon to the next
INPUTS = {"a.jpg": b"picture a", "album/b.jpg": b"picture b", "broken.jpg": b"not a picture"}


@dataclass
class Commits:
    """The ledger's commits: where each stands among the file system's effects, whether it was durable, its content."""

    taken: list[tuple[int, bool, bytes]] = field(default_factory=list)

    def surviving(self, prefix: int) -> list[bytes]:
        """Return every state that the ledger may have after a power cut at `prefix`."""
        before = [commit for commit in self.taken if commit[0] <= prefix]
        newest_durable = max((i for i, commit in enumerate(before) if commit[1]), default=0)
        return [commit[2] for commit in before[newest_durable:]]


class InlineJournal:
    """The journal without a thread; remembers every commit."""

    def __init__(self, fs: MemoryFs, connection: sqlite3.Connection) -> None:
        self.fs, self.db, self.ledger = fs, connection, Ledger(connection)
        self.commits = Commits()
        self._remember(durable=True)

    def _remember(self, *, durable: bool) -> None:
        self.commits.taken.append((len(self.fs.effects), durable, self.db.serialize()))

    def submit(
        self, operation: Callable[[Ledger], T], *, durable: bool = False, point: str | None = None
    ) -> "Future[T]":
        future: Future[T] = Future()
        self.db.execute("BEGIN")
        try:
            result = operation(self.ledger)
            self.db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 (as the real one: it goes to whoever asked)
            self.db.execute("ROLLBACK")
            future.set_exception(error)
            return future
        self.fs.mark(point or "commit")
        self._remember(durable=durable)
        future.set_result(result)
        return future

    def call(self, operation: Callable[[Ledger], T], *, durable: bool = False, point: str | None = None) -> T:
        return self.submit(operation, durable=durable, point=point).result()


class Ears:
    """Implements orders.Results: remembers."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.refused: list[tuple[str, str]] = []
        self.ended: list[Disposed] = []

    def published(
        self, job: str, line: Mapping[str, Any], sha256: str | None, fingerprint: Fingerprint
    ) -> None:
        self.done.append(job)

    def unpublished(self, job: str, code: str, reason: str) -> None:
        self.refused.append((job, code))

    def failed(self, job: str, line: Mapping[str, Any]) -> None:
        self.done.append(job)

    def trouble(self, job: str, stage: str, error: OSError) -> None:
        raise AssertionError(f"{job}: {stage}: {error!r}")

    def disposed(self, what: Disposed) -> None:
        self.ended.append(what)


class Daemon:
    """The way of a file through the real finishing code, on a disk in memory; workers are played."""

    def __init__(self, fs: MemoryFs, database: bytes | None) -> None:
        # Whichever thread collects the garbage closes it.
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, connection.close)
        if database is None:
            migrate(connection)
        else:
            connection.deserialize(database)
        self.fs = fs
        self.journal = InlineJournal(fs, connection)
        self.ledger = self.journal.ledger
        self.ears = Ears()
        self.lines: list[tuple[str, str]] = []
        parts: dict[str, Any] = {
            "spec": SPEC,
            "fs": fs,
            "journal": self.journal,
            "post": lambda function, *arguments: function(*arguments),
            "results": self.ears,
        }
        self.publisher = Publisher(reader=self.ledger, **parts)
        self.disposer = Disposer(**parts)

    def start(self) -> None:
        """Recover, as at a start."""
        parts: dict[str, Any] = {"journal": self.journal, "reader": self.ledger}
        recovery = Recovery(spec=SPEC, fs=self.fs, publisher=self.publisher, **parts)
        what = recovery.run(slots=1, forgiven=True)
        for job, event, fields in what.lines:
            assert fields["recovered"]
            self.log(job, event)
        for known in what.undisposed:
            self.dispose(
                known.job, known.identity.path, "failed" if known.state is State.FAILED else "archive"
            )

    def run(self) -> None:
        """Take every file of the inbox that the ledger does not answer for."""
        for path in sorted(name.removeprefix("/in/") for name in self.fs.files("/in")):
            known = self.ledger.known("inbox", path)
            if known is None or known.state is State.QUEUED:
                attempt = known.attempts + 1 if known else 1
                self.take(known.job if known else f"job{next(JOBS):010}", path, attempt)

    def take(self, job: str, path: str, attempt: int) -> None:
        fingerprint = self.fingerprint(path)
        identity = Identity(inbox="inbox", path=path, size=fingerprint.size, mtime_ns=fingerprint.mtime_ns)
        self.journal.call(
            lambda ledger: ledger.start_attempt(
                job, identity, recipe="web", recipe_hash="h", attempt=attempt, queued_at=0.0
            ),
            point="ledger.started",
        )
        line = {"job": job, "path": path, "worker_pid": 7}
        if self.fs.read(f"/in/{path}").startswith(b"not"):
            self.disposer.fail([self.failure(job, path, fingerprint, line)])
            self.log(job, "job.failed")
            self.dispose(job, path, "failed")
            return
        staging = staging_prefix(f"/out/{STAGING}", 1, job, attempt)
        rendered = self.render(path, staging)
        self.publisher.publish(
            [
                PublishOrder(
                    job=job,
                    path=path,
                    fingerprint=fingerprint,
                    rendered=rendered,
                    staging=staging,
                    recipe="web",
                    templates=TEMPLATES,
                    line=line,
                )
            ]
        )
        self.log(job, "job.done")
        self.dispose(job, path, "archive")

    def render(self, path: str, staging: str) -> Rendered:
        """Play the worker: whole files, not yet durable."""
        renditions = []
        for index, output in enumerate(TEMPLATES):
            ext = "webp" if b"alpha" in self.fs.read(f"/in/{path}") else "jpg"
            file = f"{staging}{index}.{ext}"
            data = output.encode() + b" of " + self.fs.read(f"/in/{path}")
            self.fs.put(file, data, mode=SPEC.output_mode, durable=False)
            status = self.fs.lstat(file)
            assert status is not None
            renditions.append(
                Staged(
                    output=output,
                    file=os.path.basename(file),
                    ext=ext,
                    width=1,
                    height=1,
                    size=status.st_size,
                    inode=status.st_ino,
                )
            )
        return Rendered(renditions=tuple(renditions), width=1, height=1, format="JPEG", frames=1)

    def failure(self, job: str, path: str, fingerprint: Fingerprint, line: Mapping[str, Any]) -> FailOrder:
        return FailOrder(
            job=job,
            path=path,
            fingerprint=fingerprint,
            recipe="web",
            recipe_hash="h",
            queued_at=0.0,
            error="not-an-image",
            reason="no picture",
            staging=None,
            line=line,
        )

    def dispose(self, job: str, path: str, disposal: Disposal, *, adopted: bool = False) -> None:
        """As the loop does: a job of an earlier run knows only the identity, so its file is "touched" first."""
        known = self.ledger.job(job)
        assert known is not None
        if adopted or self.fs.lstat(f"/in/{path}") is None:
            identity = known.identity
            fingerprint = Fingerprint(
                device=0, inode=UNKNOWN_INODE, size=identity.size, mtime_ns=identity.mtime_ns
            )
            ctime_ns = 0
        else:
            fingerprint, ctime_ns = self.fingerprint(path), self.status(path).st_ctime_ns
        order = DisposeOrder(
            job=job,
            path=path,
            fingerprint=fingerprint,
            ctime_ns=ctime_ns,
            sha256=None,
            disposal=disposal,
            report={"job": job, "code": "not-an-image"},
        )
        self.disposer.dispose([order])
        assert self.ears.ended[-1].result != "changed", f"{path}: done again"
        if self.ears.ended[-1].result == "touched":
            self.dispose(job, path, disposal)

    def log(self, job: str, event: str) -> None:
        self.lines.append((job, event))
        self.journal.call(lambda ledger: ledger.logged([job]), point="ledger.logged")

    def status(self, path: str) -> os.stat_result:
        status = self.fs.lstat(f"/in/{path}")
        assert status is not None
        return status

    def fingerprint(self, path: str) -> Fingerprint:
        return Fingerprint.of(self.status(path))


def fresh_disk() -> MemoryFs:
    fs = MemoryFs()
    for folder in ("/in", "/in/album", "/out", "/archive", "/failed"):
        fs.put_dir(folder)
    for path, data in INPUTS.items():
        fs.put(f"/in/{path}", data)
    fs.settle()
    return fs


def check(fs: MemoryFs, daemon: Daemon, where: str) -> None:
    """Fail unless every input is in exactly one place, with its whole set of outputs or its error file."""
    files = fs.files("/")
    for path, data in INPUTS.items():
        places = [name for name, content in files.items() if content == data]
        assert len(places) == 1, f"{where}: {path} is at {places}"
        stem = path.removesuffix(".jpg")
        if data.startswith(b"not"):
            assert places == [f"/failed/{path}"], f"{where}: {places}"
            assert json.loads(files[f"/failed/{path}.error.json"])["code"] == "not-an-image", where
        else:
            assert places == [f"/archive/{path}"], f"{where}: {places}"
            for output in TEMPLATES:
                name = f"/out/{stem}-{output}.jpg"
                assert files.get(name) == output.encode() + b" of " + data, (
                    f"{where}: {name}: {files.get(name)!r}"
                )
    visible = [name for name in files if name.startswith("/out/") and STAGING not in name]
    assert len(visible) == 4, f"{where}: {visible}"
    assert not [name for name in files if STAGING in name], f"{where}: staging is not empty"
    known = {path: daemon.ledger.newest("inbox", path) for path in INPUTS}
    for path, job in known.items():
        assert job is not None, f"{where}: the ledger does not know {path}"
        assert job.original in (Original.ARCHIVED, Original.FAILED, Original.GONE), f"{where}: {path}: {job}"


def test_without_a_power_cut_every_file_ends_where_it_should() -> None:
    fs = fresh_disk()
    daemon = Daemon(fs, None)
    daemon.start()
    daemon.run()
    check(fs, daemon, "no cut")
    assert len(daemon.lines) == len(INPUTS)


def test_a_power_cut_after_any_effect_loses_nothing_and_halves_nothing() -> None:
    """Every prefix of effects, with what un-synced may survive, with every ledger that may survive it."""
    fs = fresh_disk()
    first = Daemon(fs, None)
    first.start()
    first.run()
    cuts = 0
    for prefix in range(len(fs.effects) + 1):
        for names in (False, True):
            for data in (False, True):
                for database in first.journal.commits.surviving(prefix):
                    disk = fs.crash(prefix, names=names, data=data)
                    second = Daemon(disk, database)
                    second.start()
                    second.run()
                    check(disk, second, f"cut {prefix} of {len(fs.effects)}, names={names}, data={data}")
                    cuts += 1
    assert cuts > 4 * len(fs.effects)


@pytest.mark.parametrize("content", [b"another", b"with alpha"], ids=["same names", "other names"])
def test_a_power_cut_while_a_file_replaces_an_earlier_one_leaves_one_of_both(content: bytes) -> None:
    """Whatever the ledger calls done is in place; in the end only the new renditions are."""
    fs = fresh_disk()
    before = Daemon(fs, None)
    before.start()
    before.run()
    fs.put("/in/a.jpg", content)
    fs.settle()
    first = Daemon(fs, before.journal.commits.taken[-1][2])
    first.run()
    ext = "webp" if b"alpha" in content else "jpg"
    wanted = {f"/out/a-{output}.{ext}": output.encode() + b" of " + content for output in TEMPLATES}
    for prefix in range(len(fs.effects) + 1):
        for names, data in ((False, False), (False, True), (True, False), (True, True)):
            for database in first.journal.commits.surviving(prefix):
                disk = fs.crash(prefix, names=names, data=data)
                where = f"cut {prefix} of {len(fs.effects)}, names={names}, data={data}"
                second = Daemon(disk, database)
                check_done(disk, second, where)
                second.start()
                second.run()
                found = {n: d for n, d in disk.files("/out").items() if n.startswith("/out/a-")}
                assert found == wanted, where
                check_done(disk, second, where)


def check_done(disk: MemoryFs, daemon: Daemon, where: str) -> None:
    """Every output of the newest job of a source that the ledger calls done is there, and whole."""
    known = daemon.ledger.newest("inbox", "a.jpg")
    if known is not None and known.state is State.DONE:
        for rendition in daemon.ledger.renditions(known.job):
            status = disk.lstat(f"{rendition.outbox}/{rendition.name}")
            assert status is not None, f"{where}: {rendition.name} is gone"
            assert status.st_size == rendition.size, f"{where}: {rendition.name}"


def test_a_name_that_somebody_took_during_the_outage_stays_theirs() -> None:
    """Power fails after the intent and before the rename; before the next start a stranger uses the very name."""
    fs = fresh_disk()
    first = Daemon(fs, None)
    first.start()
    first.run()
    effects = [effect.text for effect in fs.effects]
    cut = next(n for n, text in enumerate(effects) if "a-web.jpg" in text)
    disk = fs.crash(cut)
    disk.put("/out/a-web.jpg", b"somebody else's")
    second = Daemon(disk, first.journal.commits.surviving(cut)[-1])
    second.start()
    second.run()
    files = disk.files("/out")
    assert files["/out/a-web.jpg"] == b"somebody else's"
    assert files["/out/a-web-2.jpg"] == b"web of picture a"
