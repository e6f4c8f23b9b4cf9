"""Resampling with Lanczos3: the SIMD resampler where it can, Pillow where it cannot, the same picture from both."""

from typing import Any, Final, Literal

from PIL import Image, ImageChops, ImageStat

from procwatch.imaging.estimate import WEIGHTS_BYTES
from procwatch.imaging.geometry import Box, Size
from procwatch.imaging.memory import has_headroom

Engine = Literal["simd", "pillow"]

#: Modes that we hand over to cykooz-resizer 4. Both engines premultiply RGBA on the way; measured on 18 megapixels to
#: 2048 px: 57 ms inside the resampler (25 with a warm buffer), 82 with Pillow's conversions around it, 282 with Pillow alone.
_SIMD_MODES: Final = frozenset(("RGB", "RGBA", "CMYK", "L"))

#: A resampler keeps its buffer for the next picture (saves the page faults); one that grew beyond this is dropped.
_KEEP_BUFFER_BYTES: Final = 64 * 1024**2

#: Largest mean difference, of 255, between the two engines on the check picture: 0.2 is usual, a broken one is far off.
_CHECK_MEAN: Final = 1.0


class Resampler:
    """Resamples with one engine, chosen once; `note` says why it is not the fast one."""

    def __init__(self, wanted: Literal["auto", "simd", "pillow"] = "auto") -> None:
        self.engine: Engine = "pillow"
        self.note = ""
        if wanted == "pillow":
            return
        try:
            self._load_simd()
            difference = _difference_on_check_picture(self._simd)
        except Exception as error:  # noqa: BLE001 (whatever is wrong with the wheel, Pillow can do the work)
            self.note = f"{type(error).__name__}: {error}"
            return
        if difference > _CHECK_MEAN:
            self.note = f"differs from Pillow by {difference:.1f} of 255 on the check picture"
            return
        self.engine = "simd"

    def resample(self, image: Image.Image, box: Box, size: Size) -> Image.Image:
        """Return a new image of the box at the size; the mode is kept. RGBA is premultiplied on the way."""
        if size == image.size and box == (0.0, 0.0, float(size[0]), float(size[1])):
            return image
        if (
            self.engine == "simd"
            and image.mode in _SIMD_MODES
            and has_headroom(working_bytes(image, box, size))
        ):
            return self._simd(image, box, size)
        return image.resize(size, Image.Resampling.LANCZOS, box=box)

    def _load_simd(self) -> None:
        import cykooz_resizer

        self._lib: Any = cykooz_resizer
        self._algorithm = cykooz_resizer.ResizeAlg.convolution(cykooz_resizer.FilterType.lanczos3)
        self._resizer = cykooz_resizer.Resizer()

    def _simd(self, image: Image.Image, box: Box, size: Size) -> Image.Image:
        left, top, right, bottom = box
        options = self._lib.ResizeOptions(
            resize_alg=self._algorithm,
            crop_box=self._lib.CropBox(left, top, right - left, bottom - top),
            use_alpha=image.mode == "RGBA",  # else the fourth byte of a pixel is no alpha: 6 % of the time
        )
        result = Image.new(image.mode, size, None)  # not filled: every byte of it is written
        self._resizer.resize_pil(image, result, options)
        if working_bytes(image, box, size) > _KEEP_BUFFER_BYTES:
            self._resizer = self._lib.Resizer()
        return result


def working_bytes(image: Image.Image, box: Box, size: Size) -> int:
    """Return how much the resampler allocates: a premultiplied copy, rows narrowed to the new width, the result, weights."""
    pixel_bytes = 1 if image.mode == "L" else 4
    rows = min(image.height, int(box[3] - box[1]) + 1)
    premultiplied = image.width * image.height * 4 if image.mode == "RGBA" else 0
    weights = (image.width + image.height) * WEIGHTS_BYTES
    return premultiplied + size[0] * (rows + size[1]) * pixel_bytes + weights


def _difference_on_check_picture(simd: Any) -> float:
    """Return the mean difference between the engines on a small picture with edges and gradients, in every mode."""
    ramp = Image.radial_gradient("L").resize((97, 61))
    edges = Image.effect_noise((97, 61), 40)
    picture = Image.merge(
        "CMYK", (ramp, edges, ImageChops.invert(ramp), ramp.transpose(Image.Transpose.ROTATE_180))
    )
    box, size = (1.25, 2.5, 95.5, 60.0), (31, 17)
    worst = 0.0
    for sample in (
        picture,
        ramp,
        Image.merge("RGB", picture.split()[:3]),
        Image.merge("RGBA", picture.split()),
    ):
        other = sample.resize(size, Image.Resampling.LANCZOS, box=box)
        worst = max(worst, *ImageStat.Stat(ImageChops.difference(simd(sample, box, size), other)).mean)
    return worst
