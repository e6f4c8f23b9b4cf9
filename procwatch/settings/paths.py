"""Folders as people write them, made absolute, and which of them lie inside which."""

import os
from collections.abc import Mapping
from dataclasses import dataclass


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
    real_path, real_folder = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath([real_path, real_folder]) == real_folder


def one_line(text: str) -> str:
    """Escape what would break a line or a terminal: a name may hold any bytes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
