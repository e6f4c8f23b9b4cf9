"""A site is moved, copied or mounted elsewhere: what it made stays its own, and another's is never touched."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support import images
from tests.support.daemon import procwatch

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]


def site(root: Path, *, on_success: str = "archive") -> Path:
    """A folder with a configuration and two dropped pictures."""
    (root / "inbox" / "album").mkdir(parents=True)
    (root / "inbox" / "a.jpg").write_bytes(images.jpeg(1))
    (root / "inbox" / "album" / "b.jpg").write_bytes(images.jpeg(2))
    inbox = f'[[inbox]]\npath = "inbox"\nsettle = "0s"\nrecipe = "thumb"\non_success = "{on_success}"\n'
    output = 'steps = [{ op = "fit", width = 32, height = 32 }]\ntemplate = "{stem}.{ext}"\n'
    text = f'[state]\ndir = ".procwatch"\n{inbox}[recipe.thumb.output.thumb]\n{output}[pool]\nworkers = 1\n'
    (root / "procwatch.toml").write_text(text)
    return root


def copy(one: Path, other: Path) -> None:
    shutil.copytree(one, other, ignore=shutil.ignore_patterns("*.sock"))


def files(root: Path) -> dict[str, bytes]:
    """Everything but the state: path → content."""
    found = (path for path in root.rglob("*") if path.is_file() and ".procwatch" not in path.parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def once(root: Path, *, fault: str = "") -> list[str]:
    """Drain the site; return the names of the logged events."""
    ran = procwatch("once", root, cwd=root.parent, env={"PROCWATCH_FAULT": fault} if fault else {})
    assert fault or ran.returncode == 0, ran
    return [json.loads(line)["event"] for line in ran.stdout.splitlines() if line.startswith("{")]


def audit(root: Path) -> str:
    return procwatch("audit", root, cwd=root.parent).stdout


@pytest.mark.parametrize("fault", ["fs.rename:1", "ledger.done:1", "fs.rename:2", "ledger.disposed:1"])
def test_a_copy_of_a_site_that_died_publishes_its_own_and_leaves_the_other_alone(
    fault: str, tmp_path: Path
) -> None:
    first = site(tmp_path / "first")
    once(first, fault=fault)
    copy(first, tmp_path / "second")
    before = files(first)
    once(tmp_path / "second")
    assert files(first) == before
    assert {"outbox/a.jpg", "outbox/album/b.jpg"} <= files(tmp_path / "second").keys()
    assert "nothing differs" in audit(tmp_path / "second")
    once(first)
    assert "nothing differs" in audit(first)


def test_a_site_that_died_and_was_moved_goes_on_where_it_was(tmp_path: Path) -> None:
    once(site(tmp_path / "first"), fault="fs.rename:2")
    (tmp_path / "first").rename(tmp_path / "second")
    assert "ledger.moved" in once(tmp_path / "second")
    assert not (tmp_path / "first").exists()
    assert "nothing differs" in audit(tmp_path / "second")


def test_what_a_moved_site_made_is_known_as_its_own(tmp_path: Path) -> None:
    second = tmp_path / "second"
    first = site(tmp_path / "first")
    (first / "inbox" / "bad.jpg").write_bytes(b"no picture")
    assert procwatch("once", first, cwd=tmp_path).returncode == 1
    first.rename(second)
    assert "nothing differs" in audit(second), "before any daemon ran there"
    for path, said in (("failed/bad.jpg", f"it is {second}/failed/bad.jpg"), ("archive/a.jpg", "as a.jpg")):
        assert said in procwatch("explain", second / path, cwd=tmp_path).stdout
    (second / "inbox" / "a.jpg").write_bytes(images.jpeg(3))
    assert "ledger.moved" in once(second)
    assert "ledger.moved" not in once(second)
    assert sorted(path.name for path in (second / "outbox").glob("*.jpg")) == ["a.jpg"], "replaced"


def test_pruning_a_copy_removes_nothing_of_the_other(tmp_path: Path) -> None:
    first, second = site(tmp_path / "first", on_success="keep"), tmp_path / "second"
    once(first)
    copy(first, second)
    (second / "inbox" / "a.jpg").unlink()
    before = files(first)
    pruned = procwatch("rebuild", "--prune", second, cwd=tmp_path)
    assert "outbox/a.jpg" not in files(second), pruned
    assert files(first) == before


def test_a_site_is_the_same_through_a_link(tmp_path: Path) -> None:
    once(site(tmp_path / "first"))
    (tmp_path / "link").symlink_to("first")
    assert "nothing differs" in audit(tmp_path / "link")
    (tmp_path / "first" / "inbox" / "a.jpg").write_bytes(images.jpeg(3))
    once(tmp_path / "link")
    assert sorted(path.name for path in (tmp_path / "first" / "outbox").glob("*.jpg")) == ["a.jpg"]
