"""A conflict about a name says whose it is."""

from types import SimpleNamespace
from typing import cast

import pytest

from procwatch.delivery.memory_fs import MemoryFs
from procwatch.delivery.naming import collision_key
from procwatch.dispatch.ledger_reader import LedgerReader, Rendition
from procwatch.dispatch.name_choice import NameChooser, NameConflictError
from procwatch.dispatch.orders import PublishOrder
from procwatch.model import InboxSpec

pytestmark = pytest.mark.unit

SPEC = InboxSpec(
    name="photos",
    path="/in",
    outbox="/out",
    archive="/archive",
    failed="/failed",
    recipe="web",
    on_conflict="fail",
)


class Owners:
    """A ledger that knows who owns which key."""

    def __init__(self, owners: dict[str, tuple[str, str]]) -> None:
        self._owners = {collision_key(name): owner for name, owner in owners.items()}

    def owner(self, outbox: str, key: str) -> tuple[str, str] | None:
        return self._owners.get(key)

    def owners(self, keys: set[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, str] | None]:
        return {(outbox, key): self.owner(outbox, key) for outbox, key in keys}


def chooser(fs: MemoryFs, owners: dict[str, tuple[str, str]]) -> NameChooser:
    names = NameChooser(SPEC, fs, cast("LedgerReader", Owners(owners)))
    names.begin_batch(["a.jpg"])
    return names


def order(job: str, path: str) -> PublishOrder:
    return cast("PublishOrder", SimpleNamespace(job=job, path=path))


def rendition() -> Rendition:
    staged = "/out/.procwatch/x"
    return Rendition(
        output="web", outbox="/out", name="", key="", staged=staged, inode=1, size=3, replace=False
    )


@pytest.fixture
def fs() -> MemoryFs:
    made = MemoryFs()
    made.put_dir("/out")
    return made


@pytest.mark.parametrize(
    ("owners", "whose"),
    [
        ({"a.jpg": ("photos", "2027/a.png")}, "belongs to 2027/a.png"),
        ({"A.JPG": ("photos", "A.bmp")}, "belongs to A.bmp"),
        ({"a.jpg": ("scans", "a.png")}, "belongs to a.png of inbox scans"),
        ({}, "belongs to a file that procwatch did not make"),
    ],
)
def test_the_owner_is_named(fs: MemoryFs, owners: dict[str, tuple[str, str]], whose: str) -> None:
    fs.put("/out/a.jpg", b"theirs")
    with pytest.raises(NameConflictError) as conflict:
        chooser(fs, owners).choose(order("job-1", "a.jpg"), rendition(), "a.jpg")
    assert str(conflict.value) == f"the output name a.jpg {whose}"


def test_a_folder_is_called_one(fs: MemoryFs) -> None:
    fs.put_dir("/out/a.jpg")
    with pytest.raises(NameConflictError, match="is that of a folder"):
        chooser(fs, {}).choose(order("job-1", "a.jpg"), rendition(), "a.jpg")


def test_of_two_in_one_batch_the_second_is_told_of_another_file(fs: MemoryFs) -> None:
    names = chooser(fs, {})
    names.choose(order("job-1", "a.jpg"), rendition(), "a.jpg")
    with pytest.raises(NameConflictError, match="belongs to another file"):
        names.choose(order("job-2", "a.bmp"), rendition(), "a.jpg")


def test_its_own_name_taken_by_somebody_just_now_is_not_called_its_own(fs: MemoryFs) -> None:
    names = chooser(fs, {"a.jpg": ("photos", "a.jpg")})
    mine = names.choose(order("job-1", "a.jpg"), rendition(), "a.jpg")
    fs.put("/out/a.jpg", b"somebody's")
    names.lose(mine)
    with pytest.raises(NameConflictError, match="a file that procwatch did not make"):
        names.choose(order("job-1", "a.jpg"), rendition(), "a.jpg")
