"""Progress of a drain, as people see it."""

import io

import pytest

from procwatch.observe.log import open_log
from procwatch.observe.progress import Progress, print_summary

pytestmark = pytest.mark.unit


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_plain_lines_come_at_most_once_a_second_and_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(stream, monotonic=clock) as progress:
        for done in range(30):
            clock.now_s = done / 10
            progress.update(done=done, failed=0, waiting=30 - done)
        progress.update(done=29, failed=1, waiting=0)
    assert stream.getvalue().splitlines() == [
        "0 of 30 files",
        "10 of 30 files",
        "20 of 30 files",
        "30 of 30 files, 1 failed",
    ]


def test_the_same_counts_are_not_said_twice() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(stream, monotonic=clock) as progress:
        for second in range(10):
            clock.now_s = float(second)
            progress.update(done=1, failed=0, waiting=1)
    assert stream.getvalue() == "1 of 2 files\n"


def test_nothing_to_do_says_nothing() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        assert progress.log_stream is None
        progress.update(done=0, failed=0, waiting=0)
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar_and_log_lines_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    with Progress(terminal) as progress:
        log = open_log(stdout=progress.log_stream, foreign=False, environ={})
        progress.update(done=1, failed=1, waiting=2, running=1)
        log.logger.info("job.done", path="[red]\udcff.jpg", outputs=["b.jpg"], run_s=0.5, worker_pid=4)
        log.close()
    shown = terminal.getvalue()
    assert r"[red]\xff.jpg → b.jpg  0.50 s  pid 4" in shown  # brackets in a name are no markup
    assert "2/5" in shown
    assert "1 failed" in shown
    assert log.dropped == 0


def test_the_summary_counts_files_and_names_the_workers() -> None:
    stream = io.StringIO()
    print_summary(done=3, failed=1, seconds=2.0, by_pid={42: 3, 41: 1}, stream=stream)
    assert (
        stream.getvalue()
        == "3 done, 1 failed in 2.0 s, 2.0 images/s\n  worker 41: 1 file\n  worker 42: 3 files\n"
    )


def test_the_summary_of_nothing_has_no_rate() -> None:
    stream = io.StringIO()
    print_summary(done=0, failed=0, seconds=0.0, by_pid={}, stream=stream)
    assert stream.getvalue() == "0 done, 0 failed in 0.0 s\n"


def test_a_gone_reader_does_not_stop_the_work() -> None:
    stream = io.StringIO()
    stream.close()
    print_summary(done=1, failed=0, seconds=1.0, by_pid={1: 1}, stream=stream)
    with Progress(stream) as progress:
        progress.update(done=1, failed=0, waiting=0)


def test_a_wait_is_said_once_with_its_end() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(stream, monotonic=clock) as progress:
        for second in range(5):
            clock.now_s = float(second)
            progress.update(
                done=1, failed=0, waiting=2, why="2 files may still be growing", until_s=38.0 - second
            )
    assert stream.getvalue() == "1 of 3 files; 2 files may still be growing: 38 s at most\n"


def test_a_bar_counts_a_wait_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    stream = Terminal()
    with Progress(stream) as progress:
        progress.update(done=1, failed=0, waiting=2, why="2 files may still be growing", until_s=38.0)
    assert "2 files may still be growing: 38 s at most" in stream.getvalue()


def test_failures_are_listed_and_names_are_made_safe() -> None:
    stream = io.StringIO()
    line = {"path": "a\n.jpg", "error": "truncated", "reason": "ends early"}
    print_summary(
        done=0, failed=3, seconds=1.0, by_pid={}, failures=[line], rest="1 file left", stream=stream
    )
    assert stream.getvalue().splitlines()[1:] == [
        "failed: a\\n.jpg: truncated: ends early",
        "and 2 more before these: failed/NAME.error.json",
        "1 file left",
    ]
