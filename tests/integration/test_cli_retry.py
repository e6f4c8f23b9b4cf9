"""procwatch retry on real folders, without a daemon."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from procwatch.cli import main as cli
from procwatch.control import retrying
from procwatch.delivery.real_fs import RealFs
from procwatch.dispatch.ledger_queries import LedgerQueries
from procwatch.model import Original
from tests.support.sites import Site

pytestmark = pytest.mark.integration


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Three failed files: two of one reason, one in a folder that the inbox no longer has."""
    made = Site(root=tmp_path / "site")
    made.failed("a.jpg", "truncated")
    made.failed("b.jpg", "timeout")
    made.failed("deep/er/c.jpg", "truncated")
    (made.root / "inbox/deep/er").rmdir()
    (made.root / "inbox/deep").rmdir()
    yield made
    made.ledger.close()


def retry(site: Site, *arguments: str | Path) -> int:
    return cli.main(["retry", *map(str, arguments), "-d", str(site.root)])


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_all_go_back_to_where_they_were_and_their_error_files_are_gone(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert retry(site, "--all") == 0
    assert names(site.root / "inbox") == ["a.jpg", "b.jpg", "deep/er/c.jpg"]
    assert names(site.root / "failed") == []
    shown = capsys.readouterr().out
    assert "retrying a.jpg (failed as truncated)\n" in shown
    assert "no daemon is running" in shown
    assert retry(site, "--all") == 0
    assert capsys.readouterr().out == "no failed files to retry\n"


def test_one_reason_is_chosen_by_its_code(site: Site) -> None:
    assert retry(site, "--error", "truncated") == 0
    assert names(site.root / "inbox") == ["a.jpg", "deep/er/c.jpg"]
    assert names(site.root / "failed") == ["b.jpg", "b.jpg.error.json"]


@pytest.mark.parametrize(
    "given",
    [
        "{root}/failed/deep/er/c.jpg",
        "{root}/failed/deep/er/c.jpg.error.json",
        "deep/er/c.jpg",
        "{root}/failed/deep",
    ],
)
def test_a_file_is_named_by_its_place_its_error_file_its_folder_or_its_original_path(
    given: str, site: Site
) -> None:
    assert retry(site, given.format(root=site.root)) == 0
    assert names(site.root / "inbox") == ["deep/er/c.jpg"]


def test_the_site_is_found_by_walking_up_from_the_path(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["retry", "site/failed/a.jpg"]) == 0
    monkeypatch.chdir(site.root / "failed")
    assert cli.main(["retry", "b.jpg"]) == 0
    assert names(site.root / "inbox") == ["a.jpg", "b.jpg"]


def test_a_file_that_the_inbox_has_is_never_replaced(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    (site.root / "inbox/a.jpg").write_bytes(b"a new one")
    assert retry(site, "--all") == 1
    assert (site.root / "inbox/a.jpg").read_bytes() == b"a new one"
    assert names(site.root / "failed") == ["a.jpg", "a.jpg.error.json"]
    assert "a.jpg: not retried: the inbox has a file of that name" in capsys.readouterr().err


def test_a_failed_file_with_a_number_goes_back_under_its_own_name(site: Site) -> None:
    """The failed folder had the name already, so that the file got another one there."""
    site.failed("a-2.jpg", "timeout")
    report = site.root / "failed/a-2.jpg.error.json"
    report.write_text(report.read_text().replace('"path": "a-2.jpg"', '"path": "orig/a.jpg"'))
    assert retry(site, site.root / "failed/a-2.jpg") == 0
    assert names(site.root / "inbox") == ["orig/a.jpg"]


@pytest.mark.parametrize("path", ["../outside.jpg", "/etc/outside.jpg", "x/../../outside.jpg", "", ".."])
def test_an_error_file_cannot_send_a_file_out_of_the_inbox(path: str, site: Site) -> None:
    (site.root / "failed/a.jpg.error.json").write_text(
        json.dumps({"inbox": "inbox", "path": path, "job": "1"})
    )
    assert retry(site, site.root / "failed/a.jpg") == 0
    assert names(site.root / "inbox") == ["a.jpg"]


def test_a_link_in_the_inbox_is_not_followed(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere/er").mkdir(parents=True)
    (site.root / "inbox/deep").symlink_to(tmp_path / "elsewhere")
    assert retry(site, site.root / "failed/deep/er/c.jpg") == 1
    assert "not retried: " in capsys.readouterr().err
    assert names(tmp_path / "elsewhere") == []
    assert (site.root / "failed/deep/er/c.jpg").exists()


def test_a_file_without_its_error_file_goes_back_too(site: Site) -> None:
    (site.root / "failed/a.jpg.error.json").unlink()
    assert retry(site, "--all") == 0
    assert "a.jpg" in names(site.root / "inbox")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"path": 5, "job": []}', "null"])
def test_a_damaged_error_file_is_no_obstacle(content: str, site: Site) -> None:
    (site.root / "failed/a.jpg.error.json").write_text(content)
    assert retry(site, site.root / "failed/a.jpg") == 0
    assert names(site.root / "inbox") == ["a.jpg"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give rights to folders of others")
def test_a_folder_that_takes_the_place_of_the_one_just_made_keeps_its_rights(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write the inbox may put somebody's closed folder there, in the same instant."""
    closed = site.root / "inbox/closed"
    closed.mkdir(mode=0o700)
    os.chown(closed, 65534, 65534)
    mkdir = os.mkdir

    def swapped(path: str, mode: int = 0o777) -> None:
        mkdir(path, mode)
        (site.root / "inbox/deep").rename(site.root / "inbox/aside")
        closed.rename(site.root / "inbox/deep")

    monkeypatch.setattr(os, "mkdir", swapped)
    with contextlib.suppress(OSError):
        retrying._make_folder(RealFs(), site.spec, "deep")
    status = (site.root / "inbox/deep").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (65534, 65534, 0o700)


def test_a_folder_made_again_is_owned_and_opened_as_the_inbox_is(site: Site) -> None:
    old = os.umask(0o077)
    try:
        assert retry(site, "deep/er/c.jpg") == 0
    finally:
        os.umask(old)
    inbox = (site.root / "inbox").stat()
    for name in ("deep", "deep/er"):
        status = (site.root / "inbox" / name).stat()
        assert (status.st_uid, status.st_gid) == (inbox.st_uid, inbox.st_gid)
        assert status.st_mode & 0o7777 == site.spec.dir_mode


@pytest.mark.parametrize("command", ["retry", "explain"])
def test_a_pipe_in_the_place_of_an_error_file_is_not_waited_for(command: str, site: Site) -> None:
    report = site.root / "failed/a.jpg.error.json"
    report.unlink()
    os.mkfifo(report)
    assert cli.main([command, str(site.root / "failed/a.jpg")]) == 0
    if command == "retry":
        assert names(site.root / "inbox") == ["a.jpg"]


def test_an_error_file_that_is_a_link_is_not_read(site: Site, tmp_path: Path) -> None:
    report = site.root / "failed/a.jpg.error.json"
    report.rename(tmp_path / "elsewhere.json")
    report.symlink_to(tmp_path / "elsewhere.json")
    file = retrying.failed_file(site.spec, "a.jpg")
    assert (file.job, file.error) == (None, None)


def test_an_error_file_behind_a_link_is_neither_read_nor_removed(site: Site, tmp_path: Path) -> None:
    (site.root / "failed/deep").rename(tmp_path / "elsewhere")
    (site.root / "failed/deep").symlink_to(tmp_path / "elsewhere")
    file = retrying.failed_file(site.spec, "deep/er/c.jpg")
    assert (file.job, file.error) == (None, None)
    report = json.loads((tmp_path / "elsewhere/er/c.jpg.error.json").read_text())
    for job in (None, report["job"]):
        retrying.remove_report(RealFs(), site.spec, "deep/er/c.jpg", job)
    assert (tmp_path / "elsewhere/er/c.jpg.error.json").exists()


def test_a_new_error_file_of_a_file_that_failed_again_at_once_stays(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running daemon may have rendered and failed the file before retry gets to remove the old error file."""

    class FailsAtOnce(RealFs):
        def move_noreplace(self, src: str, dst: str) -> bool:
            renamed = super().move_noreplace(src, dst)
            site.write_report("a.jpg", "another-job", "timeout", "again")
            return renamed

    file = next(retrying.failed_files(site.spec))
    retrying.put_back(FailsAtOnce(), file)
    assert (site.root / "failed/a.jpg.error.json").exists()


def test_a_blocked_file_is_forgotten_so_that_it_is_done_again(site: Site) -> None:
    site.blocked("locked.jpg")
    site.close()
    assert cli.main(["retry", str(site.root / "inbox/locked.jpg")]) == 0
    assert (site.root / "inbox/locked.jpg").exists()
    assert not (site.root / "failed/locked.jpg.error.json").exists()
    ledger = LedgerQueries.open_existing(site.ledger_path, live=False)
    assert ledger is not None
    assert ledger.known("inbox", "locked.jpg") is None
    newest = ledger.newest("inbox", "locked.jpg")
    assert newest is not None
    assert newest.original is Original.GONE
    ledger.close()


def test_what_is_no_failed_file_is_told(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.done("fine.jpg")
    for given in ("fine.jpg", "never.jpg", str(site.root / "failed/never.jpg"), "/etc/passwd"):
        assert retry(site, given) == 1
        assert "not among the failed files" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["a.jpg", "--all"], ["--all", "--error", "timeout"], ["--error", "tiemout"]]
)
def test_what_cannot_be_meant_is_a_usage_error(arguments: list[str], site: Site) -> None:
    assert retry(site, *arguments) == 2


def test_a_misspelt_code_gets_a_suggestion(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    retry(site, "--error", "tiemout")
    assert 'did you mean "timeout"?' in capsys.readouterr().err


def test_names_of_any_bytes_go_back(site: Site) -> None:
    name = os.fsdecode(b"caf\xe9 \xff.jpg")
    site.failed(name)
    assert retry(site, "--all") == 0
    assert os.path.exists(site.root / "inbox" / name)


def test_a_folder_goes_with_all_and_with_a_reason_as_everywhere_else(site: Site) -> None:
    assert cli.main(["retry", str(site.root), "--error", "timeout"]) == 0
    assert names(site.root / "inbox") == ["b.jpg"]
    assert cli.main(["retry", "--all", str(site.root)]) == 0
    assert names(site.root / "failed") == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{site}"], "say what to retry in {site}"),
        (["{site}/failed/a.jpg", "--all"], "at most one folder"),
        (["{site}", "--all", "--error", "timeout"], "exclude each other"),
        ([], "say what to retry"),
    ],
)
def test_what_is_not_said_is_asked_for(
    arguments: list[str], said: str, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["retry", *(word.format(site=site.root) for word in arguments)]) == 2
    told = capsys.readouterr().err
    assert said.format(site=site.root) in told
    assert "--all" in told
    assert len(names(site.root / "failed")) == 6
