"""What this installation reads and writes, for `procwatch check`."""

from collections.abc import Mapping
from dataclasses import dataclass

from procwatch.imaging.codecs import CODECS
from procwatch.imaging.recipe import DEFAULT_FORMATS


@dataclass(frozen=True, kw_only=True, slots=True)
class Support:
    """`reads` and `writes` map a format to "" or to why it does not work here and what to install."""

    reads: Mapping[str, str]
    writes: Mapping[str, str]
    resampler: str  # "simd" or "pillow"
    resampler_note: str


def support() -> Support:
    """Try everything. Imports PIL; takes some 50 ms."""
    from PIL import Image, features

    from procwatch.imaging.decode import load_plugins
    from procwatch.imaging.failures import HEIC_HINT
    from procwatch.imaging.resample import Resampler

    load_plugins(DEFAULT_FORMATS)
    compiled = {"AVIF": "avif", "WEBP": "webp", "JPEG": "jpg", "PNG": "zlib", "TIFF": "libtiff"}

    def missing(pillow_name: str) -> str:
        feature = compiled.get(pillow_name)
        return "" if feature is None or features.check(feature) else "this Pillow was built without it"

    reads = {name: missing(name) for name in DEFAULT_FORMATS}
    if "HEIF" not in Image.OPEN:
        reads["HEIF"] = HEIC_HINT
    resampler = Resampler("auto")
    return Support(
        reads=reads,
        writes={name: missing(codec.pillow) for name, codec in CODECS.items()},
        resampler=resampler.engine,
        resampler_note=resampler.note,
    )
