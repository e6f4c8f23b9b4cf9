"""Every sentence that `procwatch explain` can say."""

import dataclasses
import re
from typing import Any

import pytest

from procwatch.control.explain import Seen, explain
from procwatch.dispatch.ledger_queries import Record
from procwatch.dispatch.ledger_reader import Known
from procwatch.intake.filters import NOT_INCLUDED
from procwatch.intake.look import Kind, Look
from procwatch.model import Fingerprint, Identity, Original, State

pytestmark = pytest.mark.unit

FILE = Look(kind="file", fingerprint=Fingerprint(device=1, inode=2, size=10, mtime_ns=5), ctime_ns=5)
MISSING = Look(kind="missing")
WHEN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
IDLE = {"phase": None, "paused": None, "waiting": 0, "watched": True}


def record(
    state: State, original: Original, *, moved_to: str | None = None, ended_at: float | None = 1e9
) -> Record:
    known = Known(
        job="0001",
        identity=Identity(inbox="inbox", path="a.jpg", size=10, mtime_ns=5),
        state=state,
        original=original,
        attempts=2,
        deaths=0,
        suspicion=0,
        sha256=None,
        error="truncated" if state is State.FAILED else None,
        reason="it ends early" if state is State.FAILED else None,
        worker_pid=None,
        queued_at=0.0,
        recipe_hash="",
    )
    return Record(known=known, recipe="web", moved_to=moved_to, ended_at=ended_at)


def seen(look: Look = FILE, **changes: Any) -> Seen:
    return dataclasses.replace(Seen(look=look), **changes)


SETTLING = {
    "phase": "settling",
    "rest_s": 1.3,
    "needed_s": 2.0,
    "changed_at": 1e9,
    "seen_at": 1e9,
    "never_closed": False,
    "unreadable": False,
}


@pytest.mark.parametrize(
    ("standing", "sentence"),
    [
        (SETTLING, rf"settling 1\.3 s of 2\.0 s \(last change at {WHEN}\)"),
        (
            SETTLING | {"never_closed": True, "needed_s": 60.0},
            rf"never closed since {WHEN}, its writer may still be there; unchanged for 1\.3 s of 1 min \(last .*\)",
        ),
        (
            SETTLING | {"never_closed": True, "open_writer": True},
            rf"never closed since {WHEN}, a program has it open for writing; .*",
        ),
        (SETTLING | {"unreadable": True}, r"not readable for procwatch; waiting for its mode to be set: .*"),
        (
            SETTLING | {"problem": "Stale file handle"},
            "waiting, for it cannot be looked at: Stale file handle",
        ),
        ({"phase": "queued", "ahead": 42}, "waiting behind 42 of its inbox"),
        ({"phase": "queued", "ahead": 0}, "waiting as the next of its inbox"),
        (
            {"phase": "queued", "ahead": 1, "suspect": True},
            "waiting behind 1 of its inbox, to run alone since the daemon died while it ran",
        ),
        (
            {"phase": "queued", "ahead": 3, "paused": "ENOSPC: No space left on device"},
            "waiting, for the inbox is paused: ENOSPC: No space left on device",
        ),
        (
            {"phase": "running", "worker_pid": 4102, "busy_s": 3.14, "attempt": 1},
            r"running in pid 4102 for 3\.1 s",
        ),
        (
            {"phase": "running", "worker_pid": 7, "busy_s": 0.0, "attempt": 2},
            r"running in pid 7 for 0\.0 s \(attempt 2\)",
        ),
        ({"phase": "running", "worker_pid": None, "attempt": 1}, "about to run"),
        (
            {"phase": "running", "worker_pid": None, "attempt": 2, "paused": "its disk is full"},
            r"about to run \(attempt 2\), but the inbox is paused: its disk is full",
        ),
        (
            {"phase": "aside", "attempt": 1, "why": "it ends early", "again_in_s": 9.0},
            r"waiting after attempt 1: it ends early; it is looked at again in 9\.0 s",
        ),
        ({"phase": "publishing"}, "rendered; its outputs are being published"),
        (
            {"phase": "publishing", "paused": "ENOSPC: full"},
            "rendered; .*; it waits, .* paused: ENOSPC: full",
        ),
        (
            {"phase": "failing", "error": "timeout"},
            "failed because timeout; it is being moved to the failed folder",
        ),
        ({"phase": "disposing", "removable_in_s": 1.5}, r"done; its original leaves the inbox in 1\.5 s"),
        (IDLE, "waiting to be found by the next scan"),
        (IDLE | {"waiting": 5000}, "waiting to be found by the next scan behind 5000 that are"),
        (IDLE | {"paused": "asked for"}, "waiting, for the inbox is paused: asked for"),
        (IDLE | {"watched": False}, "waiting, for the inbox cannot be watched now"),
        ({"phase": "unserved"}, "waiting, for the running procwatch does not serve its inbox"),
        (None, "waiting for procwatch, which is not running"),
    ],
)
def test_a_file_in_the_inbox_is_explained_by_the_daemon_s_word(
    standing: dict[str, Any] | None, sentence: str
) -> None:
    assert re.fullmatch(sentence, explain(standing, seen()))


def test_an_interrupted_job_goes_on() -> None:
    running = seen(record=record(State.RUNNING, Original.INBOX))
    assert explain(None, running) == "waiting for procwatch, which is not running, to go on after attempt 2"


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("symlink", "a symbolic link"),
        ("fifo", "a named pipe"),
        ("socket", "a socket"),
        ("device", "a device"),
        ("directory", "a folder"),
    ],
)
def test_what_is_no_file_is_ignored(kind: Kind, what: str) -> None:
    assert explain(IDLE, seen(Look(kind=kind))) == f"ignored: it is {what}, not a picture file"


@pytest.mark.parametrize("standing", [None, IDLE])
def test_a_name_rule_is_named(standing: dict[str, Any] | None) -> None:
    assert explain(standing, seen(rule="*.tmp")) == 'ignored by rule "*.tmp"'
    assert (
        explain(standing, seen(rule=NOT_INCLUDED)) == "ignored, since no pattern of include matches its name"
    )


def test_subfolders_of_a_flat_inbox_are_ignored() -> None:
    flat = seen(recursive=False, in_subfolder=True)
    assert explain(IDLE, flat) == "ignored: it lies in a folder of an inbox that is not recursive"


@pytest.mark.parametrize(
    ("original", "where"),
    [
        (Original.DELETED, "; its original was deleted, as on_success says"),
        (Original.GONE, ""),
    ],
)
def test_a_done_file_that_left_names_its_outputs(original: Original, where: str) -> None:
    done = seen(MISSING, record=record(State.DONE, original), outputs=("a-web.jpg", "a-thumb.jpg"))
    assert re.fullmatch(rf"done at {WHEN} as a-web\.jpg, a-thumb\.jpg{where}", explain(IDLE, done))


def test_a_done_file_says_where_its_original_is() -> None:
    archived = record(State.DONE, Original.ARCHIVED, moved_to="/srv/archive/a.jpg")
    assert explain(None, seen(MISSING, record=archived, outputs=("x",))).endswith(
        "as x; its original is /srv/archive/a.jpg"
    )


@pytest.mark.parametrize(
    ("original", "where"),
    [
        (Original.KEPT, "stays in the inbox, as on_success says"),
        (Original.STUCK, "stays, for procwatch may not remove it"),
        (Original.INBOX, "still has to leave the inbox"),
    ],
)
def test_a_done_file_that_still_lies_there_says_why(original: Original, where: str) -> None:
    sentence = explain(IDLE, seen(record=record(State.DONE, original), outputs=("x",)))
    assert re.fullmatch(rf"done at {WHEN} as x; its original {where}", sentence)


def test_a_new_file_at_the_path_of_a_done_one_is_not_done() -> None:
    changed = seen(record=record(State.DONE, Original.ARCHIVED, moved_to="/srv/archive/a.jpg"))
    assert explain(IDLE, changed) == "waiting to be found by the next scan"
    larger = dataclasses.replace(FILE, fingerprint=Fingerprint(device=1, inode=2, size=11, mtime_ns=5))
    assert explain(IDLE, seen(larger, record=record(State.DONE, Original.KEPT))).startswith(
        "waiting to be found"
    )


def test_a_failed_file_says_why_and_where_it_is() -> None:
    failed = seen(MISSING, record=record(State.FAILED, Original.FAILED, moved_to="/srv/failed/a.jpg"))
    sentence = explain(None, failed)
    assert re.fullmatch(
        rf"failed because truncated: it ends early \(at {WHEN}\); it is /srv/failed/a\.jpg", sentence
    )


def test_what_somebody_removed_since_is_said_to_be_gone() -> None:
    moved = "/srv/archive/a.jpg"
    done = record(State.DONE, Original.ARCHIVED, moved_to=moved)
    names = ("a-web.jpg", "a-thumb.jpg")
    ends = {
        (): "; its original is /srv/archive/a.jpg",
        ("a-thumb.jpg",): " (a-thumb.jpg is not there any more); its original is /srv/archive/a.jpg",
        (
            *names,
            moved,
        ): " (which are not there any more); its original was moved to /srv/archive/a.jpg, where it is no more",
    }
    for gone, end in ends.items():
        sentence = explain(None, seen(MISSING, record=done, outputs=names, gone=frozenset(gone)))
        assert sentence.endswith(f" as a-web.jpg, a-thumb.jpg{end}")
    failed = record(State.FAILED, Original.FAILED, moved_to="/srv/failed/a.jpg")
    sentence = explain(None, seen(MISSING, record=failed, gone=frozenset(["/srv/failed/a.jpg"])))
    assert sentence.endswith("; it was moved to /srv/failed/a.jpg, where it is no more")


def test_a_blocked_file_says_why() -> None:
    blocked = seen(record=record(State.FAILED, Original.BLOCKED))
    assert re.fullmatch(
        rf"blocked: it cannot be read or moved because truncated: it ends early \(at {WHEN}\)",
        explain(IDLE, blocked),
    )


def test_what_is_not_there_is_told_by_what_is_known_of_it() -> None:
    assert explain(IDLE, seen(MISSING)) == "not in the inbox, and procwatch has never seen it there"
    vanished = seen(MISSING, record=record(State.VANISHED, Original.GONE))
    assert explain(IDLE, vanished) == "vanished: somebody removed it before it was done"
    running = seen(MISSING, record=record(State.RUNNING, Original.INBOX))
    assert explain(None, running) == "not in the inbox any more, though its job is running"


def test_nothing_in_a_sentence_reaches_the_terminal_s_controls() -> None:
    evil = record(State.FAILED, Original.FAILED, moved_to="/srv/\x1b[2J.jpg")
    assert "\x1b" not in explain(None, seen(MISSING, record=evil))
    assert "\x1b" not in explain({"phase": "queued", "paused": "\x1b[2J"}, seen())
