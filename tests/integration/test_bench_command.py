"""procwatch bench on small pictures: what it measures, what it leaves, what it refuses."""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
from pathlib import Path

import pytest

from procwatch.cli import main as cli
from procwatch.cli.bench import find_pictures
from tests.support import images, processes
from tests.support.daemon import PROGRAM, environment
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number in range(3):
        images.write(folder / "deep" / f"{number}.jpg", images.jpeg(number, (640, 480)))
    return folder


def bench(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.main(["bench", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_of_a_folder_only_files_are_measured(photos: Path) -> None:
    """It may be an inbox: a pipe would be waited for, and a link may lead to anything."""
    os.mkfifo(photos / "pipe.jpg")
    (photos / "link.jpg").symlink_to("/dev/zero")
    (photos / "folder.jpg").symlink_to(photos / "deep")
    assert find_pictures([str(photos)]) == [str(photos / f"deep/{number}.jpg") for number in range(3)]


def test_json_tells_stages_trials_and_how_many_workers_to_set(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    code, out, _ = bench(str(photos), "--seconds", "3s", "--scratch", str(scratch), "--json", capsys=capsys)
    assert code == 0
    result = json.loads(out)
    assert result["files"] == 3
    assert result["pixels"] == 3 * 640 * 480
    assert list(result["stages"]) == ["read", "decode", "transform", "encode", "write"]
    for stage in ("decode", "transform", "encode", "write"):
        assert result["stages"][stage]["wall_s"] > 0, stage
    modes = {(trial["mode"], trial["workers"]) for trial in result["trials"]}
    cpus = result["machine"]["cpus"]
    assert {("serial", 1), ("threads", cpus), ("processes", cpus), ("processes", 2 * cpus)} <= modes
    assert all(trial["images_per_s"] > 0 for trial in result["trials"])
    assert 1 <= result["verdict"]["workers"] <= 2 * cpus
    assert not list(scratch.iterdir())
    assert not multiprocessing.active_children()


def test_ctrl_c_ends_it_wherever_it_is(photos: Path) -> None:
    """The command warms up its own process for the serial part, which must not make that deaf to Ctrl-C."""
    for after_s in (1.5, 4.0):
        process = subprocess.Popen(
            [*PROGRAM, "bench", str(photos), "--seconds", "60s"],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after_s)  # it measures meanwhile
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=15)
        assert process.returncode == 130, errors
        assert b"Traceback" not in errors
        eventually(lambda group=process.pid: not processes.in_session(group), 5)  # type: ignore[misc]


def test_the_table_names_every_way_and_a_broken_file_is_left_out(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images.write(photos / "broken.jpg", b"no picture")
    code, out, _ = bench(str(photos), "--seconds", "2s", capsys=capsys)
    assert code == 0
    assert "recipe web, 3 files" in out
    assert "Set workers = " in out
    assert "processes" in out
    assert "left out: 'broken.jpg'" in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere"], 2, "there is no file 'nowhere'"),
        (["--seconds", "soon"], 2, "--seconds"),
        (["--seconds", "0s"], 2, "less than a second"),
        (["--recipe", "webb"], 3, "there is no recipe 'webb'"),
        (["--scratch", "/nowhere"], 2, "cannot write to '/nowhere'"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result, out, err = bench(*arguments, capsys=capsys)
    assert result == code
    assert not out
    assert said in err


def test_a_folder_without_pictures_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images.write(tmp_path / "notes.txt", b"hello")
    code, _, err = bench(str(tmp_path), capsys=capsys)
    assert code == 2
    assert "no pictures there" in err


def test_files_none_of_which_renders_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = images.write(tmp_path / "broken.jpg", b"no picture")
    code, _, err = bench(str(broken), "--seconds", "2s", capsys=capsys)
    assert code == 1
    assert "none of the files can be rendered" in err


def test_the_recipe_of_a_configuration_is_measured(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "my.toml"
    config.write_text(
        f'[state]\ndir = "{tmp_path}/state"\n[[inbox]]\npath = "{tmp_path}/in"\nrecipe = "tiny"\n'
        '[recipe.tiny.output.small]\nsteps = [{ op = "fit", width = 50, height = 50 }]\n'
    )
    code, out, _ = bench(str(photos), "-c", str(config), "--seconds", "2s", "--json", capsys=capsys)
    assert code == 0
    assert json.loads(out)["recipe"] == "tiny"
