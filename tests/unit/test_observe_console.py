"""The readable form: what people see, and nothing that a terminal would obey."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procwatch.observe.console import ConsoleRenderer, safe_text
from procwatch.observe.events import EVENTS

pytestmark = pytest.mark.unit

#: Any name that os.fsdecode can give, and more: lone surrogates of every kind.
any_text = st.text(st.characters(exclude_categories=()), max_size=60)
any_name = st.binary(max_size=60).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
DANGEROUS = {"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"}


def shown(name: str, /, **fields: object) -> str:
    shown_fields = {key: value for key, value in fields.items() if key not in {"timestamp", "level", "event"}}
    return ConsoleRenderer(colour=False)(0.0, "info", name, shown_fields)[9:]


def done(**changes: object) -> dict[str, object]:
    return {
        **EVENTS["job.done"].example,
        "path": "IMG_1.jpg",
        "outputs": ["IMG_1-web.jpg", "IMG_1-thumb.jpg"],
        **changes,
    }


@given(any_text | any_name)
def test_no_character_that_a_terminal_obeys_or_hides_gets_through(text: str) -> None:
    safe = safe_text(text)
    assert not {unicodedata.category(character) for character in safe} & DANGEROUS
    safe.encode("utf-8")


@given(any_text)
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    if not {unicodedata.category(character) for character in text} & DANGEROUS:
        assert safe_text(text) == text


@given(name=any_text | any_name, event=st.sampled_from([*sorted(EVENTS), "made.up"]))
def test_any_name_in_any_event_makes_one_clean_line(name: str, event: str) -> None:
    fields = {
        "path": name,
        "inbox": name,
        "outputs": [name, name],
        "reason": name,
        "hint": name,
        "error": name,
    }
    line = ConsoleRenderer(colour=False)(0.0, "warning", event, fields)
    assert not {unicodedata.category(character) for character in line} & DANGEROUS
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a\nb.jpg", r"a\nb.jpg"),
        ("\x1b[2Ja.jpg", r"\x1b[2Ja.jpg"),
        ("photo\u202egpj.exe", r"photo\u202egpj.exe"),
        ("\udcff\udcfe.jpg", r"\xff\xfe.jpg"),
        ("\ud800.jpg", r"\ud800.jpg"),
        ("größe 写真 🐈.jpg", "größe 写真 🐈.jpg"),
        ("a\u3000b\u00a0c.jpg", "a\u3000b\u00a0c.jpg"),
    ],
)
def test_names_are_escaped_as_their_bytes_and_characters(name: str, expected: str) -> None:
    assert safe_text(name) == expected


def test_a_done_file_reads_as_a_sentence() -> None:
    line = shown("job.done", **done(run_s=0.212, original="archived"))
    assert line == "done   IMG_1.jpg → IMG_1-web.jpg, IMG_1-thumb.jpg  0.21 s  pid 4102"


def test_a_failed_file_says_code_reason_and_hint() -> None:
    fields = {**EVENTS["job.failed"].example, "worker_pid": None, "run_s": None, "hint": "look at it"}
    line = shown("job.failed", **fields)
    assert (
        line
        == "failed 2027/IMG_0042.jpg  truncated: the picture is cut off or damaged (image file is truncated (172 bytes not processed))  (look at it)"
    )


def test_a_stuck_original_is_said_with_its_hint() -> None:
    line = shown("job.done", **done(original="stuck", hint="chmod g+w the folder"))
    assert line.endswith("original could not be removed from the inbox  (chmod g+w the folder)")


def test_inboxes_are_named_only_when_there_are_several() -> None:
    renderer = ConsoleRenderer(colour=False)
    fields = done(inbox="scans")
    assert "scans" not in renderer(0.0, "info", "job.done", fields)
    for inbox in ("scans", "web"):
        renderer(0.0, "info", "watch.started", {"inbox": inbox, "path": f"/{inbox}", "mode": "native"})
    assert "[scans] IMG_1.jpg" in renderer(0.0, "info", "job.done", fields)


def test_other_events_show_their_fields_and_quote_what_has_spaces() -> None:
    line = ConsoleRenderer(colour=False)(
        0.0,
        "warning",
        "watch.lost",
        {
            "inbox": "web",
            "reason": 'it "went"',
            "seconds": 1.23456,
            "list": ["a", "b"],
            "no": None,
            "dict": {"k": "v w"},
        },
    )
    assert (
        line[9:]
        == r'warn   watch.lost  inbox=web  reason="it \"went\""  seconds=1.235  list="a, b"  dict="k: v w"'
    )


def test_where_to_drop_files_is_said() -> None:
    assert (
        shown("watch.started", inbox="inbox", path="/srv/in", mode="polling")
        == "watch  drop files into /srv/in  (polling)"
    )


def test_colour_is_only_around_the_label() -> None:
    line = ConsoleRenderer(colour=True)(0.0, "info", "job.done", done())
    assert re.findall("\x1b", line) == ["\x1b", "\x1b"]
    assert "\x1b[32mdone  \x1b[0m IMG_1.jpg" in line


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_every_event_of_the_catalogue_has_a_readable_form(name: str) -> None:
    event = EVENTS[name]
    fields = {
        key: value for key, value in event.example.items() if key not in {"timestamp", "level", "event"}
    }
    line = ConsoleRenderer(colour=False)(0.0, event.level, name, fields)
    assert re.fullmatch(r"\d\d:\d\d:\d\d \S+ +\S.*", line)
