"""Names: safe whatever comes in, and what a person would expect."""

import itertools
import os
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procwatch.delivery import naming
from procwatch.model import Staged

pytestmark = pytest.mark.unit

WEB = {"web": "{stem}-web.{ext}"}

# What a directory can hold: any bytes but "/" and NUL, as os.fsdecode gives them.
components = (
    st.binary(min_size=1, max_size=255)
    .map(lambda raw: os.fsdecode(raw.replace(b"/", b"_").replace(b"\0", b"_")))
    .filter(lambda name: name not in (".", ".."))
)
readable = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=300
)
paths = st.lists(components, min_size=1, max_size=4).map("/".join)
templates = st.lists(
    st.sampled_from(
        ["{dir}", "{stem}", "{ext}", "{width}", "{height}", "{recipe}", "/", "..", ".", "-", "é", "A"]
    ),
    min_size=1,
    max_size=9,
).map("".join)


def staged(output: str, ext: str = "jpg") -> Staged:
    return Staged(output=output, file=f"0.{ext}", ext=ext, width=2048, height=1365, size=100_000, inode=7)


def planned(path: str, template: str, ext: str = "jpg") -> str:
    return naming.plan_names(path, [staged("o", ext)], {"o": template}, "web")["o"]


def assert_safe(name: str) -> None:
    parts = name.split("/")
    assert "" not in parts
    assert "." not in parts
    assert ".." not in parts
    assert "\0" not in name
    assert all(len(os.fsencode(part)) <= 255 for part in parts)
    assert not any(part.casefold().startswith(".procwatch") for part in parts)


@settings(deadline=None)
@given(paths, templates, readable)
def test_a_name_never_leaves_its_folder_and_every_part_can_exist(
    path: str, template: str, recipe: str
) -> None:
    names = naming.plan_names(path, [staged("o")], {"o": template}, recipe)

    assert_safe(names["o"])


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["..", ".", "", "/", "a", "\0", ".procwatch-staging"]), max_size=8).map("/".join)
)
def test_even_a_path_that_no_scan_gives_is_made_safe(path: str) -> None:
    assert_safe(planned(path, "{stem}"))


@settings(deadline=None)
@given(paths, st.lists(templates, min_size=2, max_size=5))
def test_no_two_names_of_one_plan_collide_and_none_is_a_folder_of_another(
    path: str, wished: list[str]
) -> None:
    outputs = {f"o{index}": template for index, template in enumerate(wished)}

    names = naming.plan_names(path, [staged(output) for output in outputs], outputs, "web")

    keys = [naming.collision_key(name) for name in names.values()]
    assert len(set(keys)) == len(outputs)
    for one, other in itertools.permutations(keys, 2):
        assert not other.startswith(one + "/")


@settings(deadline=None)
@given(paths, templates)
def test_the_same_input_gives_the_same_names(path: str, template: str) -> None:
    assert planned(path, template) == planned(path, template)


@settings(deadline=None)
@given(components)
def test_alternatives_are_all_different_and_can_exist(name: str) -> None:
    names = list(naming.alternatives(name, "0197f00dbeef"))

    assert names[0] == name
    assert len({naming.collision_key(other) for other in names}) == len(names)
    assert all(len(os.fsencode(other)) <= 255 for other in names)


@settings(deadline=None)
@given(readable)
def test_a_collision_key_is_the_same_for_any_case_and_unicode_form(name: str) -> None:
    key = naming.collision_key(name)

    assert naming.collision_key(key) == key
    assert naming.collision_key(unicodedata.normalize("NFD", name)) == key
    assert naming.collision_key(unicodedata.normalize("NFC", name)) == key


def test_the_folder_tree_is_kept() -> None:
    assert planned("album/2024/a.jpg", WEB["web"]) == "album/2024/a-web.jpg"
    assert planned("a.jpg", WEB["web"]) == "a-web.jpg"


@pytest.mark.parametrize(
    ("path", "template", "name"),
    [
        ("a/b.png", "{dir}/web/{stem}.{ext}", "a/web/b.jpg"),
        ("b.png", "{dir}/web/{stem}.{ext}", "web/b.jpg"),
        ("a/b.png", "web/{stem}.{ext}", "a/web/b.jpg"),
        ("a/b.png", "flat/{dir}/{stem}.{ext}", "flat/a/b.jpg"),
        ("b.png", "{stem}_{width}x{height}_{recipe}.{ext}", "b_2048x1365_web.jpg"),
        ("a.tar.gz.jpg", "{stem}-web.{ext}", "a.tar.gz-web.jpg"),
        (".hidden", "{stem}-web.{ext}", ".hidden-web.jpg"),
        ("no-extension", "{stem}-web.{ext}", "no-extension-web.jpg"),
        ("{dir}{ext}.jpg", "{stem}-web.{ext}", "{dir}{ext}-web.jpg"),
        ("end. .jpg", "{stem}", "end. "),
        ("dots...jpg", "{stem}", "dots.."),
        ("a\nb\x1b.jpg", "{stem}.{ext}", "a\nb\x1b.jpg"),
        (".procwatch-staging/x.jpg", "{stem}.{ext}", "_.procwatch-staging/x.jpg"),
    ],
)
def test_a_template_is_filled_in_as_one_reads_it(path: str, template: str, name: str) -> None:
    assert planned(path, template) == name


def test_a_name_that_is_not_utf8_survives() -> None:
    path = os.fsdecode(b"caf\xe9/\xff\xfe.jpg")

    assert os.fsencode(planned(path, WEB["web"])) == b"caf\xe9/\xff\xfe-web.jpg"


def test_a_name_too_long_is_cut_at_a_character_and_keeps_its_extension() -> None:
    name = planned("x" + "é" * 124 + ".jpg", WEB["web"])  # 249 bytes of stem, 257 with what the template adds
    neighbour = planned("x" + "é" * 123 + "è.jpg", WEB["web"])

    assert name.startswith("x" + "é" * 120 + "~")
    assert name.endswith(".jpg")
    assert len(name.encode()) == 255 - 1  # one more byte would be half a character
    assert name != neighbour


def test_two_outputs_aiming_at_one_name_get_numbers() -> None:
    outputs = {"big": "{stem}.{ext}", "small": "{stem}.{ext}", "loud": "{stem}.JPG"}

    names = naming.plan_names("a.png", [staged(output) for output in outputs], outputs, "web")

    assert names == {"big": "a.jpg", "small": "a-2.jpg", "loud": "a-3.JPG"}


def test_two_renditions_of_one_output_are_refused() -> None:
    with pytest.raises(ValueError, match="two renditions"):
        naming.plan_names("a.png", [staged("web"), staged("web")], WEB, "web")


def test_alternatives_count_and_end_with_the_token() -> None:
    names = list(naming.alternatives("x/a-web.jpg", "beef"))

    assert names[:3] == ["x/a-web.jpg", "x/a-web-2.jpg", "x/a-web-3.jpg"]
    assert names[98:101] == ["x/a-web-99.jpg", "x/a-web-beef.jpg", "x/a-web-beef-2.jpg"]
    assert next(itertools.islice(naming.alternatives(".hidden", "beef"), 1, None)) == ".hidden-2"


def test_an_alternative_of_a_name_of_255_bytes_keeps_number_and_extension() -> None:
    name = "x" * 251 + ".jpg"

    alternative = naming.suffixed(name, "2")

    assert alternative.endswith("-2.jpg")
    assert len(alternative) == 255


def test_an_error_file_is_named_after_its_file_however_long() -> None:
    assert naming.error_name("a/b.jpg") == "a/b.jpg.error.json"
    longest = naming.error_name("a/" + "x" * 251 + ".jpg")
    assert longest.endswith(".error.json")
    assert len(longest) == 2 + 255


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{stem}-{size}.{ext}", "{size} is no placeholder; there are {dir} {stem}"),
        ("/out/{stem}", "relative"),
        ("../{stem}", "leave"),
        ("{stem}/", "file name"),
        ("{stem}\0", "NUL"),
    ],
)
def test_a_template_that_cannot_be_used_is_explained(template: str, words: str) -> None:
    problems = naming.template_problems(template)

    assert len(problems) == 1
    assert words in problems[0]


def test_a_good_template_has_no_problems() -> None:
    assert naming.template_problems("{dir}/web/{stem}-{width}x{height}-{recipe}.{ext}") == []
