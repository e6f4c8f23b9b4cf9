"""What `rebuild --prune` takes for gone: an original that is not there, never one that cannot be seen."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from procwatch.cli import main as cli
from procwatch.control.pruning import orphans
from procwatch.dispatch.ledger_queries import LedgerQueries
from procwatch.errors import UsageError
from procwatch.model import InboxSpec
from tests.support.sites import Site
from tests.support.unprivileged import as_nobody, public_folder

pytestmark = pytest.mark.integration


@pytest.fixture
def site() -> Iterator[Site]:
    """Two kept originals, in a place that every user can reach."""
    with public_folder() as folder:
        made = Site(root=folder / "site")
        made.kept("album/a.jpg")
        made.kept("b.jpg")
        yield made
        made.ledger.close()


def gone(site: Site, spec: InboxSpec | None = None) -> list[str]:
    ledger = LedgerQueries.open_existing(site.ledger_path, live=True)
    assert ledger is not None
    try:
        return sorted(orphan.known.identity.path for orphan in orphans(ledger, spec or site.spec))
    finally:
        ledger.close()


def remove_file(inbox: Path) -> None:
    (inbox / "album/a.jpg").unlink()


def remove_folder(inbox: Path) -> None:
    remove_file(inbox)
    (inbox / "album").rmdir()


def replace_folder_by_file(inbox: Path) -> None:
    remove_folder(inbox)
    (inbox / "album").write_bytes(b"")


@pytest.mark.parametrize("remove", [remove_file, remove_folder, replace_folder_by_file])
def test_what_is_not_there_is_gone(remove: Callable[[Path], None], site: Site) -> None:
    assert gone(site) == []
    remove(site.root / "inbox")
    assert gone(site) == ["album/a.jpg"]


def test_what_cannot_be_seen_is_not_gone_and_nothing_is_pruned(site: Site) -> None:
    """As by `mv album inbox/` of somebody else's closed folder; b.jpg is gone, and stays unpruned as well."""
    (site.root / "inbox/b.jpg").unlink()
    (site.root / "inbox/album").chmod(0)
    try:
        with as_nobody(), pytest.raises(UsageError) as told:
            gone(site)
    finally:
        (site.root / "inbox/album").chmod(0o755)
    assert "album/a.jpg may be there or not: Permission denied" in told.value.message
    assert "nothing was removed" in told.value.hint


def test_an_original_behind_a_link_is_not_looked_for(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever puts an empty folder's link in the place of an album has not deleted what is in it."""
    (site.root / "elsewhere").mkdir()
    (site.root / "inbox/album").rename(site.root / "inbox/aside")
    (site.root / "inbox/album").symlink_to(site.root / "elsewhere")
    (site.root / "procwatch.toml").write_text(
        '[state]\ndir = ".procwatch"\n[[inbox]]\npath = "inbox"\non_success = "keep"\n'
    )
    site.close()
    outputs = sorted(os.listdir(site.root / "outbox/album"))
    assert len(outputs) == 2
    for options in (["--dry-run"], []):
        assert cli.main(["rebuild", "--prune", str(site.root), *options]) == 2
        assert "a folder on the way is a symbolic link" in capsys.readouterr().err
    assert sorted(os.listdir(site.root / "outbox/album")) == outputs


def test_an_output_whose_folder_somebody_replaced_is_no_obstacle(site: Site) -> None:
    (site.root / "procwatch.toml").write_text(
        '[state]\ndir = ".procwatch"\n[[inbox]]\npath = "inbox"\non_success = "keep"\n'
    )
    site.close()
    remove_file(site.root / "inbox")
    (site.root / "outbox/album").rename(site.root / "outbox/aside")
    (site.root / "outbox/album").write_bytes(b"")
    assert cli.main(["rebuild", "--prune", str(site.root)]) == 0
