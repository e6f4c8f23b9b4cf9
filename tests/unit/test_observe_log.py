"""The log: one valid line an event, whatever is in its fields, and never an exception for the caller."""

import enum
import io
import json
import threading
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procwatch.observe.events import EVENTS, problems
from procwatch.observe.jsonline import render_json
from procwatch.observe.log import Log, open_log
from procwatch.observe.sinks import StreamSink

pytestmark = pytest.mark.unit

NOW_S = 1805016413.589
any_text = st.text(st.characters(exclude_categories=()), max_size=60)
any_name = st.binary(max_size=60).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


def parsed(text: str) -> dict[str, Any]:
    line = json.loads(text, parse_constant=pytest.fail)
    assert isinstance(line, dict)
    return line


def log_to(stream: io.StringIO, level: str = "info") -> Log:
    return Log([(StreamSink(stream), render_json)], level=level, clock=lambda: NOW_S)


@given(any_text | any_name)
def test_any_name_makes_one_ascii_line_from_which_it_comes_back(name: str) -> None:
    stream = io.StringIO()
    log_to(stream).logger.info("job.done", path=name, outputs=[name])
    (line,) = stream.getvalue().splitlines()
    assert line.isascii()
    assert line.isprintable()
    # JSON has no lone halves: a high one before a low one is read as the character that they make together.
    assert parsed(line)["path"].encode("utf-16", "surrogatepass") == name.encode("utf-16", "surrogatepass")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | any_text | st.binary(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(any_text | st.integers(), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_any_value_makes_one_valid_line(value: object) -> None:
    assert parsed(render_json(NOW_S, "info", "job.done", {"value": value}))["event"] == "job.done"


def test_timestamp_level_and_event_come_first_and_fields_in_the_order_of_the_call() -> None:
    stream = io.StringIO()
    log_to(stream).logger.bind(inbox="in").warning("watch.lost", zebra=1, apple=2)
    assert list(parsed(stream.getvalue())) == ["timestamp", "level", "event", "inbox", "zebra", "apple"]
    assert stream.getvalue().startswith('{"timestamp": "2027-03-14T09:26:53.589Z", "level": "warning",')


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_a_logged_event_of_the_catalogue_passes_its_own_check(name: str) -> None:
    stream = io.StringIO()
    event = EVENTS[name]
    fields = {
        key: value for key, value in event.example.items() if key not in {"timestamp", "level", "event"}
    }
    getattr(log_to(stream, "debug").logger, event.level)(name, **fields)
    assert problems(parsed(stream.getvalue())) == []


def test_a_field_cannot_take_the_place_of_the_first_three() -> None:
    line = parsed(render_json(NOW_S, "info", "x", {"level": "debug", "timestamp": 0, "a": 1}))
    assert line == {"timestamp": "2027-03-14T09:26:53.589Z", "level": "info", "event": "x", "a": 1}


class _Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")


class _Word(enum.StrEnum):
    CLOSED = "closed"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (PurePosixPath("/a/b"), "/a/b"),
        (b"\xff.jpg", "\udcff.jpg"),
        (_Word.CLOSED, "closed"),
        ({"b", "a"}, ["a", "b"]),
        (("a", 1), ["a", 1]),
        (float("nan"), "nan"),
        ({1: {2: float("inf")}}, {"1": {"2": "inf"}}),
        (_Unprintable(), "<_Unprintable>"),
        pytest.param(10**5000, "<int>", id="huge"),
    ],
)
def test_values_that_json_lacks_are_written_as_something_readable(value: object, expected: object) -> None:
    assert parsed(render_json(NOW_S, "info", "x", {"value": value}))["value"] == expected


def test_a_value_that_contains_itself_ends() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert parsed(render_json(NOW_S, "info", "x", {"value": loop}))["event"] == "x"


def test_events_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    logger = log_to(stream, "warning").logger
    logger.info("service.ready")
    logger.debug("job.queued")
    assert stream.getvalue() == ""


def test_an_exception_becomes_a_traceback_field() -> None:
    stream = io.StringIO()
    logger = log_to(stream).logger
    try:
        raise ValueError("boom")
    except ValueError:
        logger.exception("job.failed", job="1")
    line = parsed(stream.getvalue())
    assert line["level"] == "error"
    assert line["traceback"].endswith("ValueError: boom\n")


class _Failing(StreamSink):
    def __init__(self) -> None:
        super().__init__(io.StringIO())

    def write(self, line: str) -> None:
        raise MemoryError


def test_a_failing_sink_never_reaches_the_caller_and_is_counted() -> None:
    log = Log([(_Failing(), render_json)])
    log.logger.info("service.ready")
    assert log.dropped == 1


def test_a_failing_sink_does_not_take_the_line_from_the_others() -> None:
    stream = io.StringIO()
    log = Log([(_Failing(), render_json), (StreamSink(stream), render_json)])
    log.logger.info("service.ready")
    assert parsed(stream.getvalue())["event"] == "service.ready"


def test_a_program_without_stdout_logs_into_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    log = open_log(file=str(tmp_path / "log"), foreign=False)
    log.logger.info("service.ready")
    log.close()
    assert log.dropped == 0
    assert parsed((tmp_path / "log").read_text())["event"] == "service.ready"


def test_a_closed_stream_is_counted() -> None:
    stream = io.StringIO()
    log = log_to(stream)
    stream.close()
    log.logger.info("service.ready")
    assert log.dropped == 1
    log.close()
    assert log.dropped == 1


class _Talkative(StreamSink):
    """A sink that logs on every write, as a garbage collector's warning in the middle of it would."""

    log: Log

    def write(self, line: str) -> None:
        self.log.logger.warning("log.foreign", logger="x", message="from inside")
        super().write(line)


def test_an_event_that_writing_caused_comes_after_it_and_does_not_recurse_for_ever() -> None:
    stream = io.StringIO()
    sink = _Talkative(stream)
    sink.log = log = Log([(sink, render_json)])
    log.logger.info("service.ready", seconds=1.0)
    events = [parsed(line)["event"] for line in stream.getvalue().splitlines()]
    assert events[:2] == ["service.ready", "log.foreign"]
    assert len(events) < 50


def test_lines_of_many_threads_do_not_mix() -> None:
    stream = io.StringIO()
    logger = log_to(stream).logger

    def talk(name: int) -> None:
        for number in range(200):
            logger.info("job.done", thread=name, number=number, path="x" * 200)

    threads = [threading.Thread(target=talk, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [parsed(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 800
    for name in range(4):
        assert [line["number"] for line in lines if line["thread"] == name] == list(range(200))


class _Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def written(stream: io.StringIO, environ: dict[str, str] | None = None, **options: Any) -> str:
    log = open_log(stdout=stream, foreign=False, environ=environ or {}, **options)
    log.logger.info("job.done", path="a.jpg", outputs=["b.jpg"])
    log.close()
    return stream.getvalue()


def test_a_terminal_gets_readable_lines_in_colour_and_everything_else_json() -> None:
    assert "\x1b[32mdone" in written(_Terminal())
    assert parsed(written(io.StringIO()))["event"] == "job.done"


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colour_can_be_refused(environ: dict[str, str]) -> None:
    assert "\x1b" not in written(_Terminal(), environ)


def test_the_format_can_be_chosen() -> None:
    assert parsed(written(_Terminal(), format="json"))["event"] == "job.done"
    assert "done   a.jpg → b.jpg" in written(io.StringIO(), format="console")


def test_an_arrow_that_the_terminal_lacks_is_replaced() -> None:
    terminal = _Terminal()
    terminal.encoding = "ascii"
    assert "a.jpg -> b.jpg" in written(terminal)


def test_quiet_leaves_stdout_alone() -> None:
    assert written(io.StringIO(), quiet=True) == ""
