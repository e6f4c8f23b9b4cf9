"""Which names are none of ours."""

import pytest

from procwatch.intake.filters import DEFAULT_IGNORE, NOT_INCLUDED, NameFilter

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "path",
    [
        ".hidden.jpg", "._IMG.jpg", "Thumbs.db", "THUMBS.DB", "Desktop.ini", "~$a.docx", "a.jpg.tmp", "a.PART",
        "a.partial", "a.jpg.crdownload", "a.filepart", "a.download", ".syncthing.a.jpg.tmp", "_UNPACK_album/a.jpg",
        "@eaDir/a.jpg", "b/@eaDir/a.jpg", "__MACOSX/b/a.jpg", ".stfolder", ".procwatch-staging/slot-1/0.jpg",
        "b/.git/a.jpg", ".\udcff.jpg", ".new\nline.jpg",
    ],
)  # fmt: skip
def test_what_other_programs_leave_is_ignored_by_a_named_rule(path: str) -> None:
    assert NameFilter().ignored_by(path) in DEFAULT_IGNORE


@pytest.mark.parametrize(
    "path",
    ["a.jpg", "tmp", "a.tmp.jpg", "partial/a.jpg", "b/c/a.jpg", "\udcff.jpg", "a\n.jpg", "-rf.jpg", "download.jpg"],
)  # fmt: skip
def test_pictures_are_not_ignored(path: str) -> None:
    assert NameFilter().ignored_by(path) is None


def test_a_pattern_matches_any_component_or_the_whole_path_in_any_case() -> None:
    names = NameFilter(ignore=("Drafts/", "2024/raw/*", "*.XMP"))
    assert names.ignored_by("b/drafts/a.jpg") == "Drafts/"
    assert names.ignored_by("2024/RAW/x/a.jpg") == "2024/raw/*"
    assert names.ignored_by("raw/a.jpg") is None
    assert names.ignored_by("a.xmp") == "*.XMP"


def test_a_non_empty_include_lets_only_its_matches_in() -> None:
    names = NameFilter(include=("*.jpg", "scans"))
    assert names.ignored_by("A.JPG") is None
    assert names.ignored_by("scans/a.png") is None
    assert names.ignored_by("a.png") == NOT_INCLUDED
    assert names.ignored_by("a.jpg.part") == "*.part"


def test_folders_are_pruned_by_ignore_and_never_by_include() -> None:
    names = NameFilter(include=("*.jpg",), ignore=("raw",))
    assert names.prunes("b/raw")
    assert names.prunes(".git")
    assert not names.prunes("album")
