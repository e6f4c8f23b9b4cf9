"""What `procwatch check` prints reads back as the same values."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procwatch.settings.show import _duration, _size, toml_value
from procwatch.units import parse_duration, parse_size

pytestmark = pytest.mark.unit

_texts = st.text(alphabet=st.characters(codec="utf-8"))  # TOML has no lone surrogates
_scalars = st.booleans() | st.integers() | st.floats(allow_nan=False) | _texts
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner) | st.dictionaries(_texts, inner, max_size=3), max_leaves=8
)


@given(_values)
def test_any_value_reads_back_equal(value: object) -> None:
    assert tomllib.loads(f"x = {toml_value(value)}")["x"] == value


@given(st.floats(min_value=0, max_value=1e9))
def test_any_duration_reads_back_exactly(seconds: float) -> None:
    assert parse_duration(_duration(seconds)) == seconds


@given(st.integers(min_value=1, max_value=2**60))
def test_any_size_reads_back_exactly(count: int) -> None:
    shown = tomllib.loads(f"x = {toml_value(_size(count))}")["x"]
    assert (parse_size(shown) if isinstance(shown, str) else shown) == count


def test_round_numbers_stay_readable() -> None:
    assert [_duration(seconds) for seconds in (0.0, 0.5, 2.0, 120.0)] == ["0s", "0.5s", "2s", "120s"]
    assert [_duration(seconds) for seconds in (900.0, 36000.0, 7776000.0)] == ["15m", "10h", "90d"]
    assert [_size(count) for count in (int(12.3 * 1024**3), 12342046 * 1024)] == [
        "12.3 GiB",
        "12638255104  # 11.8 GiB",
    ]
    assert [_size(count) for count in (1024**3, 300 * 1024**2, 1000)] == ["1 GiB", "300 MiB", 1000]
