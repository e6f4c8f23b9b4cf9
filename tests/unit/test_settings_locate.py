"""Every mistake is reported with its line, so the lines must be right however the TOML is laid out."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procwatch.settings.locate import key_lines, line_of
from procwatch.settings.show import toml_value

pytestmark = pytest.mark.unit

TEXT = '''\
stop_timeout = "1s" # = not a key
"quoted key" = 1

[[inbox]]
path = "a # b"
ignore = [
  "x]", # ]
  'y',
]
note = """
path = "no key"
""""

[[inbox]]
path = 'C:\\'
nested.deep = { one = 1, two = [1, { three = "}" }] }

[inbox.extra]
k = 1979-05-27T07:32:00Z

[recipe."my web".output.big]
steps = [
  { op = "fit" },
  { op = "fill", width = 1 },
]
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("stop_timeout",), 1),
        (("quoted key",), 2),
        (("inbox", 0), 4),
        (("inbox", 0, "path"), 5),
        (("inbox", 0, "ignore"), 6),
        (("inbox", 0, "ignore", 0), 7),
        (("inbox", 0, "ignore", 1), 8),
        (("inbox", 0, "note"), 10),
        (("inbox", 1), 14),
        (("inbox", 1, "path"), 15),
        (("inbox", 1, "nested", "deep", "two"), 16),
        (("inbox", 1, "nested", "deep", "two", 1, "three"), 16),
        (("inbox", 1, "extra", "k"), 19),
        (("recipe", "my web", "output", "big", "steps", 0, "op"), 23),
        (("recipe", "my web", "output", "big", "steps", 1), 24),
    ],
)
def test_the_line_of_a_key_is_found(path: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(TEXT)  # the sample is valid
    assert key_lines(TEXT)[path] == line


def paths(value: object, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    """Return the path of everything in nested tables and arrays."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found: set[tuple[str | int, ...]] = set()
    for key, inner in parts:
        found |= {(*path, key)} | paths(inner, (*path, key))
    return found


def test_every_key_that_tomllib_sees_has_a_line() -> None:
    assert paths(tomllib.loads(TEXT)) <= key_lines(TEXT).keys()


_texts = st.text(alphabet=st.sampled_from("ab.#=[]{}'\"\\\n ü"), max_size=6)
_values = st.recursive(
    st.integers() | st.booleans() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(_texts, _values, max_size=4), st.booleans())
def test_no_text_confuses_the_walk(data: dict[str, object], spread: bool) -> None:
    lines = [f"{toml_value(key)} = {toml_value(value)}" for key, value in data.items()]
    text = ("\n# [x]\n\n" if spread else "\n").join(lines)
    found = key_lines(text)
    assert paths(tomllib.loads(text)) == set(found)
    assert [found[key,] for key in data] == [1 + number * (3 if spread else 1) for number in range(len(data))]


def test_a_key_that_is_not_there_gets_the_line_of_what_is_around_it() -> None:
    lines = key_lines(TEXT.partition("[recipe")[0])
    assert line_of(lines, ("inbox", 1, "outbox")) == 14
    assert line_of(lines, ("pool", "workers")) is None
