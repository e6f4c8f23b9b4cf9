"""A configuration that nobody named counts only where no stranger can have put it: in inboxes everybody drops files."""

import grp
import os
import struct
from pathlib import Path

import pytest

from procwatch.cli import main as cli
from procwatch.errors import ConfigError
from procwatch.settings import trust
from procwatch.settings.load import resolve
from procwatch.settings.trust import require_own, site_settings
from tests.support.sites import Site
from tests.support.unprivileged import as_nobody, public_folder

pytestmark = pytest.mark.integration

STRANGER = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    made = Site(root=root)
    made.failed("alice/a.jpg")
    made.ledger.close()
    (root / "etc").mkdir()
    return root


def plant(folder: Path, root: Path) -> None:
    """What somebody drops into an inbox so that `retry` moves a file of theirs anywhere."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "procwatch.toml").write_text(
        f'[state]\ndir = "{root}/state"\n'
        f'[[inbox]]\nname = "x"\npath = "{root}/etc"\nfailed = "{folder}/f"\n'
        f'outbox = "{folder}/o"\narchive = "{folder}/r"\n'
    )
    (folder / "f").mkdir()
    (folder / "f" / "a.jpg").write_text("evil")
    (folder / "f" / "a.jpg.error.json").write_text('{"inbox": "x", "path": "ld.so.preload"}')


@pytest.mark.parametrize("where", ["inbox/alice", "inbox", "failed/alice", "outbox/x", "archive"])
@pytest.mark.parametrize("command", ["retry", "explain"])
def test_what_lies_in_the_folders_of_an_inbox_configures_nothing(
    command: str, where: str, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when it is ours: a daemon that copies to another file system owns the copy."""
    plant(site / where, site)
    assert cli.main([command, str(site / where / "f/a.jpg")]) == 3
    told = capsys.readouterr().err
    assert f"{site / where}/procwatch.toml is not used: it lies in " in told
    assert "-c FILE" in told
    assert os.listdir(site / "etc") == []


def test_a_planted_state_folder_configures_nothing(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "inbox/alice/.procwatch").mkdir(parents=True)
    assert cli.main(["retry", str(site / "inbox/alice/a.jpg")]) == 3
    assert "inbox/alice/.procwatch is not used" in capsys.readouterr().err


def test_a_configuration_that_is_named_is_the_administrator_s_word(site: Path) -> None:
    folder = site / "inbox/alice"
    plant(folder, site)
    assert cli.main(["retry", "-c", str(folder / "procwatch.toml"), str(folder / "f/a.jpg")]) == 0
    assert os.listdir(site / "etc") == ["ld.so.preload"]


def test_a_site_inside_a_folder_of_a_configuration_of_the_system_is_none(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = tmp_path / "etc-procwatch"
    services.mkdir()
    monkeypatch.setattr(trust, "SYSTEM_CONFIG", str(services / "procwatch.toml"))
    (services / "broken.toml").write_text("[[")
    (services / "scans.toml").write_text('[[inbox]]\npath = "../scans/inbox"\n')
    plant(tmp_path / "scans/failed/x", site)
    with pytest.raises(ConfigError, match="where files are dropped or moved"):
        site_settings(str(tmp_path / "scans/failed/x"))


def test_a_site_that_is_its_own_inbox_has_to_be_named(tmp_path: Path) -> None:
    (tmp_path / "procwatch.toml").write_text(
        '[state]\ndir = "../s"\n[[inbox]]\npath = "."\noutbox = "../o"\narchive = "../a"\nfailed = "../f"\n'
    )
    assert resolve(None, str(tmp_path)).inboxes
    with pytest.raises(ConfigError, match="a folder of its own inbox"):
        site_settings(str(tmp_path))


@as_root
@pytest.mark.parametrize("of", ["", "procwatch.toml", ".procwatch"])
def test_what_belongs_to_a_stranger_is_not_used(of: str, site: Path) -> None:
    (site / "procwatch.toml").write_text('[[inbox]]\npath = "inbox"\n')
    assert site_settings(str(site)).inboxes
    os.chown(site / of, STRANGER, -1)
    with pytest.raises(ConfigError, match=r"belongs to nobody \(uid 65534\), neither to you nor to root"):
        site_settings(str(site))


@as_root
def test_a_folder_above_that_belongs_to_a_stranger_is_one_that_they_can_swap(site: Path) -> None:
    os.chown(site.parent, STRANGER, -1)
    with pytest.raises(ConfigError, match="belongs to nobody"):
        site_settings(str(site))


@as_root
def test_a_link_of_a_stranger_leads_to_no_site(site: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(site)
    assert site_settings(str(tmp_path / "link")).state_dir == str(tmp_path / "link/.procwatch")
    os.chown(tmp_path / "link", STRANGER, -1, follow_symlinks=False)
    with pytest.raises(ConfigError, match="link belongs to nobody"):
        site_settings(str(tmp_path / "link"))


@pytest.mark.parametrize("of", ["", "procwatch.toml", ".procwatch"])
def test_what_everybody_may_write_is_not_used(of: str, site: Path) -> None:
    (site / "procwatch.toml").write_text('[[inbox]]\npath = "inbox"\n')
    (site / of).chmod(0o777)
    with pytest.raises(ConfigError, match="everybody may write"):
        site_settings(str(site))


def test_in_a_sticky_folder_others_cannot_replace_what_is_there(site: Path) -> None:
    site.chmod(0o1777)
    assert site_settings(str(site)).inboxes


@as_root
def test_a_group_may_write_only_where_it_is_root_s_or_nobody_else_s(site: Path) -> None:
    (site / ".procwatch").chmod(0o775)
    assert site_settings(str(site)).inboxes
    os.chown(site / ".procwatch", -1, 4242)
    with pytest.raises(ConfigError, match="others may write"):
        site_settings(str(site))


@as_root
@pytest.mark.parametrize(
    ("members", "is_trusted"), [([], True), (["nobody"], True), (["nobody", "bob"], False)]
)
def test_with_a_umask_of_002_a_group_of_their_own_is_no_stranger(
    members: list[str], is_trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = grp.struct_group(("nobody", "x", STRANGER, members))
    monkeypatch.setattr(grp, "getgrgid", lambda gid: group)
    with public_folder() as folder:
        pictures = folder / "pictures"
        (pictures / ".procwatch").mkdir(parents=True)
        for path in (folder, pictures, pictures / ".procwatch"):
            os.chown(path, STRANGER, STRANGER)
            path.chmod(0o775)
        with as_nobody():
            if is_trusted:
                assert site_settings(str(pictures)).inboxes
            else:
                with pytest.raises(ConfigError, match="others may write"):
                    site_settings(str(pictures))


@as_root
def test_an_access_list_may_let_others_write(site: Path) -> None:
    (site / ".procwatch").chmod(0o775)
    # POSIX ACL, version 2: user::rwx, user:65534:rwx, group::r-x, mask::rwx, other::r-x
    entries = [(1, 7, -1), (2, 7, STRANGER), (4, 5, -1), (16, 7, -1), (32, 5, -1)]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(site / ".procwatch", "system.posix_acl_access", value)
    except OSError as error:
        pytest.skip(f"no access lists here: {error.strerror}")
    with pytest.raises(ConfigError, match="an access list"):
        site_settings(str(site))


def test_something_else_than_a_file_is_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A FIFO would be waited for."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("procwatch.toml")
    with pytest.raises(ConfigError, match="no regular file"):
        resolve(None, None)


@as_root
def test_in_the_current_folder_too_only_our_own_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "procwatch.toml"
    config.write_text('[[inbox]]\npath = "inbox"\n[hooks]\ndone = ["touch", "/tmp/ran"]\n')
    assert resolve(None, None).hooks.done
    os.chown(config, STRANGER, -1)
    assert cli.main(["check"]) == 3
    assert "procwatch.toml is not used: " in capsys.readouterr().err
    for named in (["-c", "procwatch.toml"], ["-d", "."], ["."]):
        assert cli.main(["check", *named]) == 0


def test_the_zero_configuration_site_of_its_owner_works_as_ever(site: Path) -> None:
    require_own(str(site))
    assert cli.main(["explain", str(site / "failed/alice/a.jpg")]) == 0
    assert cli.main(["retry", str(site / "failed/alice/a.jpg")]) == 0
    assert (site / "inbox/alice/a.jpg").exists()
