"""What the publisher does with staged files that are not what the worker's answer said; a real disk and ledger."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from procwatch.delivery.real_fs import RealFs
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.ledger import Ledger
from procwatch.dispatch.ledger_reader import LedgerReader
from procwatch.dispatch.orders import PublishOrder
from procwatch.dispatch.publishing import Publisher
from procwatch.model import STAGING, Fingerprint, Identity, InboxSpec, Rendered, Staged, staging_prefix
from tests.support import images
from tests.support.canaries import CanaryTree
from tests.unit.test_dispatch_power_cut import Ears

pytestmark = pytest.mark.integration

JOB = "00000000000000abcd"


@dataclass(kw_only=True)
class Bench:
    """One publisher with one job whose two renditions are staged."""

    root: Path
    publisher: Publisher
    ears: Ears
    order: PublishOrder

    @property
    def slot(self) -> Path:
        return Path(self.order.staging).parent

    def staged(self, index: int) -> Path:
        return Path(f"{self.order.staging}{index}.jpg")

    @property
    def outbox(self) -> Path:
        return self.root / "out"

    def published(self, **changes: object) -> list[str]:
        """Publish, with a changed answer of the worker; return what is in the outbox."""
        rendered = replace(self.order.rendered, **changes)  # type: ignore[arg-type]
        self.publisher.publish([replace(self.order, rendered=rendered)])
        return sorted(file.name for file in self.outbox.iterdir() if file.name != STAGING)


@pytest.fixture
def canaries(tmp_path: Path) -> Iterator[CanaryTree]:
    """Nothing of it may be read, written or moved."""
    tree = CanaryTree(root=tmp_path / "elsewhere")
    before = tree.begin()
    yield tree
    assert not tree.changes(before)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    for folder in ("in", "out", "archive", "failed", "state"):
        (tmp_path / folder).mkdir()
    source = images.write(tmp_path / "in/a.jpg", images.jpeg(1))
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
    fingerprint = Fingerprint.of(source.stat())
    identity = Identity(inbox="inbox", path="a.jpg", size=fingerprint.size, mtime_ns=fingerprint.mtime_ns)
    ledger.start_attempt(JOB, identity, recipe="web", recipe_hash="h", attempt=1, queued_at=1.0)
    staging = staging_prefix(str(tmp_path / f"out/{STAGING}"), 1, JOB, 1)
    renditions = []
    for index, output in enumerate(("web", "thumb")):
        file = images.write(Path(f"{staging}{index}.jpg"), images.jpeg(index + 5))
        renditions.append(
            Staged(
                output=output,
                file=file.name,
                ext="jpg",
                width=320,
                height=240,
                size=file.stat().st_size,
                inode=file.stat().st_ino,
            )
        )
    rendered = Rendered(renditions=tuple(renditions), width=320, height=240, format="JPEG", frames=1)
    with ExitStack() as stack:
        journal = Journal(ledger)
        stack.callback(journal.close)
        reader = LedgerReader.open(path)
        stack.callback(reader.close)
        ears = Ears()
        yield Bench(
            root=tmp_path,
            publisher=Publisher(
                spec=spec,
                fs=RealFs(),
                journal=journal,
                reader=reader,
                post=lambda function, *arguments: function(*arguments),
                results=ears,
            ),
            ears=ears,
            order=PublishOrder(
                job=JOB,
                path="a.jpg",
                fingerprint=fingerprint,
                rendered=rendered,
                staging=staging,
                recipe="web",
                templates={"web": "{stem}-web.{ext}", "thumb": "{stem}-thumb.{ext}"},
                line={},
            ),
        )


def test_what_a_worker_made_is_published(bench: Bench, canaries: CanaryTree) -> None:
    assert bench.published() == ["a-thumb.jpg", "a-web.jpg"]
    assert bench.ears.done == [JOB]


def swap_for_symlink(file: Path, target: Path) -> None:
    file.unlink()
    file.symlink_to(target)


def swap_for_hard_link(file: Path, target: Path) -> None:
    file.unlink()
    os.link(target, file)


def swap_for_pipe(file: Path, target: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def swap_for_folder(file: Path, target: Path) -> None:
    file.unlink()
    file.mkdir()


def swap_for_another(file: Path, target: Path) -> None:
    file.rename(file.with_name("aside"))  # so that the inode is not used again
    file.write_bytes(b"x" * target.stat().st_size)


def link_twice(file: Path, target: Path) -> None:
    """Whoever keeps a second name may write to the file after it was published."""
    os.link(file, file.with_name("second"))


def grow(file: Path, target: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"more")


@pytest.mark.parametrize(
    "swap",
    [swap_for_symlink, swap_for_pipe, swap_for_folder, swap_for_another, link_twice, grow],
    ids=lambda swap: swap.__name__,
)
def test_a_staged_file_that_was_swapped_is_not_published(
    swap: Callable[[Path, Path], None], bench: Bench, canaries: CanaryTree
) -> None:
    swap(bench.staged(1), canaries.root / "secret.txt")
    assert bench.published() == []
    assert bench.ears.refused == [(JOB, "staging-lost")]


def test_a_hard_link_to_somebodys_file_is_not_published(bench: Bench, tmp_path: Path) -> None:
    """Also when the worker tells the truth about inode and size. A link itself changes the file's link count."""
    secret = images.write(tmp_path / "secret", b"secret")
    swap_for_hard_link(bench.staged(1), secret)
    web, thumb = bench.order.rendered.renditions
    told = replace(thumb, inode=secret.stat().st_ino, size=secret.stat().st_size)
    assert bench.published(renditions=(web, told)) == []
    assert bench.ears.refused == [(JOB, "staging-lost")]
    assert secret.read_bytes() == b"secret"


@pytest.mark.parametrize("file", ["../../../../elsewhere/secret.txt", "/elsewhere/secret.txt", "a/b.jpg"])
def test_a_worker_that_names_files_elsewhere_is_not_believed(
    file: str, bench: Bench, canaries: CanaryTree
) -> None:
    """The daemon would change the mode of that file and move it into the outbox."""
    secret = canaries.root / "secret.txt"
    web, thumb = bench.order.rendered.renditions
    told = replace(thumb, file=file, inode=secret.stat().st_ino, size=secret.stat().st_size)
    assert bench.published(renditions=(web, told)) == []
    assert bench.ears.refused == [(JOB, "staging-lost")]


@pytest.mark.parametrize(
    "file",
    [
        "00000000000000abce.1.0.jpg",
        f"{JOB}.2.0.jpg",
        f"{JOB}.10.0.jpg",
        f"{JOB}.1.0.jpg.1.0.jpg",
        f"{JOB}.1.",
        f"{JOB}.1.x.jpg",
        f"{JOB}.1.2.jpg",
        f"{JOB}.1.1.webp",
        "0.jpg",
    ],
)
def test_a_worker_that_names_files_of_another_job_or_attempt_is_not_believed(file: str, bench: Bench) -> None:
    """They lie in the same folder, those of the slot's last job among them."""
    other = images.write(bench.slot / file, images.jpeg(9))
    web, thumb = bench.order.rendered.renditions
    told = replace(thumb, file=file, inode=other.stat().st_ino, size=other.stat().st_size)
    assert bench.published(renditions=(web, told)) == []
    assert bench.ears.refused == [(JOB, "staging-lost")]
    assert other.exists()


def test_a_path_in_an_extension_leads_nowhere(bench: Bench, canaries: CanaryTree) -> None:
    web, thumb = bench.order.rendered.renditions
    ext = "/../../../../elsewhere/secret.txt"
    assert bench.published(renditions=(web, replace(thumb, file=f"{JOB}.1.1.{ext}", ext=ext))) == []
    assert bench.ears.refused == [(JOB, "staging-lost")]


def test_outputs_that_the_recipe_does_not_have_are_refused(bench: Bench, canaries: CanaryTree) -> None:
    """Too few, too many, others, one twice, one file for two."""
    web, thumb = bench.order.rendered.renditions
    for wrong in (
        (),
        (web,),
        (web, thumb, replace(thumb, output="third")),
        (web, replace(thumb, output="other")),
        (web, replace(thumb, output="web")),
        (web, replace(thumb, file=web.file)),
    ):
        assert bench.published(renditions=wrong) == []
    assert bench.ears.refused == [(JOB, "staging-lost")] * 6


def test_a_staging_folder_that_was_swapped_for_a_link_is_not_entered(
    bench: Bench, canaries: CanaryTree, tmp_path: Path
) -> None:
    """The files behind the link even have the right names, sizes and inodes."""
    aside = tmp_path / "aside"
    bench.slot.rename(aside)
    bench.slot.symlink_to(aside)
    assert bench.published() == []
    assert bench.ears.refused == [(JOB, "staging-lost")]
    assert sorted(file.name for file in aside.iterdir()) == [f"{JOB}.1.0.jpg", f"{JOB}.1.1.jpg"]


def test_an_original_that_became_a_link_is_not_published_for(bench: Bench, canaries: CanaryTree) -> None:
    source = bench.root / "in/a.jpg"
    swap_for_symlink(source, canaries.root / "a.jpg")
    assert bench.published() == []
    assert bench.ears.refused == [(JOB, "changed")]


class ReplacingFs(RealFs):
    """After the look at the first file of a batch its folder is another one, where the second is."""

    def __init__(self, inbox: Path) -> None:
        self._inbox = inbox

    def lstat(self, path: str) -> os.stat_result | None:
        status = super().lstat(path)
        if os.path.basename(path) == "first.jpg":
            (self._inbox / "album").rename(self._inbox / "aside")
            (self._inbox / "album").mkdir()
            (self._inbox / "a.jpg").rename(self._inbox / "album/a.jpg")
        return status


def test_an_original_in_a_folder_that_is_replaced_during_the_batch_has_not_vanished(bench: Bench) -> None:
    images.write(bench.root / "in/album/first.jpg", images.jpeg(3))
    bench.publisher._planner._fs = ReplacingFs(bench.root / "in")
    first = replace(bench.order, job="00000000000000abcc", path="album/first.jpg")
    bench.publisher.publish([first, replace(bench.order, path="album/a.jpg")])
    assert bench.ears.refused == [(first.job, "changed")]
    assert bench.ears.done == [JOB]


def test_a_link_that_waits_at_the_output_name_is_not_followed(bench: Bench, canaries: CanaryTree) -> None:
    (bench.outbox / "a-web.jpg").symlink_to(canaries.root / "a.jpg")
    assert bench.published() == ["a-thumb.jpg", "a-web-2.jpg", "a-web.jpg"]
    assert (bench.outbox / "a-web.jpg").is_symlink()
    assert not (bench.outbox / "a-web-2.jpg").is_symlink()
