"""Decide by name alone which entries of an inbox are none of ours.

A pattern is a glob of fnmatch (`*`, `?`, `[abc]`, `[!abc]`; `*` crosses "/"). It matches the whole relative path or
any one component of it, so that `drafts` covers everything below a folder of that name. Case does not matter: cameras
write `.JPG`, Windows writes `thumbs.db`, and a pattern that silently misses half of the files helps nobody.
"""

import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import Final

#: What other programs leave or keep in folders: never an arrival.
DEFAULT_IGNORE: Final = (
    ".*",  # hidden files, and with them ._* of macOS, .syncthing.*, .stfolder, rsync's temporary names
    "._*",
    "Thumbs.db",
    "desktop.ini",
    "~$*",
    "*.tmp",
    "*.part",
    "*.partial",
    "*.crdownload",
    "*.filepart",
    "*.download",
    ".syncthing.*",
    "_UNPACK_*",
    "@eaDir",
    "__MACOSX",
    ".stfolder",
    ".procwatch-staging",
)
#: The rule that is named for a file which no `include` pattern matches.
NOT_INCLUDED: Final = "not in include"


class NameFilter:
    """The patterns of one inbox, compiled once. Relative paths use "/"."""

    def __init__(self, include: Sequence[str] = (), ignore: Sequence[str] = ()) -> None:
        """Take the user's patterns; `ignore` adds to DEFAULT_IGNORE, an empty `include` includes all."""
        self._rules = (*DEFAULT_IGNORE, *ignore)
        self._ignored = _compile(self._rules)
        self._included = _compile(include) if include else None

    def ignored_by(self, relative_path: str) -> str | None:
        """Return the pattern (or NOT_INCLUDED) that makes this path none of ours, None for an arrival."""
        lowered = relative_path.lower()
        if _matches(self._ignored, lowered):
            return next(rule for rule in self._rules if _matches(_compile((rule,)), lowered))
        if self._included is not None and not _matches(self._included, lowered):
            return NOT_INCLUDED
        return None

    def prunes(self, relative_dir: str) -> bool:
        """Return whether nothing below this folder can be an arrival. `include` prunes nothing."""
        return _matches(self._ignored, relative_dir.lower())


def _matches(pattern: re.Pattern[str], lowered: str) -> bool:
    if pattern.match(lowered):
        return True
    return "/" in lowered and any(pattern.match(part) for part in lowered.split("/"))


def _compile(globs: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(glob.lower().rstrip("/")) for glob in globs))
