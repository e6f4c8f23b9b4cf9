"""Durations and sizes as people write them: "90s", "2m", "1h30m", "512 MiB"."""

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {
    "": 1, "b": 1,
    "k": 1024, "kib": 1024, "kb": 1000,
    "m": 1024**2, "mib": 1024**2, "mb": 1000**2,
    "g": 1024**3, "gib": 1024**3, "gb": 1000**3,
    "t": 1024**4, "tib": 1024**4, "tb": 1000**4,
}  # fmt: skip
_DURATION_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|min|[smhdw])", re.IGNORECASE)
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")


def parse_duration(text: str) -> float:
    """Return seconds. Raises ValueError for anything but numbers with units, such as "90s" or "1h30m"."""
    position, total = 0, 0.0
    stripped = text.strip()
    while position < len(stripped):
        part = _DURATION_PART.match(stripped, position)
        if part is None:
            break
        total += float(part[1]) * _SECONDS[part[2].lower()]
        position = part.end()
    if not stripped or position != len(stripped):
        raise ValueError(f'{text!r} is not a duration; write for example "500ms", "90s", "2m" or "1h30m"')
    return total


def parse_size(text: str) -> int:
    """Return bytes. KiB/MiB/GiB (and K, M, G) count in 1024s, kB/MB/GB in 1000s. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None or match[2].lower() not in _BYTES:
        raise ValueError(f'{text!r} is not a size; write for example "800 KB", "512 MiB" or "2 GiB"')
    return int(float(match[1]) * _BYTES[match[2].lower()])


def format_duration(seconds: float) -> str:
    """Return a short form for people: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min, 4 d 3 h."""
    if seconds < 10:  # noqa: PLR2004 (below ten seconds a tenth matters to the reader)
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, big, small_size, small in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // small_size
            return f"{whole // size} {big}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def counted(count: int, noun: str) -> str:
    """Return "1 file", "2 files", "1,000 files"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def format_size(count: float) -> str:
    """Return a short form for people in 1024s: 512 B, 1.2 MiB."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:  # noqa: PLR2004 (the base of the units)
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
