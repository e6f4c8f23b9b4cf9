"""Two files want one name: in the outbox, in the archive, in the failed folder. None is lost, none replaces another's."""

import os
import unicodedata
from pathlib import Path

import pytest

from tests.support import images, logs
from tests.support.daemon import Daemon
from tests.support.oracle import files_below, read_error
from tests.support.places import Places
from tests.support.waiting import eventually
from tests.support.whole import assert_whole, encoded, picture_of, striped

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]


def outputs(places: Places) -> list[str]:
    """Return the names in the outbox, relative to it."""
    return [str(file.relative_to(places.outbox)) for file in files_below(places.outbox)]


def drop(places: Places, daemon: Daemon, path: str, data: bytes) -> logs.Line:
    """Drop one file by rename and return how it ended, once its original has left the inbox."""
    before = len(logs.terminal(daemon.lines(), path))
    (places.inbox / path).parent.mkdir(parents=True, exist_ok=True)
    images.move_in(places.inbox / path, data, outside=places.root)
    eventually(lambda: len(logs.terminal(daemon.lines(), path)) > before)
    eventually(lambda: not (places.inbox / path).exists())
    return logs.terminal(daemon.lines(), path)[-1]


def opaque_png(seed: int, size: tuple[int, int] = (640, 480)) -> bytes:
    return encoded(striped(seed, size), "PNG")


# --- the outbox ---


def test_sources_of_one_stem_each_get_outputs_of_their_own(places: Places, tmp_path: Path) -> None:
    """All at once and one after the other: a.jpg, a.png, a.bmp and a.webp all want a-web.jpg."""
    sources = {
        "a.jpg": picture_of("JPEG", 1),
        "a.png": opaque_png(2),
        "a.bmp": picture_of("BMP", 3),
        "a.webp": picture_of("WEBP", 4),
    }
    config = places.write_config()
    for name in ("a.jpg", "a.png", "a.bmp"):
        images.write(places.inbox / name, sources[name])
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        daemon.wait_for_ends(3)
        drop(places, daemon, "a.webp", sources["a.webp"])
        ends = logs.select(daemon.lines(), "job.done")
    assert sorted(line["path"] for line in ends) == sorted(sources)
    named = [name for line in ends for name in line["outputs"]]
    assert sorted(named) == sorted(outputs(places))
    assert len(set(named)) == 2 * len(sources)
    for line in ends:
        assert_whole(sources[line["path"]], [places.outbox / name for name in line["outputs"]])


def test_a_source_dropped_again_keeps_the_names_that_it_got(places: Places, tmp_path: Path) -> None:
    """The second of two sources has suffixed names; dropped again it replaces those, and not the first one's."""
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        first = drop(places, daemon, "a.jpg", picture_of("JPEG", 1))
        second = drop(places, daemon, "a.png", opaque_png(2))
        again = drop(places, daemon, "a.png", opaque_png(3))
    assert again["outputs"] == second["outputs"] == ["a-web-2.jpg", "a-thumb-2.jpg"]
    assert sorted(outputs(places)) == sorted(first["outputs"] + second["outputs"])
    assert_whole(picture_of("JPEG", 1), [places.outbox / name for name in first["outputs"]])
    assert_whole(opaque_png(3), [places.outbox / name for name in again["outputs"]])


NFC, NFD = (unicodedata.normalize(form, "Köln.jpg") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    "names",
    [("photo.jpg", "PHOTO.JPG", "Photo.jpg"), (NFC, NFD), ("Straße/x.jpg", "STRASSE/x.jpg")],
    ids=["case", "normalisation", "folders"],
)
def test_names_that_some_file_systems_take_for_one(
    names: tuple[str, ...], places: Places, tmp_path: Path
) -> None:
    """Outputs may go on to a Mac or a Windows share: no two of them differ only by case or Unicode form."""
    config = places.write_config()
    sources = {name: picture_of("JPEG", seed) for seed, name in enumerate(names)}
    for name, data in sources.items():
        images.write(places.inbox / name, data)
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        daemon.wait_for_ends(len(names))
        eventually(lambda: not files_below(places.inbox))
        ends = logs.select(daemon.lines(), "job.done")
    folded = {unicodedata.normalize("NFC", name).casefold() for name in outputs(places)}
    assert len(folded) == len(outputs(places)) == 2 * len(names)
    for line in ends:
        assert_whole(sources[line["path"]], [places.outbox / name for name in line["outputs"]])
    assert {file.read_bytes() for file in files_below(places.archive)} == set(sources.values())


def test_an_opaque_picture_replaced_by_a_transparent_one_of_the_same_name(
    places: Places, tmp_path: Path
) -> None:
    """The source is the owner: its JPEGs go when it becomes WebPs, and the other way round."""
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        drop(places, daemon, "logo.png", opaque_png(1))
        assert sorted(outputs(places)) == ["logo-thumb.jpg", "logo-web.jpg"]
        transparent = picture_of("PNG", 2)
        drop(places, daemon, "logo.png", transparent)
        assert sorted(outputs(places)) == ["logo-thumb.webp", "logo-web.webp"]
        assert_whole(transparent, files_below(places.outbox))
        drop(places, daemon, "logo.png", opaque_png(3))
        assert sorted(outputs(places)) == ["logo-thumb.jpg", "logo-web.jpg"]
    assert len(files_below(places.archive)) == 3


def test_the_replaced_extension_of_one_source_leaves_another_ones_file_alone(
    places: Places, tmp_path: Path
) -> None:
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        drop(places, daemon, "a.png", opaque_png(1))
        other = drop(places, daemon, "a.bmp", picture_of("BMP", 2))
        changed = drop(places, daemon, "a.png", picture_of("PNG", 3))
    assert changed["outputs"] == ["a-web.webp", "a-thumb.webp"]
    assert sorted(outputs(places)) == sorted(changed["outputs"] + other["outputs"])
    assert_whole(picture_of("BMP", 2), [places.outbox / name for name in other["outputs"]])


def test_a_file_of_somebody_in_the_outbox_stays(places: Places, tmp_path: Path) -> None:
    images.write(places.outbox / "a-web.jpg", b"mine")
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        done = drop(places, daemon, "a.jpg", picture_of("JPEG", 1))
    assert done["outputs"] == ["a-web-2.jpg", "a-thumb.jpg"]
    assert (places.outbox / "a-web.jpg").read_bytes() == b"mine"


def test_a_source_named_by_a_single_question_mark_owns_no_more_than_others(
    places: Places, tmp_path: Path
) -> None:
    images.write(places.outbox / "?-web.jpg", b"mine")
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        assert drop(places, daemon, "?", picture_of("JPEG", 1))["outputs"] == ["?-web-2.jpg", "?-thumb.jpg"]
    assert (places.outbox / "?-web.jpg").read_bytes() == b"mine"


def test_on_conflict_overwrite_replaces_files_of_others(places: Places, tmp_path: Path) -> None:
    images.write(places.outbox / "a-web.jpg", b"somebody's")
    config = places.write_config(inbox='on_conflict = "overwrite"')
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        for name, data in (("a.jpg", picture_of("JPEG", 1)), ("a.bmp", picture_of("BMP", 2))):
            done = drop(places, daemon, name, data)
            assert done["outputs"] == ["a-web.jpg", "a-thumb.jpg"]
            assert_whole(data, files_below(places.outbox))
    assert sorted(outputs(places)) == ["a-thumb.jpg", "a-web.jpg"]
    assert len(files_below(places.archive)) == 2


def test_on_conflict_overwrite_all_at_once(places: Places, tmp_path: Path) -> None:
    """Which of them is last is open; the outputs are all from one and the same."""
    config = places.write_config(inbox='on_conflict = "overwrite"')
    sources = [picture_of(kind, seed) for seed, kind in enumerate(("JPEG", "BMP", "WEBP", "TIFF"))]
    for kind, data in zip(("jpg", "bmp", "webp", "tiff"), sources, strict=True):
        images.write(places.inbox / f"a.{kind}", data)
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        lines = daemon.wait_for_ends(4)
        eventually(lambda: not files_below(places.inbox))
    assert {line["event"] for line in lines} == {"job.done"}
    assert sorted(outputs(places)) == ["a-thumb.jpg", "a-web.jpg"]
    last = {"jpg": 0, "bmp": 1, "webp": 2, "tiff": 3}[lines[-1]["path"].partition(".")[2]]
    assert_whole(sources[last], files_below(places.outbox))


def test_on_conflict_overwrite_does_not_replace_a_folder(places: Places, tmp_path: Path) -> None:
    """A folder at the output's name is no file to be replaced: the output gets another name, and work goes on."""
    images.write(places.outbox / "a-web.jpg/keep.txt", b"mine")
    config = places.write_config(inbox='on_conflict = "overwrite"')
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        done = drop(places, daemon, "a.jpg", picture_of("JPEG", 1))
        assert done["outputs"] == ["a-web-2.jpg", "a-thumb.jpg"]
    assert (places.outbox / "a-web.jpg/keep.txt").read_bytes() == b"mine"


def test_on_conflict_fail_fails_the_second_and_leaves_the_first(places: Places, tmp_path: Path) -> None:
    config = places.write_config(inbox='on_conflict = "fail"')
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        first = picture_of("JPEG", 1)
        assert drop(places, daemon, "a.jpg", first)["event"] == "job.done"
        second = picture_of("BMP", 2)
        failed = drop(places, daemon, "a.bmp", second)
        assert (failed["event"], failed["error"]) == ("job.failed", "name-conflict")
        assert failed["reason"] == "the output name a-web.jpg belongs to a.jpg"
        assert_whole(first, files_below(places.outbox))
        own = picture_of("JPEG", 3)
        assert drop(places, daemon, "a.jpg", own)["event"] == "job.done", "its own names are no conflict"
    assert_whole(own, files_below(places.outbox))
    assert sorted(outputs(places)) == ["a-thumb.jpg", "a-web.jpg"]
    assert (places.failed / "a.bmp").read_bytes() == second
    assert read_error(places.failed / "a.bmp.error.json")["code"] == "name-conflict"


def test_on_conflict_fail_publishes_nothing_when_only_one_name_is_taken(
    places: Places, tmp_path: Path
) -> None:
    images.write(places.outbox / "a-thumb.jpg", b"mine")
    config = places.write_config(inbox='on_conflict = "fail"')
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        failed = drop(places, daemon, "a.jpg", picture_of("JPEG", 1))
        assert failed["error"] == "name-conflict"
        assert failed["reason"] == "the output name a-thumb.jpg belongs to a file that procwatch did not make"
        assert outputs(places) == ["a-thumb.jpg"]
        (places.outbox / "a-thumb.jpg").unlink()
        assert drop(places, daemon, "a.bmp", picture_of("BMP", 2))["event"] == "job.done"
    assert sorted(outputs(places)) == ["a-thumb.jpg", "a-web.jpg"]


# --- folders that want the name of a file ---


def test_a_folder_named_like_an_output_that_is_there(places: Places, tmp_path: Path) -> None:
    """x.jpg makes x-web.jpg; then a folder x-web.jpg/ is dropped, whose outputs would be below that name."""
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        first, second = picture_of("JPEG", 1), picture_of("JPEG", 2)
        before = drop(places, daemon, "x.jpg", first)
        after = drop(places, daemon, "x-web.jpg/y.jpg", second)
        assert_whole(first, [places.outbox / name for name in before["outputs"]])
        assert_whole(second, [places.outbox / name for name in after["outputs"]])
        assert drop(places, daemon, "x-web.jpg/y.jpg", first)["outputs"] == after["outputs"]
        assert drop(places, daemon, "x.jpg", second)["outputs"] == before["outputs"]
    assert not logs.select(daemon.lines(), "intake.paused")


def test_an_output_named_like_a_folder_that_is_there(places: Places, tmp_path: Path) -> None:
    """The other way round, all at once: whoever is first, both get a place."""
    config = places.write_config()
    sources = {f"x-web.jpg/{number}.jpg": picture_of("JPEG", number) for number in range(3)}
    sources["x.jpg"] = picture_of("JPEG", 3)
    for name, data in sources.items():
        images.write(places.inbox / name, data)
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        for line in daemon.wait_for_ends(4):
            assert_whole(sources[line["path"]], [places.outbox / name for name in line["outputs"]])
        eventually(lambda: not files_below(places.inbox))
    assert not logs.select(daemon.lines(), "intake.paused")


def test_a_folder_named_like_an_original_that_is_there(places: Places, tmp_path: Path) -> None:
    """A file `album` is archived, then a folder `album/` is dropped: its originals find a place, and work goes on."""
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        contents = [picture_of("JPEG", seed) for seed in range(3)]
        drop(places, daemon, "album", contents[0])
        drop(places, daemon, "album/x.jpg", contents[1])
        drop(places, daemon, "next.jpg", contents[2])
    assert {file.read_bytes() for file in files_below(places.archive)} == set(contents)
    assert not logs.select(daemon.lines(), "intake.paused")


def test_a_folder_named_like_a_failed_file_that_is_there(places: Places, tmp_path: Path) -> None:
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        drop(places, daemon, "album", b"not a picture")
        assert drop(places, daemon, "album/x.jpg", b"no picture either")["event"] == "job.failed"
        assert drop(places, daemon, "next.jpg", picture_of("JPEG", 1))["event"] == "job.done"
    originals = {file.read_bytes() for file in files_below(places.failed) if file.suffix != ".json"}
    assert originals == {b"not a picture", b"no picture either"}
    assert not logs.select(daemon.lines(), "intake.paused")


# --- the archive and the failed folder ---


def test_archived_names_that_exist_are_never_replaced(places: Places, tmp_path: Path) -> None:
    images.write(places.archive / "a.jpg", b"of last year")
    (places.archive / "a-2.jpg").mkdir(parents=True)
    (places.archive / "a-3.jpg").symlink_to("nowhere")
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        contents = [picture_of("JPEG", seed) for seed in range(3)]
        for data in contents:
            drop(places, daemon, "a.jpg", data)
    assert (places.archive / "a.jpg").read_bytes() == b"of last year"
    assert [(places.archive / f"a-{number}.jpg").read_bytes() for number in (4, 5, 6)] == contents
    assert os.readlink(places.archive / "a-3.jpg") == "nowhere"


def test_failed_names_that_exist_are_never_replaced(places: Places, tmp_path: Path) -> None:
    """Each failed original has its own error file beside it, also where either name was taken."""
    images.write(places.failed / "b.jpg", b"of last year")
    images.write(places.failed / "c.jpg.error.json", b"of last year")
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        jobs = {}
        for path, data in [("b.jpg", b"one"), ("b.jpg", b"two"), ("c.jpg", b"three"), ("d.jpg", b"four")]:
            jobs[data] = drop(places, daemon, path, data)["job"]
        jobs[b"five"] = drop(places, daemon, "d.jpg.error.json", b"five")["job"]
    assert (places.failed / "b.jpg").read_bytes() == b"of last year"
    assert (places.failed / "c.jpg.error.json").read_bytes() == b"of last year"
    found = {}
    for file in files_below(places.failed):
        report = file.with_name(f"{file.name}.error.json")
        if report.exists() and file.read_bytes() in jobs:
            found[file.read_bytes()] = read_error(report)["job"]
    assert found == jobs


def test_the_longest_names_that_collide(places: Places, tmp_path: Path) -> None:
    """255 bytes each, equal in all that fits beside a suffix: four outputs, two originals, nobody's lost."""
    names = [f"{'n' * 245}{kind}.jpg" for kind in ("first-", "second")]
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        for seed, name in enumerate(names):
            (places.inbox / name).write_bytes(picture_of("JPEG", seed))
        lines = daemon.wait_for_ends(2)
        eventually(lambda: not files_below(places.inbox))
        for line in lines:
            data = picture_of("JPEG", names.index(line["path"]))
            assert_whole(data, [places.outbox / name for name in line["outputs"]])
    assert len(outputs(places)) == 4
    assert sorted(file.name for file in files_below(places.archive)) == sorted(names)
