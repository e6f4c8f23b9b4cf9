"""Geometry: numbers in, numbers out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procwatch.imaging.geometry import Geometry, Size
from procwatch.imaging.operation import GeometryOperation, Value, with_defaults
from procwatch.imaging.operations import OPERATIONS

pytestmark = pytest.mark.unit

sides = st.integers(1, 70_000)
targets = st.integers(1, 65_535)
sizes = st.tuples(sides, sides)
gravities = st.sampled_from(("center", "top", "bottom-right", "left"))


def apply(op: str, geometry: Geometry, **params: Value) -> Geometry:
    operation = OPERATIONS[op]
    assert isinstance(operation, GeometryOperation)
    return operation.apply(geometry, with_defaults(operation.params, params.items()))


def check_box(geometry: Geometry, source: Size) -> None:
    left, top, right, bottom = geometry.box
    assert 0 <= left < right <= source[0] + 1e-6
    assert 0 <= top < bottom <= source[1] + 1e-6


@given(source=sizes, width=targets, height=targets)
def test_fit_stays_in_the_box_never_enlarges_and_keeps_the_aspect_within_a_pixel(
    source: Size, width: int, height: int
) -> None:
    result = apply("fit", Geometry.whole(source), width=width, height=height)
    w, h = result.size
    assert 1 <= w <= min(width, source[0])
    assert 1 <= h <= min(height, source[1])
    factor = min(1.0, width / source[0], height / source[1])
    assert abs(w - max(1.0, source[0] * factor)) <= 1
    assert abs(h - max(1.0, source[1] * factor)) <= 1
    assert result.box == (0, 0, *source)


@given(source=sizes, width=targets)
def test_fit_by_width_alone_leaves_the_height_free(source: Size, width: int) -> None:
    assert apply("fit", Geometry.whole(source), width=width).size[0] == min(width, source[0])


@given(source=sizes, width=targets, height=targets, gravity=gravities)
def test_fill_has_the_exact_size_or_its_shape_and_never_enlarges(
    source: Size, width: int, height: int, gravity: str
) -> None:
    result = apply("fill", Geometry.whole(source), width=width, height=height, gravity=gravity)
    w, h = result.size
    check_box(result, source)
    if source[0] >= width and source[1] >= height:
        assert result.size == (width, height)
    left, top, right, bottom = result.box
    assert right - left >= w - 1e-6
    assert bottom - top >= h - 1e-6
    # No distortion: both ways are scaled alike.
    assert math.isclose((right - left) / w, (bottom - top) / h, rel_tol=1e-6)


@given(source=sizes, width=targets, height=targets, left=st.integers(0, 80_000), gravity=gravities)
def test_crop_takes_what_is_there_at_full_resolution(
    source: Size, width: int, height: int, left: int, gravity: str
) -> None:
    result = apply("crop", Geometry.whole(source), width=width, height=height, left=left, gravity=gravity)
    assert result.size == (min(width, source[0]), min(height, source[1]))
    check_box(result, source)
    assert result.box[2] - result.box[0] == pytest.approx(result.size[0])


@given(
    source=sizes,
    steps=st.lists(
        st.tuples(st.sampled_from(("fit", "fill", "crop")), targets, targets, gravities), max_size=4
    ),
)
def test_any_chain_of_steps_composes_into_one_box_inside_the_source_that_is_not_enlarged(
    source: Size, steps: list[tuple[str, int, int, str]]
) -> None:
    geometry = Geometry.whole(source)
    for op, width, height, gravity in steps:
        more = {} if op == "fit" else {"gravity": gravity}
        geometry = apply(op, geometry, width=width, height=height, **more)
    check_box(geometry, source)
    left, top, right, bottom = geometry.box
    # Rounding to whole pixels may stretch a side by less than one pixel.
    assert geometry.size[0] <= right - left + 1
    assert geometry.size[1] <= bottom - top + 1


def test_gravity_decides_which_part_is_kept() -> None:
    whole = Geometry.whole((300, 100))
    assert apply("fill", whole, width=100, height=100).box == (100, 0, 200, 100)
    assert apply("fill", whole, width=100, height=100, gravity="left").box == (0, 0, 100, 100)
    assert apply("crop", whole, width=50, height=50, gravity="bottom-right").box == (250, 50, 300, 100)


def test_a_crop_after_a_fit_counts_in_the_pixels_of_the_fitted_picture() -> None:
    fitted = apply("fit", Geometry.whole((4000, 3000)), width=400)
    assert apply("crop", fitted, width=100, height=50, left=10, top=20) == Geometry(
        box=(100, 200, 1100, 700), size=(100, 50)
    )
