"""One small picture in every format and pixel mode that is read without being asked for, and every format written."""

from procwatch.imaging.codecs import CODECS
from procwatch.imaging.recipe import Output, Recipe
from procwatch.testing import make_image
from tests.support.pictures import fit

#: Pillow's names, and the modes in which a decoder takes another way.
_KINDS: dict[str, tuple[str, ...]] = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "AVIF": ("RGB", "RGBA"),
    "GIF": ("P", "L"),
    "TIFF": ("RGB", "RGBA", "L", "1", "CMYK", "LAB", "I;16"),
    "BMP": ("RGB", "L", "1", "P"),
}


def all_formats(width: int = 64, height: int = 48) -> dict[str, bytes]:
    """Return file name → content."""
    made = {}
    for kind, modes in _KINDS.items():
        for mode in modes:
            name = f"{kind.lower()}-{mode.lower().replace(';', '')}.bin"
            made[name] = make_image(width, height, image_format=kind, mode=mode)
    made["jpeg-progressive.bin"] = make_image(width, height, progressive=True, orientation=6)
    for kind in ("GIF", "PNG", "WEBP", "TIFF", "AVIF"):
        made[f"{kind.lower()}-frames.bin"] = make_image(width, height, image_format=kind, frames=3)
    for compression in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits", "group4", "tiff_adobe_deflate"):
        mode = "1" if compression == "group4" else "RGB"
        made[f"tiff-{compression}.bin"] = make_image(
            width, height, image_format="TIFF", mode=mode, compression=compression
        )
    return made


def every_output() -> Recipe:
    """Return a recipe that writes each format."""
    outputs = tuple(Output(name=name, steps=(fit(32),), format=name) for name in ("auto", *CODECS))
    return Recipe(name="every", outputs=outputs)
