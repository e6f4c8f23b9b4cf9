"""procwatch logs: files of any size, rotations, the journal through a stand-in for journalctl."""

import io
import json
import os
import re
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from procwatch.cli import logs as logs_command
from procwatch.cli import main as cli
from procwatch.control import log_lines
from procwatch.control.log_lines import Wanted, parsed, read_file, since
from procwatch.control.log_stats import LogStats, percentiles
from procwatch.errors import ProcwatchError
from procwatch.observe.events import EVENTS

pytestmark = pytest.mark.integration


def stamp(second: int) -> str:
    return f"2027-03-14T{9 + second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.000Z"


def line(second: int, event: str = "job.done", **fields: Any) -> bytes:
    content = {**EVENTS[event].example, "job": f"{second:018x}", "timestamp": stamp(second), **fields}
    return json.dumps(content).encode() + b"\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Six lines of two inboxes."""
    path = tmp_path / "procwatch.log"
    path.write_bytes(
        line(0, "service.started")
        + line(1, path="a.jpg", run_s=0.2)
        + line(2, "job.failed", path="b.jpg", inbox="scans", error="timeout", run_s=9.0)
        + b"Started procwatch.service, says the service manager\n"
        + line(3, path="c.jpg", run_s=6.0, inbox="scans")
        + line(3, path="c.jpg", run_s=6.0, inbox="scans", recovered=True)
    )
    return path


def paths(shown: str) -> list[str]:
    return [json.loads(text).get("path", "-") for text in shown.splitlines()]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["-", "a.jpg", "b.jpg", "c.jpg", "c.jpg"]),
        (["--failed"], ["b.jpg"]),
        (["--inbox", "scans"], ["b.jpg", "c.jpg", "c.jpg"]),
        (["--slow", "5s"], ["b.jpg", "c.jpg", "c.jpg"]),
        (["--slow", "5s", "--failed"], ["b.jpg"]),
        (["-n", "1"], ["c.jpg"]),
        (["-n", "0"], []),
    ],
)
def test_lines_are_chosen_and_stay_json_through_a_pipe(
    options: list[str], expected: list[str], log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["logs", "--file", str(log), *options]) == 0
    assert paths(capsys.readouterr().out) == expected


def test_on_a_terminal_lines_are_readable_and_harmless(
    log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write_bytes(log.read_bytes() + line(4, path="evil\x1b[2J.jpg"))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert cli.main(["logs", "--file", str(log)]) == 0
    shown = capsys.readouterr().out
    assert "failed b.jpg  timeout: " in shown
    assert "evil\\x1b[2J.jpg" in shown
    assert "\x1b" not in shown


def test_since_goes_by_the_time_of_the_lines(log: Path) -> None:
    wanted = Wanted(since=stamp(2))
    assert [
        found["path"] for found in parsed(read_file(str(log), start=stamp(2))) if wanted.takes(found)
    ] == [
        "b.jpg",
        "c.jpg",
        "c.jpg",
    ]
    assert since(60, 1_800_000_060.0) == "2027-01-15T08:00:00.000Z"


@pytest.mark.parametrize("wanted", [0, 1, 4999, 5000, 9999, 10_000])
def test_since_in_a_large_log_finds_the_very_first_line_without_reading_all(
    wanted: int, tmp_path: Path
) -> None:
    path = tmp_path / "large.log"
    path.write_bytes(b"".join(line(second) for second in range(10_000)))
    assert path.stat().st_size > 10 * log_lines._BLOCK_BYTES
    lines = list(parsed(read_file(str(path), start=stamp(wanted))))
    chosen = [found for found in lines if Wanted(since=stamp(wanted)).takes(found)]
    assert len(chosen) == 10_000 - wanted
    assert len(lines) - len(chosen) < 2000, "only the block around it is read in vain"


def test_a_line_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "procwatch.log"
    path.write_bytes(line(1)[:30])
    steps = iter([lambda: append(path, line(1)[30:])])
    assert json.loads(next(followed(path, steps)))["timestamp"] == stamp(1)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


class Ended(Exception):  # noqa: N818 (the way out of a follower that never ends)
    pass


def followed(path: Path, steps: Iterator[Any]) -> Iterator[bytes]:
    """Follow the file; each time the follower sleeps, the next step is done."""

    def step(seconds: float) -> None:
        try:
            next(steps)()
        except StopIteration:
            raise Ended from None

    return read_file(str(path), follow=True, sleep=step)


def collect(lines: Iterator[bytes]) -> list[str]:
    """Return the paths of the lines up to the end of the steps."""
    found = []
    try:
        for text in lines:
            found.append(json.loads(text)["path"])  # noqa: PERF401 (kept although the loop ends by an exception)
    except Ended:
        pass
    return found


def test_following_goes_on_in_the_new_file_after_the_rest_of_the_old(tmp_path: Path) -> None:
    path, old = tmp_path / "procwatch.log", tmp_path / "procwatch.log.1"
    path.write_bytes(line(1, path="1"))

    def rotate() -> None:
        path.rename(old)

    def write_to_both() -> None:
        append(old, line(2, path="2"))
        append(path, line(3, path="3"))

    steps = iter([rotate, write_to_both, lambda: append(path, line(4, path="4")), lambda: None])
    assert collect(followed(path, steps)) == ["1", "2", "3", "4"]


def test_following_waits_for_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    """As between a rotation and the next line; a folder that is not there is a slip of the pen."""
    path = tmp_path / "procwatch.log"
    steps = iter([lambda: None, lambda: path.write_bytes(line(1, path="1")), lambda: None])
    assert collect(followed(path, steps)) == ["1"]
    with pytest.raises(ProcwatchError, match="cannot read the log"):
        next(followed(tmp_path / "nowhere/procwatch.log", iter([])))


def test_a_follower_says_that_it_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(path: str, **options: object) -> Iterator[bytes]:
        return iter([])

    monkeypatch.setattr(log_lines, "read_file", nobody)
    assert cli.main(["logs", "-f", "--file", str(tmp_path / "no.log")]) == 0
    assert "is not there yet; waiting for it" in capsys.readouterr().err


def test_following_a_log_that_was_cut_begins_at_its_start(tmp_path: Path) -> None:
    path = tmp_path / "procwatch.log"
    path.write_bytes(line(1, path="1") + line(1, path="1b"))
    steps = iter([lambda: path.write_bytes(line(2, path="2")), lambda: None, lambda: None])
    assert collect(followed(path, steps)) == ["1", "1b", "2"]


def test_figures_count_a_file_once_and_name_what_failed(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["logs", "--stats", "--file", str(log)]) == 0
    stats = json.loads(capsys.readouterr().out)
    assert (stats["done"], stats["failed"]) == (2, 1)
    assert stats["errors"] == {"timeout": 1}
    assert stats["inboxes"] == {"scans": 2, "inbox": 1}
    assert stats["run_s"] == {"p50": 6.0, "p95": 9.0, "max": 9.0}
    assert stats["first"] == stamp(1)


def test_figures_for_people() -> None:
    stats = LogStats()
    assert stats.text() == "no file ended in these lines"
    stats.add_all(parsed(io.BytesIO(line(1, run_s=0.2) + line(2, "job.failed", error="timeout", run_s=30.0))))
    shown = stats.text()
    assert shown.startswith("1 done, 1 failed, 0 retries; ")
    assert "ran: half within 200 ms, 95 % within 30 s, at most 30 s" in shown
    assert "1  failed as timeout" in shown
    assert percentiles([]) is None


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that writes down how it was called and prints two lines, one with a syslog level before it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "journalctl"
    called = tmp_path / "called"
    program.write_text(
        f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {called}\ncat {tmp_path}/journal\n[ ! -e {tmp_path}/fails ]\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "journal").write_bytes(b"<6>" + line(1, path="a.jpg") + line(2, "job.failed", path="b.jpg"))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return called


def test_a_unit_is_read_from_the_journal(journalctl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["logs", "--unit", "procwatch@scans", "-n", "50"]) == 0
    assert paths(capsys.readouterr().out) == ["a.jpg", "b.jpg"]
    assert journalctl.read_text().split() == [
        "--output=cat",
        "--unit=procwatch@scans",
        "_TRANSPORT=stdout",
        "--no-pager",
        "--lines=50",
    ]


@pytest.mark.parametrize(
    ("config", "unit"),
    [
        (None, "procwatch"),
        ("/etc/procwatch/procwatch.toml", "procwatch"),
        ("/etc/procwatch/scans.toml", "procwatch@scans"),
        ("/etc/procwatch/scans", "procwatch"),
        ("/home/alice/scans.toml", "procwatch"),
    ],
)
def test_the_journal_of_an_instance_is_its_own(config: str | None, unit: str) -> None:
    assert logs_command._unit_of(config) == unit


def test_the_time_goes_to_the_journal_in_its_own_words(journalctl: Path) -> None:
    list(log_lines.read_journal("procwatch", start="2027-03-14T09:26:53.589Z", follow=True))
    given = "--lines=all\n--since=2027-03-14 09:26:53.589 UTC\n--follow\n"
    assert journalctl.read_text().endswith(given)


def test_the_last_lines_are_asked_for_without_a_time_which_would_make_them_the_first(
    journalctl: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: datetime.fromisoformat(stamp(2)).timestamp() + 60)
    assert cli.main(["logs", "--unit", "x", "-n", "2", "--since", "60s"]) == 0
    assert "--since" not in journalctl.read_text()
    assert paths(capsys.readouterr().out) == ["b.jpg"]


def test_a_journal_that_cannot_be_read_is_one_line(
    journalctl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fails").touch()
    assert cli.main(["logs", "--unit", "x"]) == 1
    assert "journalctl ended with 1" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["logs", "--unit", "x"]) == 1
    assert "cannot run journalctl" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--since", "soon"], 2, "--since: 'soon' is not a duration"),
        (["--slow", "1"], 2, "--slow: '1' is not a duration"),
        (["--stats", "-f"], 2, "exclude each other"),
        (["-n", "-1"], 2, "must not be negative"),
        ([], 1, "cannot read the log"),
    ],
)
def test_mistakes_are_one_clear_line(
    options: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["logs", "--file", str(tmp_path / "no.log"), *options]) == code
    assert message in capsys.readouterr().err


def test_nothing_to_show_has_a_reason(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["logs", "--file", str(log), "--inbox", "nope"]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert re.search(r"procwatch: none of \d+ lines matches: .*log", told.err), told.err
    (tmp_path / "other").write_text("this is no log\n")
    assert cli.main(["logs", "--file", str(tmp_path / "other")]) == 0
    assert "no line of procwatch's log: " in capsys.readouterr().err


def test_a_site_has_its_own_log(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = log.parent / "site/.procwatch"
    state.mkdir(parents=True)
    log.rename(state / "procwatch.log")
    assert cli.main(["logs", "--failed", str(state.parent)]) == 0
    assert paths(capsys.readouterr().out) == ["b.jpg"]
