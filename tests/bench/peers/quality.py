"""How near a picture is to a full decode and Lanczos: structural similarity of luma, with Pillow alone."""

import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms, ImageMath, ImageOps

_BLOCK = 8  # pixels; means over 8 x 8 blocks, at two offsets (Wang et al. 2004 use sliding windows: the same to .001)
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def full_decode(path: Path) -> Image.Image:
    """Return the picture decoded without any shortcut, upright, in sRGB."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        profile = opened.info.get("icc_profile")
        if profile and image.mode == "RGB":
            image = _to_srgb(image, profile)
        return image.convert("RGB")


def similarity(made: Image.Image, full: Image.Image) -> float:
    """Return how near a shrunk picture is to the full one shrunk by Pillow's Lanczos to the same size."""
    return ssim(made, full.resize(made.size, Image.Resampling.LANCZOS))


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image,
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None
    return converted


def ssim(one: Image.Image, other: Image.Image) -> float:
    """Return the mean structural similarity of the luma of two pictures of one size, 1 for equal ones."""
    if one.size != other.size:
        raise ValueError(f"not the same size: {one.size} and {other.size}")
    a, b = (image.convert("L").convert("F") for image in (one, other))
    offsets = (0, _BLOCK // 2)
    return sum(_blocks(a, b, offset) for offset in offsets) / len(offsets)


def _blocks(a: Image.Image, b: Image.Image, offset: int) -> float:
    width, height = ((side - offset) // _BLOCK * _BLOCK for side in a.size)
    box = (offset, offset, offset + width, offset + height)

    def mean(image: Image.Image) -> Image.Image:
        return image.reduce(_BLOCK, box)

    def product(one: Image.Image, other: Image.Image) -> Image.Image:
        return _compute(lambda args: args["one"] * args["other"], one=one, other=other)

    similar = _compute(
        _similarity,
        mean_a=mean(a),
        mean_b=mean(b),
        square_a=mean(product(a, a)),
        square_b=mean(product(b, b)),
        both=mean(product(a, b)),
    )
    total = similar.reduce(similar.size) if max(similar.size) > 1 else similar
    value = total.getpixel((0, 0))
    assert isinstance(value, float)
    return value


def _similarity(args: dict[str, Any]) -> Any:
    mean_a, mean_b = args["mean_a"], args["mean_b"]
    variance_a = args["square_a"] - mean_a * mean_a
    variance_b = args["square_b"] - mean_b * mean_b
    covariance = args["both"] - mean_a * mean_b
    return ((mean_a * mean_b * 2 + _C1) * (covariance * 2 + _C2)) / (
        (mean_a * mean_a + mean_b * mean_b + _C1) * (variance_a + variance_b + _C2)
    )


def _compute(function: Any, **images: Image.Image) -> Image.Image:
    result = ImageMath.lambda_eval(function, **images)
    assert isinstance(result, Image.Image)
    return result
