"""Somebody takes an output's name after it was chosen and before the file is there."""

from collections.abc import Callable

import pytest

from procwatch.delivery.memory_fs import MemoryFs
from tests.unit.test_dispatch_power_cut import Daemon

pytestmark = pytest.mark.unit


class BusyFs(MemoryFs):
    """A disk in memory on which somebody does something right before a rendition is put in place."""

    def __init__(self, meddle: Callable[[MemoryFs], None]) -> None:
        super().__init__()
        self._meddle: Callable[[MemoryFs], None] | None = meddle

    def rename_noreplace(self, src: str, dst: str) -> None:
        meddle, self._meddle = self._meddle, None
        if meddle is not None:
            meddle(self)
        super().rename_noreplace(src, dst)


def published(path: str, meddle: Callable[[MemoryFs], None], disk: type[BusyFs] = BusyFs) -> dict[str, bytes]:
    """Publish one source and return what is in the outbox."""
    fs = disk(meddle)
    for folder in ("/in", "/in/album", "/out", "/archive", "/failed"):
        fs.put_dir(folder)
    fs.put(f"/in/{path}", b"picture")
    daemon = Daemon(fs, None)
    daemon.run()
    assert daemon.ears.done, daemon.ears.refused
    known = daemon.ledger.newest("inbox", path)
    assert known is not None
    names = {f"/out/{rendition.name}" for rendition in daemon.ledger.renditions(known.job)}
    found = {name: data for name, data in fs.files("/out").items() if ".procwatch" not in name}
    assert names <= set(found), "the ledger knows the names that were used"
    return found


def test_a_file_that_appears_there_is_not_replaced() -> None:
    found = published("a.jpg", lambda fs: fs.put("/out/a-web.jpg", b"somebody's"))
    assert found == {
        "/out/a-web.jpg": b"somebody's",
        "/out/a-web-2.jpg": b"web of picture",
        "/out/a-thumb.jpg": b"thumb of picture",
    }


def test_a_name_can_be_lost_again_and_again() -> None:
    """Whoever is faster three times in a row has three names, and ours is the next."""
    names = ["/out/a-web.jpg", "/out/a-web-2.jpg", "/out/a-web-3.jpg"]

    class Faster(BusyFs):
        def rename_noreplace(self, src: str, dst: str) -> None:
            if dst in names:
                self.put(dst, b"somebody's")
            super().rename_noreplace(src, dst)

    found = published("a.jpg", lambda fs: None, Faster)
    assert [found.pop(name) for name in names] == [b"somebody's"] * 3
    assert found == {"/out/a-web-4.jpg": b"web of picture", "/out/a-thumb.jpg": b"thumb of picture"}


def test_a_folder_that_appears_there_is_not_entered() -> None:
    found = published("a.jpg", lambda fs: fs.put("/out/a-web.jpg/theirs", b"somebody's"))
    assert found["/out/a-web-2.jpg"] == b"web of picture"


@pytest.mark.parametrize(
    ("there", "outputs"),
    [
        (b"web of picture", {"/out/a-web.jpg", "/out/a-thumb.jpg"}),
        (b"WEB of picture", {"/out/a-web.jpg", "/out/a-web-2.jpg", "/out/a-thumb.jpg"}),
    ],
    ids=["same bytes", "same size"],
)
def test_a_file_that_the_ledger_does_not_know_is_ours_if_it_holds_the_same_bytes(
    there: bytes, outputs: set[str]
) -> None:
    """A power cut may leave a rendition in place and take its intent away; or the ledger was lost."""
    fs = BusyFs(lambda fs: None)
    for folder in ("/in", "/out", "/archive", "/failed"):
        fs.put_dir(folder)
    fs.put("/in/a.jpg", b"picture")
    fs.put("/out/a-web.jpg", there)
    daemon = Daemon(fs, None)
    daemon.run()
    found = {name for name in fs.files("/out") if ".procwatch" not in name}
    assert found == outputs
    assert fs.read("/out/a-web.jpg") == there
    known = daemon.ledger.newest("inbox", "a.jpg")
    assert known is not None
    assert len(daemon.ledger.renditions(known.job)) == 2


def test_what_another_source_owns_is_not_ours_whatever_it_holds() -> None:
    fs = MemoryFs()
    for folder in ("/in", "/out", "/archive", "/failed"):
        fs.put_dir(folder)
    daemon = Daemon(fs, None)
    for name in ("a.jpg", "a.jpeg"):
        fs.put(f"/in/{name}", b"picture")
        daemon.run()
    assert "/out/a-web-2.jpg" in fs.files("/out")
