"""`procwatch --help`, `check` and `init` as real processes: what they load, print and return."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from procwatch.cli import init
from procwatch.cli.main import COMMANDS
from procwatch.settings.load import load, zero_config

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
HEAVY = ("pydantic", "watchdog", "PIL", "rich", "structlog", "cykooz_resizer", "sqlite3", "asyncio")


def procwatch(*argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "procwatch", *argv],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def loaded_by(*argv: str) -> set[str]:
    """Return the top-level modules that a command line has imported when it ends."""
    program = (
        "import json, sys\nfrom procwatch.__main__ import main\n"
        f"sys.argv = ['procwatch', *{argv!r}]\nmain()\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["check", "--help"], ["init", "--help"]])
def test_help_and_version_load_nothing_heavy(argv: list[str]) -> None:
    assert loaded_by(*argv).isdisjoint(HEAVY)


def test_the_check_for_heavy_modules_would_see_them(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[[inbox]]\npath = "in"\n')
    assert "pydantic" in loaded_by("check", "-c", str(tmp_path / "c.toml"))


def test_the_entry_module_imports_nothing_by_itself() -> None:
    program = (
        "import sys, runpy\nbefore = set(sys.modules)\n"
        "runpy.run_module('procwatch.__main__', run_name='__mp_main__')\n"
        "print([n for n in set(sys.modules) - before if n != 'procwatch'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_command_of_the_table_has_help_with_its_name() -> None:
    for name in COMMANDS:
        done = procwatch(name, "--help")
        assert (done.returncode, done.stderr) == (0, ""), name
        assert f"procwatch {name}" in done.stdout


def test_init_writes_a_file_that_means_the_same_as_none_and_is_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "my pictures"
    done = procwatch("init", str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"next: procwatch run '{folder}'" in done.stdout
    assert sorted(os.listdir(folder)) == ["inbox", "procwatch.toml"]
    settings = load(str(folder / "procwatch.toml"))
    assert dataclasses.replace(settings, source=None) == zero_config(str(folder))
    (folder / "procwatch.toml").write_text("# mine\n")
    again = procwatch("init", str(folder))
    assert again.returncode == 2
    assert again.stderr.splitlines() == [
        f"procwatch: {folder}/procwatch.toml exists already",
        "  --force replaces it",
    ]
    assert (folder / "procwatch.toml").read_text() == "# mine\n"
    assert procwatch("init", "--force", cwd=folder).returncode == 0
    assert (folder / "procwatch.toml").read_bytes() == init.annotated_default()
    assert sorted(os.listdir(folder)) == ["inbox", "procwatch.toml"]


def test_init_says_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = procwatch("init", str(tmp_path / "file"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"procwatch: cannot write {tmp_path}/file/procwatch.toml: ")
    assert done.stderr.count("\n") == 1


def test_check_prints_a_configuration_that_reads_back_equal_and_what_this_machine_can_do(
    tmp_path: Path,
) -> None:
    source = ROOT / "config" / "examples" / "web-gallery.toml"
    done = procwatch("check", "-c", str(source))
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "shown.toml").write_text(done.stdout)
    settings, shown = load(str(source)), load(str(tmp_path / "shown.toml"))
    assert dataclasses.replace(shown, source=settings.source) == settings
    assert "# this installation reads: JPEG, PNG" in done.stdout
    assert "# this installation writes: jpeg, webp" in done.stdout
    assert f"# note: {settings.inboxes[0].path} cannot be used by user" in done.stdout


def test_check_of_a_strangely_named_folder_is_still_toml(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"a\nb\xff")
    folder.mkdir()
    done = procwatch("check", str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert tomllib.loads(done.stdout.replace("\\udcff", ""))["inbox"][0]["name"] == "inbox"


def test_check_lists_every_mistake_and_exits_with_3(tmp_path: Path) -> None:
    (tmp_path / "procwatch.toml").write_text('[[inbox]]\npath = "in"\nsetle = "2s"\n\n[pool]\nworkers = 0\n')
    done = procwatch("check", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "procwatch: 2 mistakes in the configuration"
    assert lines[1].startswith(
        f'{tmp_path}/procwatch.toml:3: inbox#1.setle: is not a known key; did you mean "settle"?'
    )
    assert lines[2].startswith(f"{tmp_path}/procwatch.toml:6: pool.workers: must be ")


def test_a_reader_that_leaves_is_no_error_worth_a_line(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as nobody_reads:
        done = subprocess.run(
            [sys.executable, "-m", "procwatch", "check", str(tmp_path)],
            cwd=ROOT,
            stdout=nobody_reads,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_the_annotated_default_comes_from_the_package_where_it_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.resources

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "procwatch.toml").write_bytes(b"# from the wheel\n")
    monkeypatch.setattr(importlib.resources, "files", lambda package: tmp_path)
    assert init.annotated_default() == b"# from the wheel\n"


def test_a_file_in_the_place_of_a_folder_is_perhaps_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("")
    for command in ("run", "once", "status"):
        ended = procwatch(command, "x.toml", cwd=tmp_path)
        assert ended.returncode == 2
        assert ended.stderr.splitlines() == [
            "procwatch: x.toml is a file, not a folder",
            "  did you mean -c x.toml ?",
        ]


def test_a_folder_that_was_made_is_told_since_it_may_be_a_slip_of_the_pen(tmp_path: Path) -> None:
    assert f"made {tmp_path}/typo, with inbox" in procwatch("once", "typo", cwd=tmp_path).stderr
    assert "made " not in procwatch("once", "typo", cwd=tmp_path).stderr


def test_without_a_daemon_pause_says_how_to_start_it(tmp_path: Path) -> None:
    (tmp_path / "site/.procwatch").mkdir(parents=True)
    ended = procwatch("pause", "./site", cwd=tmp_path)
    assert ended.returncode == 4
    assert f"start it: procwatch run {tmp_path}/site" in ended.stderr


def test_explain_takes_a_folder_before_the_path(tmp_path: Path) -> None:
    (tmp_path / "site/.procwatch").mkdir(parents=True)
    ended = procwatch("explain", "site", "2024/never.jpg", cwd=tmp_path)
    assert ended.stdout.startswith(
        "2024/never.jpg: not in any inbox, and procwatch has never seen it (there is "
    )
    assert (
        procwatch("explain", "never.jpg", cwd=tmp_path)
        .stdout.rstrip()
        .endswith("procwatch explain DIR PATH)")
    )
    assert procwatch("explain", "a", "b", "c", cwd=tmp_path).returncode == 2


def test_a_unit_is_printed_also_where_it_could_not_be_installed(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('[[inbox]]\npath = "in"\n')  # below /tmp, which a service has of its own
    ended = procwatch("unit", "--print", "-c", "x.toml", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("#") or "[Unit]" in ended.stdout
    if str(tmp_path).startswith("/tmp/"):
        assert "--install will refuse" in ended.stderr
