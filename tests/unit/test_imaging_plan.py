"""The planner: what is resampled from what, and how far a JPEG may shrink while it is decoded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procwatch.imaging.plan import density, draft_gap, plan, relative_box
from procwatch.imaging.recipe import BUILTIN_RECIPES, Output, Step

pytestmark = pytest.mark.unit

WEB = BUILTIN_RECIPES["web"].outputs


def fit(side: int, name: str = "o") -> Output:
    return Output(name=name, steps=(Step(op="fit", params=(("width", side), ("height", side))),))


def crop(width: int, height: int, **more: int | str) -> Output:
    params = (("width", width), ("height", height), *more.items())
    return Output(name="c", steps=(Step(op="crop", params=params),))


@pytest.mark.parametrize(
    ("size", "side", "factor"),
    [
        ((6000, 4000), 400, 8),
        ((6000, 4000), 600, 8),
        ((6000, 4000), 660, 4),
        ((3000, 2000), 600, 2),
        ((3000, 2000), 500, 4),
        ((6000, 4000), 2048, 2),
        ((4000, 3000), 2048, 1),
        ((4000, 3000), 1600, 2),
        ((300, 200), 400, 1),
    ],
)
def test_a_jpeg_shrinks_as_far_as_the_gap_allows(size: tuple[int, int], side: int, factor: int) -> None:
    assert plan((fit(side),), size, can_draft=True).draft == factor
    assert plan((fit(side),), size, can_draft=False).draft == 1


@given(width=st.integers(1, 20_000), height=st.integers(1, 20_000), side=st.integers(1, 3000))
def test_shrinking_always_leaves_the_gap(width: int, height: int, side: int) -> None:
    made = plan((fit(side),), (width, height), can_draft=True)
    (task,) = made.tasks
    gap = draft_gap(made.draft, max(task.geometry.size))
    assert made.draft == 1 or max(density(task.geometry)) * made.draft * gap <= 1 + 1e-6


def test_the_largest_output_decides_the_factor() -> None:
    assert plan((fit(100), fit(3000)), (6000, 4000), can_draft=True).draft == 1


def test_a_small_output_is_made_from_a_larger_one() -> None:
    tasks = plan(WEB, (6000, 4000), can_draft=True).tasks
    assert [(task.index, task.parent) for task in tasks] == [(0, None), (1, 0)]


def test_the_order_in_the_recipe_does_not_matter() -> None:
    tasks = plan(WEB[::-1], (6000, 4000), can_draft=True).tasks
    assert [(task.index, task.parent) for task in tasks] == [(1, None), (0, 1)]


def test_an_output_nearly_as_large_is_made_from_the_source() -> None:
    tasks = plan((fit(2000), fit(1800)), (6000, 4000), can_draft=True).tasks
    assert [task.parent for task in tasks] == [None, None]


def test_equal_outputs_share_their_pixels() -> None:
    tasks = plan((fit(2000), fit(2000)), (6000, 4000), can_draft=True).tasks
    assert [task.parent for task in tasks] == [None, 0]


def test_the_smallest_sufficient_parent_is_taken() -> None:
    tasks = plan((fit(2000), fit(1000), fit(200)), (6000, 4000), can_draft=True).tasks
    assert [task.parent for task in tasks] == [None, 0, 1]


def test_a_picture_is_not_made_from_a_part_of_itself() -> None:
    tasks = plan((crop(3000, 3000), fit(100)), (6000, 4000), can_draft=True).tasks
    assert [task.parent for task in tasks] == [None, None]


def test_a_part_is_made_from_the_whole_at_its_place() -> None:
    small = Output(name="s", steps=(*crop(2000, 2000, left=1000, top=0).steps, *fit(100).steps))
    made = plan((fit(1500), small), (3000, 2000), can_draft=True)
    whole, part = made.tasks
    assert part.parent == 0
    assert relative_box(part.geometry.box, whole.geometry) == pytest.approx((500, 0, 1500, 1000))


def test_the_full_size_is_never_drafted() -> None:
    assert plan((Output(name="copy"),), (6000, 4000), can_draft=True).draft == 1
