"""Which paths of the ledger follow when its folder is moved, and what becomes of those that do."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from procwatch.dispatch.ledger import Ledger
from procwatch.dispatch.ledger_home import moved_roots
from procwatch.dispatch.ledger_queries import LedgerQueries
from procwatch.dispatch.ledger_reader import Rendition
from procwatch.model import Identity, Original

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("before", "now", "roots", "moved"),
    [
        (
            "/a/site/.procwatch",
            "/b/site/.procwatch",
            {"/b/site/outbox"},
            {"/a/site/outbox": "/b/site/outbox"},
        ),
        (
            "/old/.procwatch",
            "/new/.procwatch",
            {"/new/o", "/new/f"},
            {"/old/o": "/new/o", "/old/f": "/new/f"},
        ),
        (
            "/mnt/x/s/.p",
            "/s/.p",
            {"/s/outbox", "/out"},
            {"/mnt/x/s/outbox": "/s/outbox", "/mnt/x/out": "/out"},
        ),
        ("/s/.p", "/mnt/x/s/.p", {"/mnt/x/s/outbox"}, {"/s/outbox": "/mnt/x/s/outbox"}),
        # What is elsewhere stays there, also where only its neighbour was moved.
        ("/a/s/.p", "/b/s/.p", {"/srv/outbox"}, {}),
        ("/srv/a/.p", "/srv/b/.p", {"/srv/outbox", "/srv/b/failed"}, {"/srv/a/failed": "/srv/b/failed"}),
        ("/srv/a/.p", "/srv/b/.p", {"/srv/a/outbox", "/srv/b/outbox"}, {}),
        ("/var/lib/one", "/var/lib/two", {"/pictures/outbox"}, {}),
        ("/a/s/.p", "/bb/s/.p", {"/b/s/outbox"}, {}),
    ],
)
def test_what_lay_around_the_ledger_was_moved_with_it(
    before: str, now: str, roots: set[str], moved: dict[str, str]
) -> None:
    assert moved_roots(before, now, roots) == moved


PATH = "\udcff1.jpg"  # not UTF-8


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger of /old, with a job that was published and archived, and one in the archive of another site."""
    (tmp_path / "new").mkdir()
    with contextlib.closing(Ledger.open(str(tmp_path / "new" / "ledger.sqlite"))) as opened:
        assert opened.settle_in("/old/.procwatch", ()) is None
        for job, name, root in (("0001", PATH, "/old"), ("0002", "b.jpg", "/older")):
            identity = Identity(inbox="inbox", path=name, size=1, mtime_ns=2)
            opened.start_attempt(job, identity, recipe="web", recipe_hash="", attempt=1, queued_at=0.0)
            rendition = Rendition(
                output="web",
                outbox=f"{root}/outbox",
                name=name,
                key=name,
                staged=f"{root}/outbox/.staging/s",
                inode=1,
                size=1,
                replace=False,
            )
            opened.publishing(job, identity, [rendition], line="{}", sha256=None, overwrite=False)
            opened.done(job, worker_pid=1)
            opened.disposed(job, Original.ARCHIVED, f"{root}/archive/{name}")
        yield opened


def test_the_paths_follow_once(ledger: Ledger) -> None:
    roots = {"/new/outbox", "/new/archive", "/new/failed"}
    assert ledger.settle_in("/new/.procwatch", roots) == "/old/.procwatch"
    assert ledger.settle_in("/new/.procwatch", roots) is None
    assert ledger.owner("/new/outbox", PATH) == ("inbox", PATH)
    assert ledger.owner("/old/outbox", PATH) is None
    rendition = ledger.renditions("0001")[0]
    assert (rendition.outbox, rendition.staged) == ("/new/outbox", "/new/outbox/.staging/s")
    assert ledger.owner("/older/outbox", "b.jpg") == ("inbox", "b.jpg")


def test_a_name_that_the_new_place_has_already_is_kept(ledger: Ledger) -> None:
    identity = Identity(inbox="inbox", path="another.jpg", size=1, mtime_ns=2)
    taken = Rendition(
        output="web", outbox="/new/outbox", name=PATH, key=PATH, staged="s", inode=2, size=1, replace=False
    )
    ledger.start_attempt("0003", identity, recipe="web", recipe_hash="", attempt=1, queued_at=0.0)
    ledger.publishing("0003", identity, [taken], line="{}", sha256=None, overwrite=False)
    ledger.settle_in("/new/.procwatch", {"/new/outbox"})
    assert ledger.owner("/new/outbox", PATH) == ("inbox", "another.jpg")
    assert ledger.owner("/old/outbox", PATH) is None


def test_a_command_reads_a_moved_ledger_as_the_next_daemon_will_have_it(
    ledger: Ledger, tmp_path: Path
) -> None:
    path, new = str(tmp_path / "new" / "ledger.sqlite"), str(tmp_path / "new")
    ledger.settle_in("/old", ())  # it lay in no folder of its own
    ledger.close()
    before = os.stat(path).st_mtime_ns
    queries = LedgerQueries.open_existing(path, live=False, roots={f"{new}/outbox", f"{new}/archive"})
    assert queries is not None
    with contextlib.closing(queries):
        record = queries.moved_to(f"{new}/archive/{PATH}")
        assert record is not None
        assert (record.known.job, record.moved_to) == ("0001", f"{new}/archive/{PATH}")
        assert [owned.name for owned in queries.owned_names(f"{new}/outbox", "inbox")] == [PATH]
        assert queries.moved_to("/older/archive/b.jpg") is not None
    assert os.stat(path).st_mtime_ns == before
