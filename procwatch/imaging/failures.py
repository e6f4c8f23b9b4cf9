"""Failures: everything that Pillow and its plug-ins raise or warn of, mapped to the stable codes of failed files."""

import contextlib
import errno
import os
import re
import warnings
from collections.abc import Iterator
from typing import BinaryIO, Final

from PIL import Image, UnidentifiedImageError

from procwatch.errors import ImageError
from procwatch.imaging import sniff
from procwatch.model import Limits

HEIC_HINT: Final = "install the extra, in the checkout of procwatch: pip install '.[heic]'"


@contextlib.contextmanager
def guarded(source: BinaryIO, prefix: bytes, formats: tuple[str, ...], limits: Limits) -> Iterator[None]:
    """Give everything that Pillow raises or warns of its stable code."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata, which nobody can act on; only its bomb warning decides anything.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(error, limits) from None
    except UnidentifiedImageError:
        raise _unidentified(source, prefix, formats) from None
    except Exception as error:
        raise classified(error) from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _too_many_pixels(error: Exception, limits: Limits) -> ImageError:
    """Pillow's own message names twice the limit, because it warns first."""
    found = re.search(r"\d+", str(error))
    counted = f"{int(found[0]):,} pixels" if found else "too many pixels"
    return ImageError("too-many-pixels", f"{counted}, allowed are {limits.max_pixels:,}")


def _unidentified(source: BinaryIO, prefix: bytes, formats: tuple[str, ...]) -> ImageError:
    """Say why no allowed format took the file."""
    kind = sniff.kind_of(prefix)
    if kind is None:
        return ImageError("not-an-image", "the content is not of any image format")
    if kind == "HEIF" and (kind not in formats or kind not in Image.OPEN):
        why = "HEIC needs an extra" if kind in formats else "HEIC is not among the formats allowed here"
        return ImageError("format-not-enabled", f"{why}; {HEIC_HINT}")
    if kind not in formats:
        return ImageError("unsupported-format", f"{kind} is not among the formats allowed here")
    return _why_refused(source, kind)


def _why_refused(source: BinaryIO, kind: str) -> ImageError:
    """Ask the plug-in itself: Image.open() drops the reason for which a plug-in refused a file of its own kind."""
    source.seek(0)
    factory = Image.OPEN[kind][0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            factory(source, "")
    except Exception as error:  # noqa: BLE001 (the reason is all that is wanted)
        return classified(error, kind=kind)
    return ImageError("truncated", f"the {kind} data is damaged")


_UNSUPPORTED_WORDS: Final = (
    "unsupported",
    "not supported",
    "unknown",
    "cannot handle",
    "not implemented",
    "unhandled",
)
#: lseek(2) to an offset that only a damaged file names: before its beginning, or beyond what a file can have.
_BAD_OFFSETS: Final = frozenset({errno.EINVAL, errno.EOVERFLOW})
_LIMIT_WORDS: Final = ("too large", "too much memory", "max_text", "exceeds limit")


def classified(error: Exception, *, kind: str = "") -> ImageError:
    """Map what a decoder raises to a stable code. Damage counts as `truncated`: a file still being written looks the same."""
    text = str(error) or type(error).__name__
    reason = f"{kind}: {text}" if kind else text
    if isinstance(error, MemoryError):
        return ImageError("out-of-memory", "decoding needed more memory than a worker may use")
    if isinstance(error, OSError) and error.errno is not None and error.errno not in _BAD_OFFSETS:
        return ImageError("not-readable", f"reading failed: {os.strerror(error.errno)}")
    lowered = text.lower()
    if any(word in lowered for word in _LIMIT_WORDS):
        return ImageError("too-large", reason)
    if isinstance(error, NotImplementedError) or any(word in lowered for word in _UNSUPPORTED_WORDS):
        return ImageError("unsupported-format", reason)
    return ImageError("truncated", f"the picture is cut off or damaged ({reason})")
