"""Counting the scans of a JPEG: each goes over the whole picture, and a file of some hundred KB can ask for thousands."""

import re
from typing import BinaryIO, Final

#: Ordinary progressive files have about 10, optimised ones up to 30; libjpeg-turbo's own fuzzers stop at 500.
MAX_SCANS: Final = 500
_MARKER_BYTE: Final = 0xFF
_SOS: Final = 0xDA
_EOI: Final = 0xD9
#: A marker, and not a stuffed 0xFF, a restart or a fill byte (T.81, B.1.1.2).
_MARKER: Final = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
_WINDOW_BYTES: Final = 64 * 1024
_BLOCK_BYTES: Final = 1024**2
#: Every scan begins with these bytes; they are found in metadata, too.
_MAYBE_SCAN: Final = re.compile(rb"\xff\xda")


def has_more_scans(source: BinaryIO, most: int) -> bool:
    """Say whether the picture has more scans than that.

    What looks like one is counted first, which takes half the time: 0.3 ms instead of 0.6 for 1.4 MB.
    """
    return _looks_like(source, most + 1) > most and jpeg_scans(source, most + 1) > most


def _looks_like(source: BinaryIO, at_most: int) -> int:
    """Return how often something looks like a scan: no fewer times than there are scans, counted up to `at_most`."""
    before = source.tell()
    source.seek(0)
    count, edge = 0, b""
    while count < at_most and (block := source.read(_BLOCK_BYTES)):
        count += len(_MAYBE_SCAN.findall(edge + block if edge else block))
        edge = block[-1:] if block[-1] == _MARKER_BYTE else b""
    source.seek(before)
    return count


def jpeg_scans(source: BinaryIO, at_most: int) -> int:
    """Return how many scans the picture has, counted up to `at_most`, as libjpeg finds them: from marker to marker."""
    before = source.tell()
    at, count = 2, 0
    try:
        while count < at_most:
            source.seek(at)
            window = source.read(_WINDOW_BYTES)
            found = _MARKER.search(window)
            if found is None:
                if len(window) < _WINDOW_BYTES:
                    break
                at += len(window) - 1  # its last byte may begin a marker
                continue
            marker = found[1][0]
            if marker == _EOI:
                break
            count += marker == _SOS
            source.seek(at + found.end())
            length = int.from_bytes(source.read(2), "big")
            at += found.end() + max(length, 2)
    finally:
        source.seek(before)
    return count
