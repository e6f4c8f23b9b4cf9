"""The log on real descriptors: rotation, full disks, gone and slow readers, a terminal, the journal, foreign records."""

import json
import os
import pty
import re
import resource
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procwatch.errors import ConfigError
from procwatch.observe.events import problems
from procwatch.observe.log import is_journal, open_log
from procwatch.observe.sinks import KEPT_BYTES, DescriptorSink, FileSink
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def lines(path: Path) -> list[str]:
    return path.read_text("ascii").splitlines()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "procwatch.log"


@pytest.fixture
def sink(log_file: Path, clock: Clock) -> Iterator[FileSink]:
    sink = FileSink(str(log_file), monotonic=clock)
    yield sink
    sink.close()


def test_a_renamed_file_is_followed_by_a_new_one_within_a_second(
    sink: FileSink, log_file: Path, clock: Clock
) -> None:
    sink.write("one")
    log_file.rename(log_file.with_suffix(".1"))
    clock.now_s = 0.9
    sink.write("two")  # not looked at yet
    clock.now_s = 1.0
    sink.write("three")
    assert lines(log_file.with_suffix(".1")) == ["one", "two"]
    assert lines(log_file) == ["three"]


def test_a_deleted_file_comes_again(sink: FileSink, log_file: Path, clock: Clock) -> None:
    sink.write("one")
    log_file.unlink()
    clock.now_s = 1.0
    sink.write("two")
    assert lines(log_file) == ["two"]


def test_a_truncated_file_goes_on_at_its_beginning(sink: FileSink, log_file: Path) -> None:
    sink.write("one")
    os.truncate(log_file, 0)  # logrotate's copytruncate
    sink.write("two")
    assert log_file.read_bytes() == b"two\n"


def test_reopen_follows_at_once_and_keeps_the_old_file_where_the_new_one_cannot_be_opened(
    sink: FileSink, log_file: Path
) -> None:
    sink.write("one")
    old = log_file.with_suffix(".1")
    log_file.rename(old)
    log_file.mkdir()
    sink.reopen()
    sink.write("two")
    log_file.rmdir()
    sink.reopen()
    sink.write("three")
    assert (lines(old), lines(log_file)) == (["one", "two"], ["three"])


def test_rotation_leaks_no_descriptor(sink: FileSink, log_file: Path, clock: Clock) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        clock.now_s += 1.0
        log_file.unlink()
        sink.write(str(number))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_line_that_a_crash_cut_does_not_swallow_ours(log_file: Path) -> None:
    log_file.write_bytes(b'{"event": "job.do')
    sink = FileSink(str(log_file))
    sink.write("whole")
    sink.close()
    assert log_file.read_bytes() == b'{"event": "job.do\nwhole\n'


def test_a_full_disk_keeps_the_lines_and_writes_them_when_there_is_space(
    tmp_path: Path, log_file: Path, clock: Clock
) -> None:
    log_file.symlink_to("/dev/full")
    sink = FileSink(str(log_file), monotonic=clock)
    for number in range(100):
        sink.write(f"line {number}")
    log_file.unlink()
    clock.now_s = 1.0
    sink.write("line 100")
    sink.close()
    assert lines(log_file) == [f"line {number}" for number in range(101)]
    assert sink.dropped == 0


def test_a_disk_that_stays_full_costs_bounded_memory_and_is_counted(log_file: Path) -> None:
    log_file.symlink_to("/dev/full")
    sink = FileSink(str(log_file))
    for _ in range(3000):
        sink.write("x" * 1023)
    assert sink.dropped == 3000 - KEPT_BYTES // 1024
    sink.close()
    assert sink.dropped == 3000


def test_a_line_that_a_full_disk_cut_is_completed_not_repeated(log_file: Path) -> None:
    """A file size limit cuts a write in the middle, as a disk with 100 bytes left does."""
    script = """
        import resource, signal, sys
        from procwatch.observe.sinks import FileSink
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        sink = FileSink(sys.argv[1])
        for letter in "abc":
            sink.write(letter * 59)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sink.write("d" * 59)
        sink.close()
        assert sink.dropped == 0
    """
    assert run(script, str(log_file)).stderr == ""
    assert lines(log_file) == [letter * 59 for letter in "abcd"]


def test_a_line_that_was_cut_before_a_rotation_is_whole_in_the_new_file(log_file: Path) -> None:
    script = """
        import os, resource, signal, sys
        from procwatch.observe.sinks import FileSink
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        sink = FileSink(sys.argv[1])
        sink.write("a" * 59)
        sink.write("b" * 59)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        os.rename(sys.argv[1], sys.argv[1] + ".1")
        sink.reopen()
        sink.close()
    """
    assert run(script, str(log_file)).stderr == ""
    assert lines(log_file) == ["b" * 59]


@pytest.mark.parametrize("place", ["missing/deeper/procwatch.log", ".", "file/procwatch.log"])
def test_a_log_file_that_cannot_be_opened_is_one_clear_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_log(file=str(tmp_path / place), quiet=True, foreign=False)


def test_too_many_open_files_at_the_start_is_waited_for(log_file: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        sink = FileSink(str(log_file))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    sink.write("one")
    assert not log_file.exists()
    sink.reopen()
    sink.write("two")
    sink.close()
    assert lines(log_file) == ["one", "two"]


def test_a_gone_reader_is_counted_and_never_raised() -> None:
    reader, writer = os.pipe()
    sink = DescriptorSink(writer)
    os.close(reader)
    sink.write("one")
    sink.write("two")
    assert sink.dropped == 2
    sink.close()
    os.close(writer)


def test_a_slow_reader_of_a_non_blocking_pipe_gets_every_line_later() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    sink = DescriptorSink(writer)
    os.close(writer)
    sent = [f"{number} " + "x" * 1000 for number in range(200)]
    started = time.monotonic()
    for line in sent:
        sink.write(line)
    assert time.monotonic() - started < 5  # it is waited for once, not once a line
    received = b""
    os.set_blocking(reader, False)

    def all_there() -> bool:
        nonlocal received
        sink.flush()
        try:
            received += os.read(reader, 1 << 16)
        except BlockingIOError:
            return False
        return received.count(b"\n") == len(sent)

    eventually(all_there)
    assert received.decode().splitlines() == sent
    assert sink.dropped == 0
    sink.close()
    os.close(reader)


def test_lines_that_are_gathered_are_written_at_once_at_the_end(
    log_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(file=str(log_file), quiet=True, foreign=False)
    calls: list[int] = []
    real_write = os.write

    def write(fd: int, data: bytes) -> int:
        calls.append(fd)
        return real_write(fd, data)

    monkeypatch.setattr(os, "write", write)
    with log.gathered():
        for number in range(100):
            log.logger.info("job.done", number=number)
        assert not lines(log_file)
    assert [json.loads(line)["number"] for line in lines(log_file)] == list(range(100))
    assert len(calls) == 1
    log.logger.info("job.done", number=100)
    assert len(lines(log_file)) == 101
    log.close()


def test_more_than_is_kept_is_written_before_the_end_and_nothing_is_lost(log_file: Path) -> None:
    log = open_log(file=str(log_file), quiet=True, foreign=False)
    count = 2 * KEPT_BYTES // 10_000
    with log.gathered():
        for number in range(count):
            log.logger.info("job.done", number=number, reason="x" * 10_000)
    assert [json.loads(line)["number"] for line in lines(log_file)] == list(range(count))
    assert log.dropped == 0
    log.close()


def test_what_was_gathered_is_written_also_when_the_block_raises(log_file: Path) -> None:
    log = open_log(file=str(log_file), quiet=True, foreign=False)

    def body() -> None:
        with log.gathered():
            log.logger.info("job.done", number=1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        body()
    assert len(lines(log_file)) == 1
    log.close()


def test_closing_stdout_elsewhere_cannot_send_lines_into_another_file(tmp_path: Path) -> None:
    target = tmp_path / "stdout"
    fd = os.open(target, os.O_WRONLY | os.O_CREAT)
    sink = DescriptorSink(fd)
    os.close(fd)
    with open(tmp_path / "ledger", "wb") as ledger:
        assert ledger.fileno() == fd
        sink.write("line")
    sink.close()
    assert target.read_bytes() == b"line\n"
    assert (tmp_path / "ledger").read_bytes() == b""


def test_a_closed_log_swallows_later_events(log_file: Path) -> None:
    log = open_log(file=str(log_file), quiet=True, foreign=False)
    log.logger.info("service.ready", seconds=1.0)
    log.close()
    log.logger.info("service.ready", seconds=2.0)
    log.close()
    assert len(lines(log_file)) == 1


def test_a_terminal_gets_readable_lines_and_the_file_json(log_file: Path) -> None:
    master, slave = pty.openpty()
    with open(slave, "w", encoding="utf-8", closefd=True) as terminal:
        log = open_log(stdout=terminal, file=str(log_file), foreign=False, environ={})
        log.logger.info("job.done", path="a\x1b[2J.jpg", outputs=["a-web.jpg"], run_s=0.21, worker_pid=7)
        shown = os.read(master, 4096).decode()
        log.close()
    os.close(master)
    assert shown.endswith("a\\x1b[2J.jpg → a-web.jpg  0.21 s  pid 7\r\n")
    assert json.loads(log_file.read_text())["path"] == "a\x1b[2J.jpg"


def test_the_journal_gets_its_prefixes_and_nobody_else(tmp_path: Path) -> None:
    with open(tmp_path / "journal", "w+", encoding="utf-8") as journal:
        status = os.fstat(journal.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        log = open_log(stdout=journal, foreign=False, environ=environ, level="debug")
        for level in ("debug", "info", "warning", "error", "critical"):
            getattr(log.logger, level)("log.foreign", logger="x", message="y")
        log.close()
        journal.seek(0)
        found = journal.read().splitlines()
        assert is_journal(journal.fileno(), environ)
        assert not is_journal(journal.fileno(), {"JOURNAL_STREAM": f"{status.st_dev}:1"})
    assert [line[:3] for line in found] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    assert all(json.loads(line[3:]) for line in found)


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0 or "Traceback" in done.stderr, done.stderr
    return done


FOREIGN = """
    import gc, logging, threading, warnings
    from procwatch.observe.log import open_log
    log = open_log()
    logging.getLogger("watchdog.x").debug("every event that it reads")
    logging.getLogger("watchdog.x").warning("Inotify queue %s", "overflowed")
    logging.getLogger("PIL").error("%d is wrong", "this")
    warnings.warn("x" * 100_000, RuntimeWarning)
    def die():
        raise ValueError("in a thread \\udcff")
    thread = threading.Thread(target=die, name="scanner")
    thread.start()
    thread.join()
    class Bad:
        def __del__(self):
            raise OSError("in the collector")
    Bad()
    raise LookupError("the end")
"""


def test_what_other_libraries_say_comes_in_the_same_shape() -> None:
    done = run(FOREIGN)
    found: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [problems(line) for line in found] == [[]] * 6
    assert [(line["level"], line["logger"]) for line in found] == [
        ("warning", "watchdog.x"),
        ("error", "PIL"),
        ("warning", "py.warnings"),
        ("error", "uncaught"),
        ("error", "uncaught"),
        ("critical", "uncaught"),
    ]
    assert [line["message"][:40] for line in found[:2]] == ["Inotify queue overflowed", "%d is wrong"]
    assert len(found[2]["message"]) < 3000
    assert re.search(r"\(<string>:\d+\)$", found[2]["message"])
    assert found[3]["message"] == "thread scanner died: ValueError: in a thread \udcff"
    assert found[5]["traceback"].endswith("LookupError: the end\n")


def test_an_uncaught_error_is_also_on_stderr_where_people_look() -> None:
    done = run(FOREIGN)
    assert done.returncode == 1
    assert done.stderr.endswith("LookupError: the end\n")
    assert "in a thread" not in done.stderr


def test_closing_gives_the_hooks_back(log_file: Path) -> None:
    import logging
    import threading
    import warnings

    def hooks() -> tuple[Any, ...]:
        root = logging.getLogger()
        return (
            list(root.handlers), root.level, warnings.showwarning, sys.excepthook, threading.excepthook,
            sys.unraisablehook,
        )  # fmt: skip

    before = hooks()
    log = open_log(file=str(log_file), quiet=True)
    assert all(now != then for now, then in zip(hooks(), before, strict=True))
    log.close()
    assert hooks() == before


def test_a_log_that_nobody_reads_does_not_stop_the_program() -> None:
    script = """
        import os, sys
        from procwatch.observe.log import open_log
        log = open_log()
        for number in range(1000):
            log.logger.info("service.ready", seconds=1.0)
        sys.stderr.write(f"dropped {log.dropped > 900}")
        log.close()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == "dropped True"
        assert process.wait(30) == 0


def test_two_logs_on_one_file_do_not_overwrite_each_other(log_file: Path) -> None:
    logs = [open_log(file=str(log_file), quiet=True, foreign=False) for _ in range(2)]
    for number in range(50):
        for log in logs:
            log.logger.info("service.ready", seconds=float(number))
    for log in logs:
        log.close()
    assert len([json.loads(line) for line in lines(log_file)]) == 100
