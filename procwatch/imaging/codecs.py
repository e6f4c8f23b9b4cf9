"""The output formats in plain numbers: extensions, limits, qualities and options, without importing PIL."""

from dataclasses import dataclass
from types import MappingProxyType

from procwatch.imaging.operation import Param


@dataclass(frozen=True, kw_only=True, slots=True)
class Codec:
    """One output format. `max_side` is the format's own limit in pixels; `quality` is None where it has no meaning."""

    name: str
    pillow: str
    ext: str
    max_side: int
    alpha: bool
    quality: int | None
    options: tuple[Param, ...] = ()


_PROGRESSIVE = Param(name="progressive", kind="bool", meaning="load from coarse to fine", default=False)
_SUBSAMPLING = Param(
    name="subsampling",
    kind="str",
    meaning="chroma subsampling",
    default="4:2:0",
    choices=("4:4:4", "4:2:2", "4:2:0"),
)
#: Without a default: encode.py decides by the size of the picture.
_OPTIMIZE = Param(name="optimize", kind="bool", meaning="Huffman tables of its own for each file")
_LOSSLESS = Param(name="lossless", kind="bool", meaning="keep every pixel as it is", default=False)

#: name → codec. The defaults of methods and speeds were measured; encode.py says how.
CODECS = MappingProxyType(
    {
        codec.name: codec
        for codec in (
            Codec(
                name="jpeg",
                pillow="JPEG",
                ext="jpg",
                max_side=65_500,
                alpha=False,
                quality=82,
                options=(_PROGRESSIVE, _SUBSAMPLING, _OPTIMIZE),
            ),
            Codec(
                name="webp",
                pillow="WEBP",
                ext="webp",
                max_side=16_383,
                alpha=True,
                quality=80,
                options=(
                    _LOSSLESS,
                    Param(name="method", kind="int", meaning="0 fast to 6 small", default=2, low=0, high=6),
                ),
            ),
            Codec(
                name="png",
                pillow="PNG",
                ext="png",
                max_side=1_000_000,
                alpha=True,
                quality=None,
                options=(
                    Param(
                        name="compress_level",
                        kind="int",
                        meaning="0 none to 9 most",
                        default=4,
                        low=0,
                        high=9,
                    ),
                ),
            ),
            Codec(
                name="avif",
                pillow="AVIF",
                ext="avif",
                max_side=65_535,
                alpha=True,
                quality=63,
                options=(
                    _SUBSAMPLING,
                    Param(name="speed", kind="int", meaning="0 small to 10 fast", default=8, low=0, high=10),
                ),
            ),
            Codec(
                name="tiff",
                pillow="TIFF",
                ext="tif",
                max_side=1_000_000,
                alpha=True,
                quality=None,
                options=(
                    Param(
                        name="compression",
                        kind="str",
                        meaning="lossless compression",
                        default="deflate",
                        choices=("deflate", "lzw", "none"),
                    ),
                ),
            ),
            Codec(name="gif", pillow="GIF", ext="gif", max_side=65_535, alpha=True, quality=None),
        )
    }
)

#: What may be written as `format`; auto is JPEG for opaque pictures, WebP where there is transparency.
FORMAT_NAMES = ("auto", *CODECS)


def codec_for(format_name: str, *, has_alpha: bool, size: tuple[int, int]) -> Codec:
    """Return the codec of an output. Auto falls back to PNG for transparent pictures beyond WebP's largest side."""
    if format_name != "auto":
        return CODECS[format_name]
    if not has_alpha:
        return CODECS["jpeg"]
    return CODECS["webp" if max(size) <= CODECS["webp"].max_side else "png"]


def extensions_of(format_name: str) -> frozenset[str]:
    """Return what the names of an output can end in."""
    names = ("jpeg", "webp", "png") if format_name == "auto" else (format_name,)
    return frozenset(CODECS[name].ext for name in names)
