"""procwatch audit on folders and a real ledger, with every kind of difference planted once."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from procwatch.cli import main as cli
from procwatch.control.audit import audit
from procwatch.control.findings import DIFFERENCES, NOTES, NOTES_KEPT
from procwatch.model import Original
from tests.support.sites import Site

pytestmark = pytest.mark.integration


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site in order: two done jobs, one failed, one blocked, one kept."""
    made = Site(root=tmp_path / "site")
    made.done("a.jpg")
    made.done("sub/b.jpg")
    made.failed("bad.jpg")
    made.blocked("locked.jpg")
    made.kept("kept.jpg")
    yield made
    made.ledger.close()


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return everything below a folder: inode, mtime, content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            status = path.stat()
            found[str(path)] = (status.st_ino, status.st_mtime_ns, path.read_bytes())
    return found


def kinds(site: Site) -> list[tuple[str, str]]:
    """Return (kind, path) of every difference."""
    report = audit((site.spec,), site.ledger_path, live=False)
    return [(finding.kind, finding.path) for finding in report.differences]


def notes(site: Site, *, live: bool = False) -> list[tuple[str, str]]:
    report = audit((site.spec,), site.ledger_path, live=live, sleep=lambda seconds: None)
    return [(finding.kind, finding.path) for finding in report.notes]


def test_a_site_in_order_has_no_difference(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", str(site.root)]) == 0
    assert "nothing differs" in capsys.readouterr().out


def remove_rendition(site: Site) -> None:
    (site.root / "outbox/sub/b-web.jpg").unlink()


def change_rendition(site: Site) -> None:
    (site.root / "outbox/a-thumb.jpg").write_bytes(b"longer than it was")


def remove_archived(site: Site) -> None:
    (site.root / "archive/sub/b.jpg").unlink()


def cut_archived(site: Site) -> None:
    (site.root / "archive/a.jpg").write_bytes(b"")


def remove_error_file(site: Site) -> None:
    (site.root / "failed/bad.jpg.error.json").unlink()


def remove_failed_file(site: Site) -> None:
    (site.root / "failed/bad.jpg").unlink()


def remove_blocked_file(site: Site) -> None:
    (site.root / "inbox/locked.jpg").unlink()


def remove_report_of_blocked(site: Site) -> None:
    (site.root / "failed/locked.jpg.error.json").unlink()


def remove_running(site: Site) -> None:
    site.started("running.jpg")
    (site.root / "inbox/running.jpg").unlink()


def leave_staging(site: Site) -> None:
    slot = site.root / "outbox/.procwatch-staging/slot-2"
    slot.mkdir(parents=True)
    (slot / "000000000000000001.1.0.jpg").write_bytes(b"x")


def leave_staging_of_an_earlier_version(site: Site) -> None:
    folder = site.root / "outbox/.procwatch-staging/slot-2/000000000000000001.1"
    folder.mkdir(parents=True)
    (folder / "0.jpg").write_bytes(b"x")


def leave_litter_in_staging(site: Site) -> None:
    slot = site.root / "outbox/.procwatch-staging/slot-2"
    slot.mkdir(parents=True)
    (slot / "no job").write_bytes(b"x")


def leave_temp(site: Site) -> None:
    (site.root / "archive/.procwatch-tmp-0123").write_bytes(b"x")


def remove_folder(site: Site) -> None:
    (site.root / "failed/bad.jpg").unlink()
    (site.root / "failed/bad.jpg.error.json").unlink()
    (site.root / "failed/locked.jpg.error.json").unlink()
    (site.root / "inbox/locked.jpg").unlink()
    (site.root / "failed").rmdir()


def damage_ledger(site: Site) -> None:
    site.close()
    Path(site.ledger_path).write_bytes(b"no database at all" * 100)


PLANTED: list[tuple[Callable[[Site], None], str, str]] = [
    (remove_rendition, "rendition-missing", "sub/b-web.jpg"),
    (change_rendition, "rendition-changed", "a-thumb.jpg"),
    (remove_archived, "archive-missing", "sub/b.jpg"),
    (cut_archived, "archive-changed", "a.jpg"),
    (remove_error_file, "error-file-missing", "bad.jpg"),
    (remove_failed_file, "error-file-alone", "bad.jpg.error.json"),
    (remove_blocked_file, "error-file-alone", "locked.jpg.error.json"),
    (remove_report_of_blocked, "error-file-missing", "locked.jpg"),
    (remove_running, "job-without-file", "running.jpg"),
    (leave_staging, "staging-leftover", "slot-2/000000000000000001.1.0.jpg"),
    (leave_staging_of_an_earlier_version, "staging-leftover", "slot-2/000000000000000001.1"),
    (leave_litter_in_staging, "staging-leftover", "slot-2/no job"),
    (leave_temp, "temp-leftover", ".procwatch-tmp-0123"),
    (remove_folder, "folder-missing", "{root}/failed"),
    (damage_ledger, "ledger-unreadable", "{root}/.procwatch/ledger.sqlite"),
]


@pytest.mark.parametrize(("plant", "kind", "path"), PLANTED)
def test_each_planted_difference_is_the_only_one_found(
    plant: Callable[[Site], None], kind: str, path: str, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(site)
    expected = path.format(root=site.root)
    assert kinds(site) == [(kind, expected)]
    assert cli.main(["audit", str(site.root)]) == 1
    shown = capsys.readouterr().out
    assert "1 difference:" in shown
    assert f"  {kind}" in shown


def test_every_kind_of_difference_is_planted_here() -> None:
    assert {kind for _, kind, _ in PLANTED} == set(DIFFERENCES)


def test_several_differences_are_all_listed(site: Site) -> None:
    for plant in (remove_rendition, cut_archived, leave_staging):
        plant(site)
    assert sorted(kind for kind, _ in kinds(site)) == [
        "archive-changed",
        "rendition-missing",
        "staging-leftover",
    ]


def add_notes(site: Site) -> None:
    """Plant one of each kind of note."""
    (site.root / "inbox/new.jpg").write_bytes(b"new")
    (site.root / "inbox/.hidden.jpg").write_bytes(b"ignored by name, so no note")
    site.started("running.jpg")
    site.published("ended.jpg")
    stuck = site.published("stuck.jpg")
    site.ledger.disposed(stuck, Original.STUCK, None)
    (site.root / "inbox/kept.jpg").unlink()
    (site.root / "failed/bad.jpg").unlink()
    (site.root / "failed/bad.jpg.error.json").unlink()
    (site.root / "outbox/mine.txt").write_bytes(b"a person's")
    site.ledger._db.execute("UPDATE jobs SET inbox = 'old' WHERE path = ?", (b"a.jpg",))
    site.ledger._db.execute("DELETE FROM names WHERE source = ?", (b"a.jpg",))


def test_notes_are_told_and_differ_in_nothing(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    add_notes(site)
    assert sorted(notes(site)) == [
        ("failed-removed", "bad.jpg"),
        ("inbox-unconfigured", ""),
        ("interrupted", "running.jpg"),
        ("not-disposed", "ended.jpg"),
        ("original-removed", "kept.jpg"),
        ("stuck", "stuck.jpg"),
        ("unowned", "a-thumb.jpg"),
        ("unowned", "a-web.jpg"),
        ("unowned", "mine.txt"),
        ("waiting", "new.jpg"),
    ]
    assert cli.main(["audit", str(site.root)]) == 0
    shown = capsys.readouterr().out
    for kind in set(NOTES) - {"in-work", "folder-to-come"}:
        assert f"note: {kind}, " in shown


def test_folders_that_no_job_needed_yet_are_no_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["init", str(tmp_path / "new")]) == 0
    assert cli.main(["audit", str(tmp_path / "new")]) == 0
    assert "note: folder-to-come, 3" in capsys.readouterr().out
    (tmp_path / "new/inbox").rmdir()
    assert cli.main(["audit", str(tmp_path / "new")]) == 1


def test_with_a_daemon_open_jobs_are_in_work(site: Site) -> None:
    site.started("running.jpg")
    site.published("ended.jpg")
    assert notes(site, live=True) == [("in-work", "running.jpg"), ("in-work", "ended.jpg")]


def test_with_a_daemon_only_what_two_passes_see_is_a_difference(site: Site) -> None:
    """A file on its way from the inbox to the archive is in neither place for a moment."""
    moved = site.root / "archive/a.jpg"
    aside = site.root / "aside.jpg"
    moved.rename(aside)
    slept: list[float] = []

    def arrive(seconds: float) -> None:
        slept.append(seconds)
        aside.rename(moved)
        leave_staging(site)

    report = audit((site.spec,), site.ledger_path, live=True, sleep=arrive)
    assert report.differences == []
    assert len(slept) == 1


def test_a_retried_file_is_no_difference_while_it_waits_and_when_it_is_done(site: Site) -> None:
    (site.root / "failed/bad.jpg.error.json").unlink()
    (site.root / "failed/bad.jpg").rename(site.root / "inbox/bad.jpg")
    assert kinds(site) == []
    assert notes(site) == [("waiting", "bad.jpg")]
    site.done("bad.jpg")
    assert kinds(site) == []
    assert notes(site) == []


def test_a_file_dropped_again_answers_for_its_outputs_alone(site: Site) -> None:
    """The renditions of the earlier job are replaced; its archived original stays under its own name."""
    (site.root / "archive/a.jpg").rename(site.root / "archive/a-1.jpg")
    site.ledger._db.execute("UPDATE jobs SET moved_to = replace(moved_to, 'a.jpg', 'a-1.jpg')")
    site.done("a.jpg")
    assert kinds(site) == []


def test_a_dropped_file_that_is_named_like_an_error_file_is_a_file(site: Site) -> None:
    site.failed("odd.error.json")
    assert kinds(site) == []
    (site.root / "failed/odd.error.json.error.json").unlink()
    assert kinds(site) == [("error-file-alone", "odd.error.json")]


def test_names_of_any_bytes_are_found_and_shown(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.done(os.fsdecode(b"caf\xe9 \x1b[31m.jpg"))
    assert kinds(site) == []
    os.unlink(os.fsencode(site.root / "archive") + b"/caf\xe9 \x1b[31m.jpg")
    assert cli.main(["audit", str(site.root)]) == 1
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "caf\\xe9" in shown
    assert cli.main(["audit", str(site.root), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["differences"][0]["kind"] == "archive-missing"


def test_json_has_sizes_counts_and_findings(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    add_notes(site)
    remove_rendition(site)
    assert cli.main(["audit", str(site.root), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert report["daemon_running"] is False
    assert report["differences"][0]["path"] == "sub/b-web.jpg"
    assert report["note_counts"]["unowned"] == 3
    sizes = {folder["folder"]: (folder["files"], folder["bytes"]) for folder in report["folders"]}
    assert sizes["archive"] == (2, 2 * len(b"original"))
    assert report["ledger_bytes"] > 4096
    assert report["jobs"]["inbox"]["failed"] == 2


def test_the_summary_names_every_folder_and_the_ledger_with_sizes(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["audit", str(site.root)])
    shown = capsys.readouterr().out
    for folder in ("inbox", "outbox", "staging", "archive", "failed"):
        assert f"  {folder}" in shown
    assert "16 B" in shown
    assert "ledger " in shown
    assert "3 done, 2 failed; no daemon is running" in shown


def test_notes_are_bounded(site: Site) -> None:
    for number in range(NOTES_KEPT + 5):
        (site.root / f"inbox/{number}.jpg").touch()
    report = audit((site.spec,), site.ledger_path, live=False)
    assert report.note_counts["waiting"] == NOTES_KEPT + 5
    assert len(report.notes) == NOTES_KEPT


def test_nothing_is_changed_or_left_behind(site: Site) -> None:
    """Also not the files that SQLite makes beside a ledger that it opens."""
    site.close()
    before = snapshot(site.root)
    assert not Path(site.ledger_path + "-wal").exists()
    assert cli.main(["audit", str(site.root)]) == 0
    assert snapshot(site.root) == before


def test_a_folder_that_never_ran_has_only_waiting_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("inbox", "outbox", "archive", "failed"):
        (tmp_path / name).mkdir()
    (tmp_path / "inbox/a.jpg").write_bytes(b"a")
    assert cli.main(["audit", str(tmp_path)]) == 0
    assert "note: waiting, 1" in capsys.readouterr().out
    assert not (tmp_path / ".procwatch").exists()


def test_an_original_is_not_looked_for_behind_a_link(site: Site, tmp_path: Path) -> None:
    """What somebody's link leads to is not what was kept."""
    site.kept("album/a.jpg")
    (site.root / "inbox/album").rename(tmp_path / "elsewhere")
    (site.root / "inbox/album").symlink_to(tmp_path / "elsewhere")
    assert ("original-removed", "album/a.jpg") in [*kinds(site), *notes(site)]
