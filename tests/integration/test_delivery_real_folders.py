"""Folders by descriptor on a real file system: opened once a batch, removed without following any link."""

import os
from pathlib import Path

import pytest

from procwatch.delivery import real_folders
from procwatch.delivery.fsops import NotPlainFileError
from procwatch.delivery.real_fs import RealFs
from procwatch.fdopen import open_beneath

pytestmark = pytest.mark.integration


@pytest.fixture
def fs() -> RealFs:
    return RealFs()


class TestFoldersOfABatch:
    @pytest.fixture
    def opened(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Return the list of the folders that are opened from now on."""
        names: list[str] = []

        def noted(root: str, path: str, flags: int) -> int:
            names.append(path)
            return open_beneath(root, path, flags)

        monkeypatch.setattr(real_folders, "open_beneath", noted)
        return names

    def test_each_is_opened_once_and_closed_at_the_end(
        self, fs: RealFs, tmp_path: Path, opened: list[str]
    ) -> None:
        for folder in ("x/y", "z"):
            (tmp_path / folder).mkdir(parents=True)
        before = os.listdir("/proc/self/fd")
        with fs.folders(str(tmp_path)) as folders:
            for path in ("x/y/1", "z/1", "x/y/2", "z/2", "top"):
                with folders.beneath(path) as entry:
                    assert entry is not None
                    Path(entry).touch()
        assert opened == ["x/y", "z"]
        assert os.listdir("/proc/self/fd") == before
        assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*[12p]")) == [
            "top", "x/y/1", "x/y/2", "z/1", "z/2",
        ]  # fmt: skip

    def test_they_are_a_few_at_a_time(self, fs: RealFs, tmp_path: Path) -> None:
        before = len(os.listdir("/proc/self/fd"))
        with fs.folders(str(tmp_path)) as folders:
            for number in range(40):
                (tmp_path / str(number)).mkdir()
                with folders.beneath(f"{number}/a") as entry:
                    assert entry is not None
                    Path(entry).touch()
                assert len(os.listdir("/proc/self/fd")) <= before + 16
        assert len(list(tmp_path.glob("*/a"))) == 40

    def test_a_replaced_folder_is_seen_after_it_was_forgotten(self, fs: RealFs, tmp_path: Path) -> None:
        (tmp_path / "x").mkdir()
        with fs.folders(str(tmp_path)) as folders:
            with folders.beneath("x/1"):
                pass
            assert not folders.forget("x/1"), "it was opened for this very entry"
            for name in ("x/1", "x/2"):
                with folders.beneath(name):
                    pass
            (tmp_path / "x").rename(tmp_path / "old")
            with folders.beneath("x/3") as entry:
                assert entry is not None
                Path(entry).touch()
            assert (tmp_path / "old/3").exists()
            assert folders.forget("x/3")
            assert not folders.forget("x/3")
            with folders.beneath("x/3") as entry:
                assert entry is None
            (tmp_path / "x").symlink_to(tmp_path / "old")
            with pytest.raises(NotPlainFileError), folders.beneath("x/3"):
                pass

    def test_they_are_opened_again_after_a_while(
        self, fs: RealFs, tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "x").mkdir()
        monkeypatch.setattr(real_folders, "_KEPT_S", 0.0)
        before = os.listdir("/proc/self/fd")
        with fs.folders(str(tmp_path)) as folders:
            for _ in range(3):
                with folders.beneath("x/1"):
                    pass
        assert opened == ["x", "x", "x"]
        assert os.listdir("/proc/self/fd") == before


class TestRemovingATree:
    def test_links_in_it_are_removed_not_followed(self, fs: RealFs, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "precious").touch()
        tree = tmp_path / "tree"
        (tree / "deep").mkdir(parents=True)
        (tree / "deep" / "link").symlink_to(outside)
        os.mkfifo(tree / "pipe")

        fs.remove_tree(str(tree))

        assert not tree.exists()
        assert os.listdir(outside) == ["precious"]

    def test_a_link_in_its_place_is_removed_not_followed(self, fs: RealFs, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "precious").touch()
        (tmp_path / "tree").symlink_to(outside)

        fs.remove_tree(str(tmp_path / "tree"))

        assert not (tmp_path / "tree").is_symlink()
        assert os.listdir(outside) == ["precious"]

    def test_nothing_there_is_fine(self, fs: RealFs, tmp_path: Path) -> None:
        fs.remove_tree(str(tmp_path / "tree"))
