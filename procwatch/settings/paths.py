"""Folders as people write them, made absolute, and which of them lie inside which."""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: A healthy file system answers in microseconds; the configuration is read before anything else can be said.
_PATIENCE_S: Final = 2.0
_HUNG_FOR_S: Final = 60.0
_hung_until_s: dict[str, float] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Folders:
    """The folders of one inbox, absolute."""

    name: str
    path: str
    outbox: str
    archive: str
    failed: str


def absolute(path: str, base: str) -> str:
    """Return `path` with ~ expanded, relative to the folder `base`. Raises ValueError for an unknown ~user."""
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise ValueError(f"{path} names a user that this machine does not know")
    return os.path.abspath(os.path.join(base, expanded))


def inbox_folders(
    *,
    path: str,
    base: str,
    name: str | None = None,
    outbox: str | None = None,
    archive: str | None = None,
    failed: str | None = None,
) -> Folders:
    """Fill in what was left out: the name from the folder, the other folders beside it. Raises ValueError."""
    inbox = absolute(path, base)
    parent = os.path.dirname(inbox)
    return Folders(
        name=name or os.path.basename(inbox) or "inbox",
        path=inbox,
        outbox=absolute(outbox or os.path.join(parent, "outbox"), base),
        archive=absolute(archive or os.path.join(parent, "archive"), base),
        failed=absolute(failed or os.path.join(parent, "failed"), base),
    )


def default_state_dir(environ: Mapping[str, str], *, uid: int) -> str:
    """Return the state folder of a configuration that names none: systemd's, the system's, or the user's own."""
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]  # systemd.exec(5): a list, the first is ours
    if given:
        return os.path.abspath(given)
    if uid == 0:
        return "/var/lib/procwatch"
    state_home = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state_home):  # the XDG base directory specification: relative ones are ignored
        state_home = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state_home, "procwatch")


def is_inside(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies below it, symbolic links followed."""
    real_path, real_folder = _real(path), _real(folder)
    return os.path.commonpath([real_path, real_folder]) == real_folder


def _real(path: str) -> str:
    """Return the path with symbolic links followed; as it stands where a hung mount lets nobody follow them.

    A path that hung once is not asked for again within the same minute: a configuration has many pairs of folders.
    """
    if time.monotonic() < _hung_until_s.get(path, 0.0):
        return path
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(os.path.realpath(path)), daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)
    if answers:
        return answers[0]
    _hung_until_s[path] = time.monotonic() + _HUNG_FOR_S
    return path


def one_line(text: str) -> str:
    """Escape what would break a line or a terminal: a name may hold any bytes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
