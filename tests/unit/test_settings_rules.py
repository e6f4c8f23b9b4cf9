"""Each mistake in a configuration is found, however many there are; what is right passes without a word."""

import tomllib

import pytest
from pydantic import ValidationError

from procwatch.settings.document import Document, Mistake, key_path, refuse
from procwatch.settings.mistakes import schema_mistakes
from procwatch.settings.recipes import recipe_mistakes
from procwatch.settings.rules import rule_mistakes
from procwatch.settings.schema import ConfigTable

pytestmark = pytest.mark.unit

BASE = "/srv/pw"


def mistakes(text: str) -> dict[str, str]:
    """Return key path → message for a configuration that lies in /srv/pw."""
    data = tomllib.loads(text)
    found: list[Mistake] = []
    try:
        ConfigTable.model_validate(data)
    except ValidationError as error:
        found += schema_mistakes(error.errors(include_url=False))
    found += rule_mistakes(data, BASE, "/var/lib/procwatch")
    found += recipe_mistakes(data)
    return {key_path(mistake.path): mistake.message for mistake in found}


def inbox(line: str) -> dict[str, str]:
    return mistakes(f'[[inbox]]\npath = "in"\n{line}\n')


def recipe(line: str) -> dict[str, str]:
    return mistakes(f'[[inbox]]\npath = "in"\n[recipe.r.output.o]\n{line}\n')


def test_the_smallest_configuration_is_one_path() -> None:
    assert inbox("") == {}


@pytest.mark.parametrize(
    ("line", "key", "says"),
    [
        ("setle = '2s'", "setle", 'did you mean "settle"?'),
        ("timeout = '2s'", "timeout", "belongs in [pool]"),
        ("stop_timeout = '2s'", "stop_timeout", "at the top of the file"),
        ("settle = 2", "settle", 'a time such as "2s" or "500ms", not 2'),
        ("settle = '2 parsecs'", "settle", 'not "2 parsecs"'),
        ("rescan = '10ms'", "rescan", 'at least "1s"'),
        ("incomplete_after = '9999w'", "incomplete_after", "a time such as"),
        ("recursive = 'yes'", "recursive", 'true or false, not "yes"'),
        (
            "on_success = 'archve'",
            "on_success",
            'is "archve"; did you mean "archive"? It must be "archive", ',
        ),
        ("on_conflict = 'ask'", "on_conflict", '"suffix", "overwrite" or "fail", not "ask"'),
        ("observer = 'inotify'", "observer", '"auto", "native" or "polling"'),
        ("output_mode = 664", "output_mode", "octal"),
        ("output_mode = '0664'", "output_mode", "octal"),
        ("dir_mode = 775", "dir_mode", "octal"),
        ("ignore = ['a', 7]", "ignore#2", "not 7"),
        ("recipe = 'wbe'", "recipe", 'did you mean "web"?'),
        ("name = 'a/b'", "name", 'without "/"'),
        ("failed = '~nobody-of-that-name/f'", "failed", "~nobody-of-that-name/f names a user"),
        ("outbox = ''", "outbox", "a folder for results"),
        (
            "outbox = 'in/out'",
            "outbox",
            "/srv/pw/in/out lies inside the watched folder of this inbox, /srv/pw/in",
        ),
        ("archive = 'in'", "archive", "lies inside the watched folder of this inbox"),
        ("failed = '/srv/pw/x/../in/f'", "failed", "/srv/pw/in/f lies inside"),
    ],
)
def test_a_mistake_in_an_inbox_names_the_key_and_what_is_allowed(line: str, key: str, says: str) -> None:
    found = inbox(line)
    assert list(found) == [f"inbox#1.{key}"]
    assert says in found[f"inbox#1.{key}"]


@pytest.mark.parametrize(
    ("line", "key", "says"),
    [
        ("steps = [{ op = 'fitt', width = 1 }]", "steps#1", "did you mean 'fit'?"),
        ("steps = [{ op = 'fit', width = 1 }, { op = 'fill', width = 9 }]", "steps#2", "needs height"),
        ("steps = [{ fit = [1, 2] }]", "steps#1", '{ op = "fit", width = 2048, height = 2048 }'),
        ("steps = ['fit']", "steps#1", 'not "fit"'),
        ("format = 'jpg'", "format", "did you mean 'jpeg'?"),
        ("quality = 101", "quality", "from 1 to 100"),
        ("format = 'png'\nquality = 80", "quality", "lossless"),
        ("format = 'jpeg'\noptions = { progresive = true }", "options", "did you mean 'progressive'?"),
        ("format = 'jpeg'\noptions = { quality = 80 }", "options", "no parameter 'quality'"),
        ("template = '{stm}.{ext}'", "template", 'did you mean "stem"?'),
        ("template = '../{stem}.{ext}'", "template", ".."),
        ("template = '/x/{stem}.{ext}'", "template", "relative"),
        ("templat = 'x'", "templat", 'did you mean "template"?'),
    ],
)
def test_a_mistake_in_a_recipe_names_the_key_and_what_is_allowed(line: str, key: str, says: str) -> None:
    found = recipe(line)
    assert list(found) == [f"recipe.r.output.o.{key}"]
    assert says in found[f"recipe.r.output.o.{key}"]


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ("", "inbox", "is missing"),
        ("inbox = []", "inbox", "is missing"),
        ("inbox = 3", "inbox", "tables [[inbox]]"),
        ("[inbox]\npath = 'x'", "inbox", "tables [[inbox]], at least one, not a table"),
        ("[[inbox]]\nname = 'x'", "inbox#1.path", "is missing"),
        (
            "[[inbox]]\npath = '~nobody-of-that-name/x'",
            "inbox#1.path",
            "a user that this machine does not know",
        ),
        ("[[inbox]]\npath = 'x'\n[recipe.r]", "recipe.r.output", "is missing"),
        ("[[inbox]]\npath = 'x'\n[recipe.'a/b'.output.o]", "recipe.a/b", "letters, digits"),
        ("[[inbox]]\npath = 'x'\n[recipe.r]\nformats = ['EPS']\noutput.o = {}", "recipe.r.formats#1", "EPS"),
        (
            "[[inbox]]\npath = 'x'\n[recipe.r]\nformats = ['JPG']\noutput.o = {}",
            "recipe.r.formats#1",
            '"JPEG"',
        ),
        ("[[inbox]]\npath = 'x'\n[pool]\nworkers = 0", "pool.workers", '"auto" or a whole number'),
        ("[[inbox]]\npath = 'x'\n[pool]\nworkers = true", "pool.workers", "not true"),
        ("[[inbox]]\npath = 'x'\n[pool]\nworker = 2", "pool.worker", 'did you mean "workers"?'),
        ("[[inbox]]\npath = 'x'\n[limits]\nmax_bytes = '1 parsec'", "limits.max_bytes", "512 MiB"),
        (f"[[inbox]]\npath = 'x'\n[limits]\nmax_bytes = '{'9' * 400} GiB'", "limits.max_bytes", "512 MiB"),
        ("[[inbox]]\npath = 'x'\n[log]\nlevel = 'INFO'", "log.level", 'did you mean "info"?'),
        ("[[inbox]]\npath = 'x'\n[state]\ndir = 'x/state'", "state.dir", "lies inside inbox#1"),
        ("[[inbox]]\npath = 'x'\n[log]\nfile = 'x/pw.log'", "log.file", "lies inside inbox#1"),
        (
            "[[inbox]]\npath = '/var/lib'\noutbox = '/o'\narchive = '/a'\nfailed = '/f'",
            "state.dir",
            "/var/lib",
        ),
    ],
)
def test_a_mistake_elsewhere_names_the_key_and_what_is_allowed(text: str, key: str, says: str) -> None:
    found = mistakes(text)
    assert list(found) == [key]
    assert says in found[key]


TWO = "[[inbox]]\npath = '{}'\n[[inbox]]\npath = '{}'\n"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a/in", "b/in", {"inbox#2.name"}),  # both are called "in"
        ("a", "a/b", {"inbox#2.path"}),
        ("a/b", "a", {"inbox#2.path"}),
        ("a", "a/../a", {"inbox#2.name", "inbox#2.path"}),
        ("a", "ab", set()),  # a common beginning of the name is not a common folder
        ("shoots", "scans", set()),  # they share one outbox, which is allowed
    ],
)
def test_inboxes_must_be_apart_and_have_names_of_their_own(one: str, other: str, expected: set[str]) -> None:
    assert set(mistakes(TWO.format(one, other))) == expected


def test_the_fast_resampler_is_asked_for_only_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[[inbox]]\npath = "in"\n[recipe.r]\nresampler = "simd"\n[recipe.r.output.o]\n'
    assert mistakes(text) == {}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "cykooz-resizer, which is not installed" in mistakes(text)["recipe.r.resampler"]
    assert mistakes(text.replace("simd", "auto")) == {}


def test_an_outbox_inside_another_inbox_is_refused_as_well() -> None:
    found = mistakes("[[inbox]]\npath = 'a'\noutbox = 'b/out'\n[[inbox]]\npath = 'b'\n")
    assert list(found) == ["inbox#1.outbox"]
    assert "inbox#2" in found["inbox#1.outbox"]


def test_sizes_of_one_picture_may_share_a_template_only_when_something_tells_them_apart() -> None:
    head = "[[inbox]]\npath = 'x'\n"
    same = "[recipe.r.output.{}]\ntemplate = '{}'\nformat = '{}'\n"
    assert "recipe.r.output.b.template" in mistakes(
        head + same.format("a", "{stem}.{ext}", "jpeg") + same.format("b", "{stem}.{ext}", "jpeg")
    )
    assert not mistakes(
        head + same.format("a", "{stem}.{ext}", "jpeg") + same.format("b", "{stem}.{ext}", "webp")
    )
    assert not mistakes(
        head
        + same.format("a", "{stem}-{width}.{ext}", "jpeg")
        + same.format("b", "{stem}-{width}.{ext}", "jpeg")
    )


def test_the_report_is_one_line_a_mistake_in_the_order_of_the_file_and_no_name_breaks_a_line() -> None:
    text = '[pool]\nworkers = 0\n\n[[inbox]]\npath = "in"\n"a\\nb" = 1\n'
    document = Document(path="/etc/pw\n.toml", text=text, data=tomllib.loads(text))
    try:
        ConfigTable.model_validate(document.data)
    except ValidationError as error:
        report = str(refuse(document, schema_mistakes(error.errors(include_url=False)))).split("\n")
    assert report[0] == "2 mistakes in the configuration"
    assert report[1].startswith("/etc/pw\\n.toml:2: pool.workers: must be ")
    assert report[2].startswith("/etc/pw\\n.toml:6: inbox#1.a\\nb: is not a known key")
    assert len(report) == 3
