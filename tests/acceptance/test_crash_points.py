"""The daemon dies at every named point of a file's way, and the next run puts it right."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

from procwatch.faults import POINTS
from tests.support import images
from tests.support.daemon import procwatch
from tests.support.oracle import Oracle, files_below
from tests.support.places import Places

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]

#: Two pictures with two outputs each and a file that fails: every point is passed several times.
FILES = {
    "album/0.jpg": images.jpeg(0),
    "album/1.jpg": images.jpeg(1),
    "broken.jpg": b"<html>no picture</html>",
}
#: Passed in scenarios of their own, below.
ELSEWHERE = {"fs.copy", "fs.unlink", "fs.remove_tree", "fs.replace", "fs.rmdir"}
#: More passes than any point has; the loop ends by itself before.
MANY = 60


def site(root: Path) -> tuple[Path, Oracle]:
    """Drop the files into a site of its own; return its configuration and what judges it."""
    places = Places(root=root).make()
    oracle = Oracle(places=places)
    for path, data in FILES.items():
        images.write(places.inbox / path, oracle.expect(path, data))
    return places.write_config(inbox='settle = "0s"\nincomplete_after = "0s"', pool="workers = 1"), oracle


def judge(config: Path, oracle: Oracle, cwd: Path, where: str) -> None:
    oracle.check(archive=2, failed=1)
    audit = procwatch("audit", "-c", config, cwd=cwd)
    assert audit.returncode == 0, f"{where}: the product's own audit disagrees: {audit.stdout}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", sorted(POINTS))
def test_a_death_at_any_pass_of_a_point_loses_nothing_and_does_nothing_twice(
    point: str, tmp_path: Path
) -> None:
    """For n = 1, 2, … the n-th pass kills the process, until a run passes without the fault firing."""
    fired = 0
    for nth in range(1, MANY):
        config, oracle = site(tmp_path / str(nth))
        died = procwatch("once", "-c", config, cwd=tmp_path, env={"PROCWATCH_FAULT": f"{point}:{nth}"})
        if died.returncode == 1:  # one file failed, as it must: the fault did not fire any more
            judge(config, oracle, tmp_path, f"{point}, no fault")
            break
        assert died.returncode == -signal.SIGKILL, died
        fired += 1
        again = procwatch("once", "-c", config, cwd=tmp_path)
        assert again.returncode in (0, 1), f"{point}:{nth}: {again}"
        judge(config, oracle, tmp_path, f"{point}:{nth}")
    else:
        pytest.fail(f"{point} is passed more than {MANY} times")
    assert fired or point in ELSEWHERE, f"{point} is not passed by any scenario"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", ["fs.copy", "fs.unlink", "fs.fsync_file", "fs.rename", "ledger.disposed"])
def test_a_death_while_originals_are_copied_to_another_file_system_leaves_one_of_each(
    point: str, tmp_path: Path
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        if os.stat(elsewhere).st_dev == tmp_path.stat().st_dev:
            pytest.skip("there is no second file system here")
        for nth in range(1, MANY):
            root, far = tmp_path / str(nth), Path(elsewhere, str(nth))
            for name in ("archive", "failed"):
                (far / name).mkdir(parents=True)
                root.mkdir(exist_ok=True)
                (root / name).symlink_to(far / name)
            config, oracle = site(root)
            died = procwatch("once", "-c", config, cwd=tmp_path, env={"PROCWATCH_FAULT": f"{point}:{nth}"})
            if died.returncode == 1:
                break
            assert died.returncode == -signal.SIGKILL, died
            again = procwatch("once", "-c", config, cwd=tmp_path)
            assert again.returncode in (0, 1), f"{point}:{nth}: {again}"
            judge(config, oracle, tmp_path, f"{point}:{nth}")
        assert nth > 1, f"{point} was not passed"


def test_a_death_while_staging_is_swept_is_swept_up_too(tmp_path: Path) -> None:
    config, oracle = site(tmp_path / "site")
    for fault in ("ledger.publishing:1", "fs.remove_tree:1"):
        died = procwatch("once", "-c", config, cwd=tmp_path, env={"PROCWATCH_FAULT": fault})
        assert died.returncode == -signal.SIGKILL, died
    assert procwatch("once", "-c", config, cwd=tmp_path).returncode in (0, 1)
    judge(config, oracle, tmp_path, "swept")


def test_a_death_while_a_folder_that_was_made_in_vain_is_removed(places: Places, tmp_path: Path) -> None:
    """The fourth rename is of the original, on its way into archive/album; the first found no outbox/album."""
    config = places.write_config(inbox='settle = "0s"', pool="workers = 1")
    oracle = Oracle(places=places)
    images.write(places.inbox / "album/0.jpg", oracle.expect("album/0.jpg", images.jpeg(0)))
    faults = {"PROCWATCH_FAULT": "fs.rename:4:EIO,fs.rmdir:1"}
    died = procwatch("once", "-c", config, cwd=tmp_path, env=faults)
    assert died.returncode == -signal.SIGKILL, died
    assert (places.archive / "album").is_dir()
    assert procwatch("once", "-c", config, cwd=tmp_path).returncode == 0
    oracle.check(archive=1)


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize(
    "point",
    ["fs.rename", "fs.set_mode", "fs.fsync_file", "fs.fsync_dir", "fs.mkdir", "fs.write", "ledger.sync"],
)
def test_an_effect_that_fails_once_is_tried_again_and_charged_to_nobody(
    point: str, error: str, tmp_path: Path
) -> None:
    config, oracle = site(tmp_path / "site")
    run = procwatch("once", "-c", config, cwd=tmp_path, env={"PROCWATCH_FAULT": f"{point}:1:{error}"})
    assert run.returncode == 1, run
    judge(config, oracle, tmp_path, f"{point}: {error}")


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
