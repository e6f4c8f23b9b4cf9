"""encode(): what an output's options do to the bytes."""

import io

import pytest
from PIL import Image

from procwatch.imaging.codecs import CODECS
from procwatch.imaging.encode import OPTIMIZE_PIXELS, encode
from procwatch.imaging.operation import Value
from procwatch.imaging.recipe import Output
from tests.support.pictures import gradient

pytestmark = pytest.mark.integration

_SMALL, _LARGE = (OPTIMIZE_PIXELS // 256, 256), (OPTIMIZE_PIXELS // 256 + 1, 256)
#: Code lengths 1 to 16 of the standard tables: T.81, tables K.3 and K.5.
_STANDARD_DC = bytes((0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0))


def _jpeg(size: tuple[int, int], **options: Value) -> bytes:
    output = Output(name="out", format="jpeg", options=tuple(options.items()))
    return encode(gradient(*size), output, CODECS["jpeg"])


def _has_standard_tables(data: bytes) -> bool:
    return _STANDARD_DC in data


def test_a_jpeg_gets_tables_of_its_own_up_to_the_size_where_they_pay() -> None:
    assert not _has_standard_tables(_jpeg(_SMALL))
    assert _has_standard_tables(_jpeg(_LARGE))


@pytest.mark.parametrize("size", [_SMALL, _LARGE])
def test_an_output_that_says_optimize_has_its_way(size: tuple[int, int]) -> None:
    own, standard = _jpeg(size, optimize=True), _jpeg(size, optimize=False)
    assert not _has_standard_tables(own)
    assert _has_standard_tables(standard)
    assert len(own) < len(standard)
    with Image.open(io.BytesIO(own)) as one, Image.open(io.BytesIO(standard)) as other:
        assert one.tobytes() == other.tobytes()


def test_progressive_jpegs_always_have_tables_of_their_own() -> None:
    data = _jpeg(_LARGE, progressive=True, optimize=False)
    assert not _has_standard_tables(data)
