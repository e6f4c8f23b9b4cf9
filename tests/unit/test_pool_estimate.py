"""The estimate grows with what costs memory, and only with that."""

from dataclasses import replace

import pytest

from procwatch.imaging.estimate import Source, estimate_bytes

pytestmark = pytest.mark.unit

MIB = 1024**2
PHOTO = Source(format="JPEG", mode="RGB", size=(6000, 4000), has_alpha=False)
WEB = [((2048, 1365), "auto"), ((400, 267), "auto")]


def estimate(source: Source, draft: int = 1, outputs: list[tuple[tuple[int, int], str]] = WEB) -> int:
    return estimate_bytes(source, draft=draft, outputs=outputs)


def test_a_decoder_that_shrinks_saves_memory_but_not_for_a_progressive_jpeg() -> None:
    assert estimate(PHOTO, draft=2) < estimate(PHOTO) * 0.7
    progressive = replace(PHOTO, is_progressive=True)
    assert estimate(progressive, draft=8) > 6000 * 4000 * 6


@pytest.mark.parametrize(
    "more",
    [
        replace(PHOTO, format="WEBP"),
        replace(PHOTO, format="AVIF"),
        replace(PHOTO, mode="RGBA", has_alpha=True),
        replace(PHOTO, is_progressive=True),
        replace(PHOTO, size=(12000, 4000)),
    ],
)
def test_what_takes_more_is_estimated_higher(more: Source) -> None:
    assert estimate(more) > estimate(PHOTO)


def test_one_long_row_costs_its_weights_and_not_a_picture_as_high_as_it_is_long() -> None:
    """It was told to take 763 GiB; with nothing for the weights three workers died of such rows."""
    row = replace(PHOTO, format="PNG", size=(100_000_000, 1))
    taken = estimate(row, outputs=[((2048, 1), "auto")])
    assert 7 * 10**9 < taken < 10 * 10**9


def test_only_formats_that_are_read_whole_count_the_files_size() -> None:
    assert estimate(replace(PHOTO, file_bytes=100 * MIB)) == estimate(PHOTO)
    webp = replace(PHOTO, format="WEBP")
    assert estimate(replace(webp, file_bytes=100 * MIB)) == estimate(webp) + 200 * MIB


def test_an_avif_output_counts_its_encoder() -> None:
    avif = [((400, 267), "avif")]
    assert estimate(PHOTO, outputs=avif) - estimate(PHOTO, outputs=[((400, 267), "jpeg")]) == 128 * MIB
