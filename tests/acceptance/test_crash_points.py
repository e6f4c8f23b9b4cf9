"""The daemon dies at every named point of a file's way (DESIGN §4), and the next run puts it right."""

import signal
from pathlib import Path

import pytest

from tests.support import images
from tests.support.daemon import procwatch
from tests.support.oracle import Oracle, files_below
from tests.support.places import Places

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]

#: point:pass. The passes lie in the middle of a batch of three files with two outputs each.
POINTS = [
    "ledger.started:1",
    "ledger.started:2",
    "ledger.publishing:1",
    "fs.rename:1",
    "fs.rename:2",
    "fs.rename:4",
    "fs.rename:9",
    "fs.set_mode:2",
    "fs.fsync_dir:1",
    "ledger.done:1",
    "ledger.logged:1",
    "ledger.disposed:1",
]


@pytest.mark.parametrize("point", POINTS)
def test_a_death_at_this_point_loses_nothing_and_does_nothing_twice(
    point: str, places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    config = places.write_config(inbox='settle = "0s"', pool="workers = 1")
    for number in range(3):
        path = f"album/{number}.jpg"
        images.write(places.inbox / path, oracle.expect(path, images.jpeg(number)))
    died = procwatch("once", "-c", config, cwd=tmp_path, env={"PROCWATCH_FAULT": point})
    assert died.returncode == -signal.SIGKILL, f"this point was not passed: {died}"
    again = procwatch("once", "-c", config, cwd=tmp_path)
    assert again.returncode == 0, again
    oracle.check(archive=3)


@pytest.mark.parametrize("point", ["fs.replace:1", "fs.replace:2", "ledger.publishing:1", "ledger.done:1"])
def test_a_death_while_outputs_are_replaced_leaves_the_new_ones(
    point: str, places: Places, tmp_path: Path
) -> None:
    """The same name dropped again: in the end both outputs are of the second picture, and both originals are kept."""
    config = places.write_config(inbox='settle = "0s"', pool="workers = 1")
    first, second = images.jpeg(1, (300, 200)), images.jpeg(2, (200, 300))
    images.write(places.inbox / "logo.jpg", first)
    assert procwatch("once", "-c", config, cwd=tmp_path).returncode == 0
    images.write(places.inbox / "logo.jpg", second)
    died = procwatch("once", "-c", config, cwd=tmp_path, env={"PROCWATCH_FAULT": point})
    assert died.returncode == -signal.SIGKILL, f"this point was not passed: {died}"
    again = procwatch("once", "-c", config, cwd=tmp_path)
    assert again.returncode == 0, again
    assert [file.name for file in files_below(places.outbox)] == ["logo-thumb.jpg", "logo-web.jpg"]
    assert {images.size(file) for file in files_below(places.outbox)} == {(200, 300)}
    assert {file.read_bytes() for file in files_below(places.archive)} == {first, second}
