"""Choose how a folder can be watched by the type of its file system."""

import os
import re
from typing import Final, Literal

WatchMode = Literal["native", "polling"]

#: inotify reports what this kernel did. On these, another machine (or the host of this one) writes unseen.
_REMOTE: Final = frozenset({
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "coda", "davfs", "9p", "virtiofs", "vboxsf",
    "prl_fs", "vmhgfs", "drvfs", "ceph", "lustre", "gpfs", "glusterfs", "beegfs", "orangefs", "pvfs2", "ocfs2",
    "gfs2", "wekafs",
})  # fmt: skip
_OCTAL: Final = re.compile(r"\\([0-7]{3})")
_MOUNT_POINT_FIELD: Final = 4  # proc_pid_mountinfo(5), counted from 0


def watch_mode(path: str) -> WatchMode:
    """Return "polling" for network, shared and FUSE file systems, "native" for all others.

    What cannot be found out counts as native: the periodic rescan sees the rest, only later.
    """
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            mounts = table.read()
    except OSError:
        return "native"
    return mode_of(filesystem_type(mounts, os.path.realpath(path)))


def mode_of(fs_type: str) -> WatchMode:
    """Return how a file system of this type can be watched. `fuseblk` is a local disk behind FUSE."""
    remote = fs_type in _REMOTE or fs_type == "fuse" or fs_type.startswith("fuse.")
    return "polling" if remote else "native"


def filesystem_type(mountinfo: str, path: str) -> str:
    """Return the type of the file system that holds the absolute `path`, "" if no mount does."""
    best_length, best_type = -1, ""
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields, types = before.split(" "), after.split(" ")
        if not separator or len(fields) <= _MOUNT_POINT_FIELD:
            continue
        mount_point = _unescape(fields[_MOUNT_POINT_FIELD])
        # Not less: a later mount on the same point covers an earlier one.
        if _is_below(path, mount_point) and len(mount_point) >= best_length:
            best_length, best_type = len(mount_point), types[0]
    return best_type


def _is_below(path: str, mount_point: str) -> bool:
    return path == mount_point or path.startswith(mount_point.rstrip("/") + "/")


def _unescape(field: str) -> str:
    """Undo the octal escapes of space, tab, newline and backslash; the bytes are a name, so they may be any."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)
