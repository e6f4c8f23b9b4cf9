"""The ledger: what it remembers, who owns a name, what happens to a damaged or newer one."""

import contextlib
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from procwatch import faults
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.ledger import Ledger, NameTakenError
from procwatch.dispatch.ledger_open import open_ledger
from procwatch.dispatch.ledger_reader import LedgerReader, Rendition
from procwatch.errors import ConfigError
from procwatch.model import Identity, Original, State

pytestmark = pytest.mark.unit


def identity(path: str = "a.jpg", mtime_ns: int = 1) -> Identity:
    return Identity(inbox="inbox", path=path, size=10, mtime_ns=mtime_ns)


def rendition(name: str, output: str = "web") -> Rendition:
    return Rendition(
        output=output, outbox="/out", name=name, key=name, staged="/s", inode=1, size=1, replace=False
    )


def started(ledger: Ledger, job: str, path: str = "a.jpg", attempt: int = 1) -> None:
    ledger.start_attempt(job, identity(path), recipe="web", recipe_hash="h", attempt=attempt, queued_at=0.0)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with contextlib.closing(Ledger.open(str(tmp_path / "ledger.sqlite"))) as opened:
        yield opened


def test_a_job_that_was_started_answers_for_its_path(ledger: Ledger) -> None:
    started(ledger, "j1")
    known = ledger.known("inbox", "a.jpg")
    assert known is not None
    assert (known.state, known.attempts, known.identity) == (State.RUNNING, 1, identity())


def test_a_path_may_be_any_bytes(ledger: Ledger) -> None:
    path = os.fsdecode(b"caf\xe9\n\xff.jpg")
    started(ledger, "j1", path)
    known = ledger.known("inbox", path)
    assert known is not None
    assert known.identity.path == path


def test_an_archived_job_no_longer_answers_so_the_same_file_may_come_again(ledger: Ledger) -> None:
    started(ledger, "j1")
    ledger.publishing("j1", identity(), [], line="{}", sha256=None, overwrite=False)
    ledger.done("j1", worker_pid=7)
    assert ledger.known("inbox", "a.jpg") is not None
    ledger.disposed("j1", Original.ARCHIVED, "/archive/a.jpg")
    assert ledger.known("inbox", "a.jpg") is None


def test_a_name_belongs_to_the_source_that_published_it_first(ledger: Ledger) -> None:
    started(ledger, "j1")
    ledger.publishing("j1", identity(), [rendition("a.webp")], line="{}", sha256=None, overwrite=False)
    started(ledger, "j2", "a.png")
    with pytest.raises(NameTakenError):
        ledger.publishing(
            "j2", identity("a.png"), [rendition("a.webp")], line="{}", sha256=None, overwrite=False
        )


def test_a_source_that_comes_again_keeps_its_names_and_gives_up_those_it_no_longer_uses(
    ledger: Ledger,
) -> None:
    started(ledger, "j1")
    ledger.publishing(
        "j1",
        identity(),
        [rendition("a.jpg"), rendition("a-s.jpg", "s")],
        line="{}",
        sha256=None,
        overwrite=False,
    )
    ledger.done("j1", worker_pid=7)
    started(ledger, "j2")
    ledger.publishing("j2", identity(), [rendition("a.jpg")], line="{}", sha256=None, overwrite=False)
    assert ledger.obsolete("j2") == [("/out", "a-s.jpg")]
    ledger.done("j2", worker_pid=7)
    assert ledger.owner("/out", "a-s.jpg") is None
    assert ledger.owner("/out", "a.jpg") == ("inbox", "a.jpg")


def test_a_line_counts_as_unwritten_until_it_is_marked(ledger: Ledger) -> None:
    started(ledger, "j1")
    ledger.publishing("j1", identity(), [], line='{"job": "j1"}', sha256=None, overwrite=False)
    ledger.done("j1", worker_pid=7)
    assert [job for job, _, _ in ledger.unlogged("inbox")] == ["j1"]
    ledger.logged(["j1"])
    assert ledger.unlogged("inbox") == []


def test_a_reader_sees_what_is_committed_while_the_daemon_writes(tmp_path: Path) -> None:
    path = str(tmp_path / "odd ?name#%.sqlite")
    journal = Journal(Ledger.open(path))
    reader = LedgerReader.open(path)
    journal.call(lambda ledger: started(ledger, "j1"), durable=True)
    assert reader.known("inbox", "a.jpg") is not None
    with pytest.raises(sqlite3.OperationalError):
        reader._db.execute("DELETE FROM jobs")
    reader.close()
    journal.close()


def test_one_bad_write_of_a_batch_fails_alone(tmp_path: Path) -> None:
    journal = Journal(Ledger.open(str(tmp_path / "ledger.sqlite")))

    def bad(ledger: Ledger) -> None:
        started(ledger, "never")
        raise NameTakenError("x")

    futures = [journal.submit(lambda ledger, n=n: started(ledger, f"j{n}")) for n in range(20)]  # type: ignore[misc]
    refused = journal.submit(bad)
    futures += [journal.submit(lambda ledger, n=n: started(ledger, f"k{n}")) for n in range(20)]  # type: ignore[misc]
    assert all(future.exception() is None for future in futures)
    assert isinstance(refused.exception(), NameTakenError)
    assert journal.call(lambda ledger: ledger.job("never")) is None
    assert journal.call(lambda ledger: ledger.job("k19")) is not None
    journal.close()


def test_a_ledger_of_a_newer_version_is_left_alone_and_the_message_says_so(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.sqlite")
    Ledger.open(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    with pytest.raises(ConfigError, match="version 999"):
        open_ledger(path, lambda reason, kept_as: None)


@pytest.mark.parametrize(
    "damage", [b"", b"this is no database at all, but long enough to look like one" * 20]
)
def test_a_damaged_ledger_is_set_aside_and_the_daemon_starts(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger.open(str(path))
    ledger.begin_run("boot", 1)
    for number in range(500):
        started(ledger, f"j{number}", f"{number}.jpg")
    ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger.close()
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 3] = b"\xff" * 8192 if not damage else content[4096 : 4096 * 3]
    content[: len(damage)] = damage
    path.write_bytes(content)
    told: list[str] = []
    fresh = open_ledger(str(path), lambda reason, kept_as: told.append(kept_as))
    assert len(told) == 1
    assert Path(told[0]).exists()
    assert fresh.job("j1") is None
    fresh.close()


def test_a_sound_ledger_is_not_reset_after_a_crash(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.sqlite")
    ledger = Ledger.open(path)
    ledger.begin_run("boot", 1)
    started(ledger, "j1")
    ledger.close()
    again = open_ledger(path, lambda reason, kept_as: pytest.fail(reason))
    assert again.job("j1") is not None
    again.close()


def test_a_write_that_need_not_be_durable_waits_for_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker waits for "attempt started": not also for what others publish."""
    journal = Journal(Ledger.open(str(tmp_path / "ledger.sqlite")))
    disk, asked = threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        asked.set()
        assert disk.wait(30)

    monkeypatch.setattr(os, "fsync", slow)
    durable = journal.submit(lambda ledger: started(ledger, "j1"), durable=True)
    assert asked.wait(30)
    journal.call(lambda ledger: started(ledger, "j2"))
    with pytest.raises(TimeoutError):
        durable.result(0.0)
    assert journal.busy_s(time.monotonic()) > 0, "whoever watches over the daemon sees that a disk hangs"
    disk.set()
    durable.result(30)
    journal.close()


def test_what_a_failed_sync_may_have_lost_is_never_built_upon(tmp_path: Path) -> None:
    """The kernel forgets that the pages were dirty: the log is emptied into the database before it is used again."""
    path = tmp_path / "ledger.sqlite"
    journal = Journal(Ledger.open(str(path)))
    faults.arm("ledger.sync:1:EIO")
    try:
        with pytest.raises(OSError, match="Input/output"):
            journal.call(lambda ledger: started(ledger, "j1"), durable=True)
    finally:
        faults.arm(None)
    journal.call(lambda ledger: started(ledger, "j2"), durable=True)
    (tmp_path / "lost").mkdir()
    shutil.copy(path, tmp_path / "lost/ledger.sqlite")  # without the log
    after = Ledger.open(str(tmp_path / "lost/ledger.sqlite"))
    assert after.job("j1") is not None
    after.close()
    journal.close()


def test_what_is_rendered_is_no_suspect_of_what_ends_the_daemon_later(ledger: Ledger) -> None:
    for job in ("job-a", "job-b", "job-c"):
        started(ledger, job, f"{job}.jpg")
    ledger.requeue("job-c")
    ledger.rendered(["job-a", "job-c"])
    states = {job: known.state for job in ("job-a", "job-b", "job-c") if (known := ledger.job(job))}
    assert states == {"job-a": State.QUEUED, "job-b": State.RUNNING, "job-c": State.QUEUED}
