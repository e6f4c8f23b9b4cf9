"""What is left in staging, by whom ever: removed after an attempt that came to nothing, or at the next start."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from procwatch.delivery.real_fs import RealFs
from procwatch.dispatch.disposing import Disposer
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.ledger import Ledger
from procwatch.dispatch.ledger_reader import LedgerReader, Rendition
from procwatch.dispatch.orders import Recovered
from procwatch.dispatch.publishing import Publisher
from procwatch.dispatch.recovery import Recovery
from procwatch.model import STAGING, Identity, InboxSpec, State, slot_folder, staging_prefix
from tests.support import images
from tests.support.canaries import CanaryTree
from tests.unit.test_dispatch_power_cut import Ears

pytestmark = pytest.mark.integration

JOB = "00000000000000abcd"


@dataclass(kw_only=True)
class Bench:
    """The finishing lane's parts on a real disk and ledger; one job is running."""

    root: Path
    disposer: Disposer
    recovery: Recovery
    journal: Journal
    reader: LedgerReader
    identity: Identity

    @property
    def slot(self) -> Path:
        return Path(slot_folder(f"{self.root}/out/{STAGING}", 1))

    def clean(self, attempt: int = 1) -> list[str]:
        """Clean up after an attempt; return what is left in the slot."""
        self.disposer.clean(staging_prefix(f"{self.root}/out/{STAGING}", 1, JOB, attempt))
        return sorted(os.listdir(self.slot))

    def recover(self) -> Recovered:
        return self.recovery.run(slots=1, forgiven=True)

    def intend(self, staged: Path, name: str) -> None:
        """Record that the staged file is about to be published."""
        status = staged.stat()
        rendition = Rendition(
            output="web",
            outbox=str(self.root / "out"),
            name=name,
            key=name,
            staged=str(staged),
            inode=status.st_ino,
            size=status.st_size,
            replace=False,
        )
        self.journal.call(
            lambda ledger: ledger.publishing(
                JOB, self.identity, [rendition], line="{}", sha256=None, overwrite=False
            )
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    for folder in ("in", "out", "archive", "failed", "state", f"out/{STAGING}/slot-1"):
        (tmp_path / folder).mkdir(parents=True)
    source = images.write(tmp_path / "in/a.jpg", images.jpeg(1)).stat()
    spec = InboxSpec(
        name="inbox",
        path=str(tmp_path / "in"),
        outbox=str(tmp_path / "out"),
        archive=str(tmp_path / "archive"),
        failed=str(tmp_path / "failed"),
        recipe="web",
    )
    path = str(tmp_path / "state/ledger.sqlite")
    ledger = Ledger.open(path)
    ledger.begin_run("boot", 1)
    identity = Identity(inbox="inbox", path="a.jpg", size=source.st_size, mtime_ns=source.st_mtime_ns)
    ledger.start_attempt(JOB, identity, recipe="web", recipe_hash="h", attempt=1, queued_at=1.0)
    fs, ears = RealFs(), Ears()

    def post(function: Callable[..., None], *arguments: object) -> None:
        function(*arguments)

    with ExitStack() as stack:
        journal = Journal(ledger)
        stack.callback(journal.close)
        reader = LedgerReader.open(path)
        stack.callback(reader.close)
        publisher = Publisher(spec=spec, fs=fs, journal=journal, reader=reader, post=post, results=ears)
        yield Bench(
            root=tmp_path,
            disposer=Disposer(spec=spec, fs=fs, journal=journal, post=post, results=ears),
            recovery=Recovery(spec=spec, fs=fs, journal=journal, reader=reader, publisher=publisher),
            journal=journal,
            reader=reader,
            identity=identity,
        )


def test_what_one_attempt_left_goes_and_nothing_of_others(bench: Bench) -> None:
    others = [f"{JOB}.10.0.jpg", f"{JOB}.2.0.jpg", "00000000000000abce.1.0.jpg", f"{JOB}.1"]
    for name in (f"{JOB}.1.0.jpg", f"{JOB}.1.1.webp", *others):
        (bench.slot / name).write_bytes(b"x")
    assert bench.clean() == sorted(others)
    assert bench.clean(7) == sorted(others)


def test_what_a_worker_made_under_the_names_of_its_attempt_goes_too(bench: Bench, tmp_path: Path) -> None:
    tree = CanaryTree(root=tmp_path / "elsewhere")
    before = tree.begin()
    (bench.slot / f"{JOB}.1.0.jpg/deep/er").mkdir(parents=True)
    (bench.slot / f"{JOB}.1.1.jpg").symlink_to(tree.root)
    os.mkfifo(bench.slot / f"{JOB}.1.2.jpg")
    (bench.slot / f"{JOB}.1.\n").write_bytes(b"x")
    os.mkdir(os.fsencode(bench.slot / f"{JOB}.1.") + b"\xff")
    assert bench.clean() == []
    assert not tree.changes(before)


def test_a_slot_that_became_a_link_or_is_gone_is_not_cleaned(bench: Bench, tmp_path: Path) -> None:
    aside = images.write(tmp_path / f"aside/{JOB}.1.0.jpg", b"x")
    bench.slot.rmdir()
    bench.disposer.clean(staging_prefix(f"{bench.root}/out/{STAGING}", 1, JOB, 1))
    bench.slot.symlink_to(aside.parent)
    assert bench.clean() == [aside.name]


def test_a_start_sweeps_files_and_the_folders_of_earlier_versions(bench: Bench) -> None:
    images.write(bench.slot / f"{JOB}.1.0.jpg", b"x")
    images.write(bench.slot / f"{JOB}.2/0.jpg", b"x")
    foreign = images.write(bench.slot / "00000000000000ffff.1.0.jpg", b"of another daemon with this outbox")
    assert bench.recover().swept == 2
    assert list(bench.slot.iterdir()) == [foreign]
    os.utime(foreign, (1, 1))
    assert bench.recover().swept == 1, "nobody works for so long"


def test_a_start_does_not_sweep_behind_a_link_in_the_place_of_a_slot(bench: Bench, tmp_path: Path) -> None:
    victim = images.write(tmp_path / "elsewhere/no job.txt", b"somebody's")
    (bench.slot.parent / "slot-2").symlink_to(victim.parent)
    assert bench.recover().swept == 0
    assert victim.exists()


@pytest.mark.parametrize("layout", [f"{JOB}.1.0.jpg", f"{JOB}.1/0.jpg"], ids=["now", "earlier version"])
def test_publishing_is_rolled_forward_from_either_layout(layout: str, bench: Bench) -> None:
    staged = images.write(bench.slot / layout, b"a picture")
    bench.intend(staged, "a-web.jpg")
    found = bench.recover()
    assert (found.rolled_forward, found.requeued) == (1, 0)
    assert (bench.root / "out/a-web.jpg").read_bytes() == b"a picture"
    known = bench.reader.job(JOB)
    assert known is not None
    assert known.state is State.DONE
    assert list(bench.slot.iterdir()) == []


def test_what_is_staged_is_not_trusted_after_the_machine_went_down(bench: Bench) -> None:
    """Intent and data become durable side by side, and only the rename waits for both: the data may be torn."""
    staged = images.write(bench.slot / f"{JOB}.1.0.jpg", bytes(1000))
    bench.intend(staged, "a-web.jpg")
    bench.journal.call(lambda ledger: ledger.begin_run("another boot", 2))
    found = bench.recover()
    assert (found.rolled_forward, found.requeued) == (0, 1)
    assert not (bench.root / "out/a-web.jpg").exists()
    known = bench.reader.job(JOB)
    assert known is not None
    assert (known.state, known.suspicion) == (State.QUEUED, 0)


def test_what_is_in_place_is_whole_whatever_happened(bench: Bench) -> None:
    staged = images.write(bench.slot / f"{JOB}.1.0.jpg", b"a picture")
    bench.intend(staged, "a-web.jpg")
    staged.rename(bench.root / "out/a-web.jpg")
    bench.journal.call(lambda ledger: ledger.begin_run("another boot", 2))
    assert bench.recover().rolled_forward == 1
    known = bench.reader.job(JOB)
    assert known is not None
    assert known.state is State.DONE


@pytest.mark.parametrize("swap", ["link", "other", "two names"])
def test_what_is_staged_is_looked_at_again_before_it_is_rolled_forward(swap: str, bench: Bench) -> None:
    staged = images.write(bench.slot / f"{JOB}.1.0.jpg", b"a picture")
    bench.intend(staged, "a-web.jpg")
    if swap == "two names":
        os.link(staged, bench.root / "kept by the worker")
    else:
        staged.rename(bench.root / "aside")
        staged.symlink_to(bench.root / "aside") if swap == "link" else staged.write_bytes(b"other pix")
    assert bench.recover().requeued == 1
    assert not (bench.root / "out/a-web.jpg").exists()
