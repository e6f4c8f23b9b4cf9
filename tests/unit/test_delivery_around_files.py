"""Folders of a name that a file has already get another name; everything else stays as it is."""

import pytest

from procwatch.delivery.naming import around_files

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (set(), "a/b/c.jpg"),
        ({"a"}, "a-2/b/c.jpg"),
        ({"a", "a-2"}, "a-3/b/c.jpg"),
        ({"a/b"}, "a/b-2/c.jpg"),
        ({"a", "a-2/b"}, "a-2/b-2/c.jpg"),
        ({"a/b/c.jpg"}, "a/b/c.jpg"),  # the last component is no folder
    ],
)
def test_folders_go_around_files(files: set[str], expected: str) -> None:
    assert around_files("a/b/c.jpg", "token", files.__contains__) == expected


def test_a_name_without_folders_is_never_changed() -> None:
    assert around_files("a.jpg", "token", lambda _name: True) == "a.jpg"


def test_where_every_name_is_taken_the_first_is_tried() -> None:
    assert around_files("a/b.jpg", "token", lambda _name: True) == "a/b.jpg"
