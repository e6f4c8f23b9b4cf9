"""Whose word a configuration is that nobody named: what is found in a folder counts where no stranger can have put it.

A configuration may run commands (hooks) and move files anywhere, and `procwatch.toml` is a name like any other for
whoever may write into an inbox. git has the same rule since CVE-2022-24765 (safe.directory). What a command line
names is not asked about. Not defended: folders above that others may write into, though not own; whoever may rename
those may do everything (systemd/SECURITY.md).
"""

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from typing import Final

from procwatch.errors import ConfigError
from procwatch.settings.load import CONFIG_NAME, STATE_NAME, SYSTEM_CONFIG, load, resolve
from procwatch.settings.paths import is_inside, one_line
from procwatch.settings.values import Settings

_HINT: Final = "say what is meant: -c FILE, or -d DIR; unnamed, only what you or root made counts"
_ACL: Final = "system.posix_acl_access"


def is_site(folder: str) -> bool:
    """Whether a folder has a procwatch.toml or a `.procwatch/`, whoever made it."""
    return os.path.isdir(os.path.join(folder, STATE_NAME)) or os.path.isfile(
        os.path.join(folder, CONFIG_NAME)
    )


def site_settings(folder: str) -> Settings:
    """Return the settings of a site that was found and not named. Raises ConfigError where they are not to be trusted."""
    require_own(folder)
    settings = resolve(None, folder)
    holder = _holder(os.path.realpath(folder), settings)
    if holder:
        raise _refusal(folder, f"it lies in {one_line(holder)}, a folder of its own inbox")
    return settings


def require_own(folder: str) -> None:
    """Raise ConfigError unless what configures `folder` is ours or root's, and lies in no folder that others fill."""
    folder = os.path.abspath(folder)
    reason = _stranger_above(folder) or _stranger_in(folder) or _dropped(folder)
    if reason:
        raise _refusal(folder, reason)


def _refusal(folder: str, reason: str) -> ConfigError:
    config = os.path.join(folder, CONFIG_NAME)
    found = config if os.path.lexists(config) else os.path.join(folder, STATE_NAME)
    return ConfigError(f"{one_line(found)} is not used: {reason}", hint=_HINT)


# -- who may have put it there ----------------------------------------------------------------------


def _stranger_above(folder: str) -> str:
    """Return whose a folder or a link on the way is: they could put another one there between this look and the next."""
    path = "/"
    for part in folder.split("/"):
        path = os.path.join(path, part)
        try:
            reason = _owned_by_stranger(path, os.lstat(path))
        except OSError as error:
            reason = f"{one_line(path)}: {error.strerror}"
        if reason:
            return reason
    return ""


def _stranger_in(folder: str) -> str:
    """Return who else owns, or may change, the folder or what configures it."""
    for name in ("", CONFIG_NAME, STATE_NAME):
        path = os.path.join(folder, name) if name else folder
        try:
            itself, status = os.lstat(path), os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return f"{one_line(path)}: {error.strerror}"
        if name == CONFIG_NAME and not stat.S_ISREG(status.st_mode):
            return "it is no regular file"
        reason = (
            _owned_by_stranger(path, itself) or _owned_by_stranger(path, status) or _shared_by(path, status)
        )
        if reason:
            return reason
    return ""


def _owned_by_stranger(path: str, status: os.stat_result) -> str:
    uid = status.st_uid
    if uid in (0, os.geteuid()):
        return ""
    try:
        name = f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        name = f"uid {uid}"
    return f"{one_line(path)} belongs to {name}, neither to you nor to root"


def _shared_by(path: str, status: os.stat_result) -> str:
    """Return why others may change a file, or what is in a folder. In a sticky folder they may only add to it."""
    mode = status.st_mode
    if stat.S_ISDIR(mode) and mode & stat.S_ISVTX:
        return ""
    if mode & stat.S_IWOTH:
        return f"everybody may write {one_line(path)}"
    if mode & stat.S_IWGRP and (_has_acl(path) or not _is_private_group(status.st_gid)):
        return f"others may write {one_line(path)}, by its group or an access list"
    return ""


def _is_private_group(gid: int) -> bool:
    """Whether a group is root's, or has nobody in it but us: many systems give each user one, and a umask of 002."""
    if gid == 0:
        return True
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _has_acl(path: str) -> bool:
    with contextlib.suppress(OSError):  # a file system without them
        return _ACL in os.listxattr(path)
    return False


# -- what a daemon itself may have put there --------------------------------------------------------


def _dropped(folder: str) -> str:
    """Return in which folder of another site it lies: a daemon that copies a dropped file owns the copy."""
    real = os.path.realpath(folder)
    for settings in _others(real):
        holder = _holder(real, settings)
        if holder:
            return f"it lies in {one_line(holder)}, where files are dropped or moved"
    return ""


def _others(real: str) -> Iterator[Settings]:
    """Yield the settings of the sites around a folder and of the system's services, as far as they can be read."""
    around: list[str] = []
    above = os.path.dirname(real)
    while above != os.path.dirname(above):
        if is_site(above) and not _stranger_in(above):
            around.append(above)
        above = os.path.dirname(above)
    for site in around:
        with contextlib.suppress(ConfigError):
            yield resolve(None, site)
    services = os.path.dirname(SYSTEM_CONFIG)
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = sorted(name for name in os.listdir(services) if name.endswith(".toml"))
    for name in names:
        with contextlib.suppress(ConfigError):
            yield load(os.path.join(services, name))


def _holder(real: str, settings: Settings) -> str:
    """Return the folder of an inbox that `real` is, or lies in; "" when there is none."""
    for inbox in settings.inboxes:
        for folder in (inbox.path, inbox.outbox, inbox.archive, inbox.failed):
            if is_inside(real, os.path.realpath(folder)):
                return folder
    return ""
