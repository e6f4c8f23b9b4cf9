"""The sha256 that a worker tells is of the bytes that it decoded."""

import dataclasses
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from procwatch.imaging.recipe import Output, Recipe, Step
from procwatch.model import STAGING, Fingerprint, Limits, Rendered, RenderFailed, RenderTask, slot_folder
from procwatch.worker import digest as room
from procwatch.worker.task import render

pytestmark = pytest.mark.integration

SMALL = Recipe(
    name="small",
    outputs=(Output(name="o", steps=(Step(op="fit", params=(("width", 8), ("height", 8))),), format="png"),),
)
Make = Callable[[Path], RenderTask]


@pytest.fixture
def task_for(tmp_path: Path) -> Make:
    staging = tmp_path / STAGING
    Path(slot_folder(str(staging), 1)).mkdir(parents=True)

    def make(path: Path) -> RenderTask:
        return RenderTask(
            job="job",
            attempt=1,
            root=str(path.parent),
            path=path.name,
            fingerprint=Fingerprint.of(path.stat()),
            recipe=SMALL,
            staging_root=str(staging),
            limits=Limits(),
            want_digest=True,
        )

    return make


def picture(path: Path, side: int, color: str = "red") -> Path:
    noise = Image.effect_noise((side, side), 60).convert("RGB")
    made = noise if color == "noise" else Image.new("RGB", (side, side), color)
    made.save(path, quality=95)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["small.jpg", "photo.jpg", "other.png", "huge.jpg"])
def test_the_digest_is_that_of_the_file(
    name: str, tmp_path: Path, task_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = picture(tmp_path / name, 16 if name == "small.jpg" else 1024, "noise")
    if name != "small.jpg":
        assert path.stat().st_size > room._WORTH_A_THREAD_BYTES
    if name == "huge.jpg":
        monkeypatch.setattr(room, "_MOST_BYTES", 1000)
    rendered = render(task_for(path), 1)
    assert isinstance(rendered, Rendered)
    assert rendered.sha256 == sha256(path)


def test_a_photo_may_be_hashed_when_the_answer_is_on_its_way(tmp_path: Path, task_for: Make) -> None:
    """Of the bytes that were decoded, whatever the file holds by then."""
    path = picture(tmp_path / "a.jpg", 1024, "noise")
    before = sha256(path)
    put_off: list[Callable[[], bytes]] = []
    task = dataclasses.replace(task_for(path), digest_later=True)
    rendered = render(task, 1, later=put_off.append)
    path.write_bytes(b"other")
    assert isinstance(rendered, Rendered)
    assert rendered.sha256 is None
    assert [make().hex() for make in put_off] == [before]


@pytest.mark.parametrize(("name", "may"), [("other.png", True), ("photo.jpg", False)])
def test_the_digest_comes_with_the_answer_otherwise(
    name: str, may: bool, tmp_path: Path, task_for: Make
) -> None:
    path = picture(tmp_path / name, 64, "noise")
    rendered = render(
        dataclasses.replace(task_for(path), digest_later=may), 1, later=lambda make: pytest.fail("put off")
    )
    assert isinstance(rendered, Rendered)
    assert rendered.sha256 == sha256(path)


def test_a_file_that_is_overwritten_meanwhile_keeps_digest_and_picture_together(
    tmp_path: Path, task_for: Make
) -> None:
    path = picture(tmp_path / "a.jpg", 600, "red")
    other = picture(tmp_path / "b.jpg", 600, "blue").read_bytes()
    before = sha256(path)

    def overwrite(needed_bytes: int) -> None:
        """Called when the header was read and before anything is decoded."""
        with path.open("r+b") as file:
            file.write(other)

    rendered = render(task_for(path), 1, overwrite)
    assert isinstance(rendered, Rendered)
    (staged,) = rendered.renditions
    with Image.open(Path(slot_folder(str(tmp_path / STAGING), 1)) / staged.file) as made:
        red, _, blue = made.convert("RGB").getpixel((4, 4))  # type: ignore[misc]
    assert red > 200
    assert blue < 50
    assert rendered.sha256 == before != sha256(path)


def test_a_damaged_photo_leaves_no_thread(tmp_path: Path, task_for: Make) -> None:
    path = picture(tmp_path / "a.jpg", 1024, "noise")
    path.write_bytes(path.read_bytes()[: room._WORTH_A_THREAD_BYTES + 1000])
    failed = render(task_for(path), 1)
    assert isinstance(failed, RenderFailed)
    assert failed.code == "truncated"
    for thread in threading.enumerate():
        if thread.name == "procwatch-digest":
            thread.join(5)
            assert not thread.is_alive()


def test_without_a_thread_it_hashes_itself(
    tmp_path: Path, task_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    path = picture(tmp_path / "a.jpg", 1024, "noise")
    monkeypatch.setattr(threading.Thread, "start", refuse)
    rendered = render(task_for(path), 1)
    assert isinstance(rendered, Rendered)
    assert rendered.sha256 == sha256(path)
