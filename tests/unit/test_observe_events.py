"""The catalogue is the contract of the log: complete, consistent, and strict about one line."""

import json
import re
from typing import Any

import pytest

from procwatch.errors import ERROR_CODES
from procwatch.observe.events import EVENTS, catalogue_markdown, problems

pytestmark = pytest.mark.unit

PROMISED = [
    "service.started",
    "service.ready",
    "service.reloaded",
    "service.stopping",
    "service.stopped",
    "config.rejected",
    "watch.started",
    "watch.lost",
    "watch.restored",
    "watch.overflowed",
    "scan.finished",
    "file.ignored",
    "job.queued",
    "job.started",
    "job.retrying",
    "job.vanished",
    "job.done",
    "job.failed",
    "intake.paused",
    "intake.resumed",
    "pool.worker_started",
    "pool.worker_lost",
    "pool.worker_recycled",
    "pool.degraded",
    "pool.recovered",
    "ledger.reset",
    "ledger.moved",
    "sandbox.reduced",
    "hook.failed",
]


def line(name: str, /, **changes: Any) -> dict[str, Any]:
    return {**EVENTS[name].example, **changes}


def test_every_event_that_is_promised_is_in_the_catalogue() -> None:
    assert set(PROMISED) <= set(EVENTS)


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_the_example_of_an_event_is_a_right_line_and_survives_json(name: str) -> None:
    assert problems(json.loads(json.dumps(EVENTS[name].example))) == []


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_every_required_field_is_missed(name: str) -> None:
    for field in EVENTS[name].fields:
        if field.required:
            without = {key: value for key, value in EVENTS[name].example.items() if key != field.name}
            assert problems(without) == [f"{name}: {field.name} is missing"]


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_every_field_refuses_a_value_of_another_type(name: str) -> None:
    for field in EVENTS[name].fields:
        wrong: object = 7 if field.type == "boolean" else True
        assert problems({**EVENTS[name].example, field.name: wrong}), field.name


def test_the_examples_of_all_fields_fit_their_own_types() -> None:
    for event in EVENTS.values():
        for field in event.fields:
            assert field.problem(field.example) is None, (event.name, field.name)


def test_one_name_has_one_unit_everywhere() -> None:
    units: dict[str, set[str]] = {}
    for event in EVENTS.values():
        names = [field.name for field in event.fields]
        assert len(names) == len(set(names)), f"{event.name} has a field twice"
        for field in event.fields:
            units.setdefault(field.name, set()).add(field.unit)
    assert {name: unit for name, unit in units.items() if len(unit) > 1} == {}


def test_units_are_in_the_names_of_fields() -> None:
    for event in EVENTS.values():
        for field in event.fields:
            if field.name.endswith("_s") or field.name == "seconds":
                assert (field.type, field.unit) == ("number", "seconds"), field.name
            if field.name.startswith("bytes_") or field.name.endswith("_bytes"):
                assert (field.type, field.unit) == ("integer", "bytes"), field.name


def test_both_terminal_lines_have_the_fields_that_the_design_promises() -> None:
    promised = [
        "job",
        "inbox",
        "path",
        "worker_pid",
        "slot",
        "attempt",
        "recipe",
        "outputs",
        "bytes_in",
        "bytes_out",
        "wait_s",
        "run_s",
    ]
    for name, more in (("job.done", []), ("job.failed", ["error", "reason"])):
        required = [field.name for field in EVENTS[name].fields if field.required]
        assert required == promised + more


def test_a_failure_has_a_known_code() -> None:
    for code in ERROR_CODES:
        assert problems(line("job.failed", error=code)) == []
    assert "not one of" in problems(line("job.failed", error="oops"))[0]


@pytest.mark.parametrize(
    ("event", "changes", "complaint"),
    [
        ("job.done", {"colour": "red"}, "colour is not a field of this event"),
        ("job.done", {"path": "/etc/passwd"}, "not below its folder"),
        ("job.done", {"outputs": ["../a.jpg"]}, "not below its folder"),
        ("job.done", {"outputs": [1]}, "not a list of strings"),
        ("job.done", {"bytes_in": 1.5}, "not of type integer"),
        ("job.done", {"bytes_in": True}, "not of type integer"),
        ("job.done", {"run_s": -0.1}, "but counts seconds"),
        ("job.done", {"job": None}, "job is null"),
        ("job.done", {"level": "debug"}, "level is 'debug', not info"),
        ("job.done", {"original": "lost"}, "not one of inbox, archived"),
        ("watch.started", {"path": "inbox"}, "not absolute"),
        ("job.done", {"timestamp": "2027-03-14 09:26:53"}, "not UTC in ISO 8601"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(event: str, changes: dict[str, Any], complaint: str) -> None:
    (found,) = problems(line(event, **changes))
    assert complaint in found


def test_a_job_that_no_worker_had_has_null_for_pid_and_slot() -> None:
    assert problems(line("job.failed", worker_pid=None, slot=None, run_s=None, attempt=0)) == []


def test_timestamp_level_and_event_come_first() -> None:
    example = EVENTS["service.ready"].example
    turned = dict(reversed(example.items()))
    assert "begins with seconds" in problems(turned)[0]


def test_an_unknown_event_and_an_empty_line_are_refused() -> None:
    assert problems(line("service.ready", event="service.steady"))[0].endswith("is not in the catalogue")
    assert problems({})


def test_the_markdown_has_every_event_and_field_and_whole_rows() -> None:
    text = catalogue_markdown()
    rows = [row for row in text.splitlines() if row.startswith("|")]
    for name, event in EVENTS.items():
        assert f"| `{name}` |" in text
        for field in event.fields:
            assert any(row.startswith(f"| `{field.name}` |") for row in rows), field.name
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5, 6}  # four columns, five columns


def test_every_example_line_of_the_markdown_is_right() -> None:
    block = catalogue_markdown().split("```json\n")[1].split("```")[0]
    lines = [json.loads(each) for each in block.splitlines()]
    assert [each["event"] for each in lines] == list(EVENTS)
    assert all(problems(each) == [] for each in lines)
