"""Make the folders of a configuration ready, and say in one line what is wrong with one that cannot be used."""

import contextlib
import errno
import os
import pwd
import secrets
import shlex
import stat
import threading
import time
from collections.abc import Iterator

from procwatch.errors import NoInboxError
from procwatch.model import InboxSpec
from procwatch.settings.paths import one_line
from procwatch.settings.values import Settings

UnusableInbox = tuple[InboxSpec, str]
#: A full disk passes: work pauses until there is room again, the daemon does not refuse to start.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
#: A healthy file system answers in microseconds, one whose disk spins up in seconds.
_PATIENCE_S = 5.0
_READ_WRITE_ENTER = os.R_OK | os.W_OK | os.X_OK


def prepare(settings: Settings) -> tuple[list[InboxSpec], list[UnusableInbox]]:
    """Create what may be created; return the inboxes that can be watched, and the others with the reason.

    Zero-config creates every folder. A configuration file's inbox is never created: a missing one is more likely
    a mount that is not there or a slip of the pen. Raises NoInboxError when no inbox, or no state folder, is usable.
    """
    for folder in _own_folders(settings):
        reason = _ready(folder, mode=None)
        if reason:
            raise NoInboxError(f"cannot keep state or log: {reason}")
    usable: list[InboxSpec] = []
    unusable: list[UnusableInbox] = []
    for inbox, reason in _ask_all(settings):
        if reason:
            unusable.append((inbox, reason))
        else:
            usable.append(inbox)
    if not usable:
        raise NoInboxError("\n".join(f'inbox "{inbox.name}": {reason}' for inbox, reason in unusable))
    return usable, unusable


def _ask_all(settings: Settings) -> Iterator[tuple[InboxSpec, str | None]]:
    """Yield each inbox with what is wrong with its folders; one on a hung mount does not keep the others waiting."""
    answers: dict[str, str | None] = {}

    def ask(inbox: InboxSpec) -> None:
        answers[inbox.name] = _inbox_reason(inbox, may_create=settings.source is None)

    threads = [threading.Thread(target=ask, args=(inbox,), daemon=True) for inbox in settings.inboxes]
    for thread in threads:
        thread.start()
    deadline_s = time.monotonic() + _PATIENCE_S
    for inbox, thread in zip(settings.inboxes, threads, strict=True):
        thread.join(max(deadline_s - time.monotonic(), 0.0))
        yield (
            inbox,
            answers.get(inbox.name, f"{one_line(shlex.quote(inbox.path))} does not answer: a hung mount?"),
        )


def inbox_problem(inbox: InboxSpec) -> str | None:
    """Return what is wrong with the folders of an inbox that was or should be served, None when they can be used.

    The inbox itself is never created: where it was and is not, a mount may be away.
    """
    return _inbox_reason(inbox, may_create=False)


def foresee(settings: Settings) -> list[str]:
    """Return what `prepare` would complain about, as far as it can be told without writing anything."""
    may_create = settings.source is None
    reasons = [_standing_reason(folder) for folder in _own_folders(settings) if os.path.lexists(folder)]
    for inbox in settings.inboxes:
        if os.path.lexists(inbox.path) or not may_create:
            reasons.append(_standing_reason(inbox.path))
        outputs = (inbox.outbox, inbox.archive, inbox.failed)
        reasons += [_standing_reason(folder) for folder in outputs if os.path.lexists(folder)]
    return list(dict.fromkeys(reason for reason in reasons if reason))


def _own_folders(settings: Settings) -> list[str]:
    log_folder = [os.path.dirname(settings.log.file)] if settings.log.file else []
    return list(dict.fromkeys([settings.state_dir, *log_folder]))


def _inbox_reason(inbox: InboxSpec, *, may_create: bool) -> str | None:
    if may_create or os.path.lexists(inbox.path):
        reason = _ready(inbox.path, mode=inbox.dir_mode)
    else:
        reason = _standing_reason(inbox.path)
    if reason:
        return reason
    for folder in dict.fromkeys((inbox.outbox, inbox.archive, inbox.failed)):
        reason = _ready(folder, mode=inbox.dir_mode)
        if reason:
            return reason
    return None


def _ready(folder: str, *, mode: int | None) -> str | None:
    """Create the folder if it is missing and prove that we can write there; return what is wrong, or None."""
    try:
        if not os.path.lexists(folder):
            _make_folders(folder, mode)
    except OSError as error:
        return _reason(folder, error.errno or 0, "cannot be created")
    return _standing_reason(folder) or _probe(folder)


def _make_folders(folder: str, mode: int | None) -> None:
    """Create a folder and the missing ones above it, with `mode` whatever the umask is."""
    parent = os.path.dirname(folder)
    if parent and not os.path.lexists(parent):
        _make_folders(parent, mode)
    with contextlib.suppress(FileExistsError):  # somebody else was faster
        os.mkdir(folder)
        if mode is not None:
            with contextlib.suppress(OSError):  # a file system without modes is no reason to refuse
                os.chmod(folder, mode)


def _standing_reason(folder: str) -> str | None:
    """Return what is wrong with a folder as it stands, without writing to it."""
    try:
        status = os.stat(folder)
    except OSError as error:
        return _reason(folder, error.errno or 0, "cannot be used")
    if not stat.S_ISDIR(status.st_mode):
        return _reason(folder, errno.ENOTDIR, "cannot be used")
    if not os.access(folder, _READ_WRITE_ENTER, effective_ids=True):
        # access(2) knows a read-only file system even for root, whom mode bits do not stop
        return _reason(folder, errno.EROFS if _is_read_only(folder) else errno.EACCES, "cannot be used")
    return None


def _probe(folder: str) -> str | None:
    """Create and remove a file: only that proves it, for root, for quotas and for network file systems."""
    name = os.path.join(folder, f".procwatch-probe-{secrets.token_hex(6)}")
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.unlink(name)
    except OSError as error:
        return None if error.errno in _NO_ROOM else _reason(folder, error.errno or 0, "cannot be written to")
    return None


def _is_read_only(folder: str) -> bool:
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _reason(folder: str, number: int, what: str) -> str:
    uid = os.geteuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    shown = one_line(shlex.quote(folder))
    fix = _access(folder, user) if number in (errno.EACCES, errno.EPERM) else _fix(shown, user, uid, number)
    return f"{shown} {what} by user {user} (uid {uid}): {os.strerror(number)}; {fix}"


def _access(folder: str, user: str) -> str:
    """Return how to give the user access: to the folder, or where it is not there, to the nearest that is."""
    there = folder
    while not os.path.lexists(there) and there != os.path.dirname(there):
        there = os.path.dirname(there)
    # Where it may not even look it might find all that it needs.
    rights = "rwx" if there == folder or os.access(there, os.X_OK, effective_ids=True) else "x"
    above = " (and x on the folders above)" if rights == "rwx" else ""
    return (
        f"give that user access: sudo setfacl -m u:{user}:{rights} {one_line(shlex.quote(there))}{above},"
        f" under systemd also ReadWritePaths={one_line(shlex.quote(folder))}"
    )


def _fix(folder: str, user: str, uid: int, number: int) -> str:
    if number == errno.ENOENT:
        owner = "" if uid == 0 else f" && sudo chown {user} {folder}"
        return (
            f"create it, or mount what belongs there: {'' if uid == 0 else 'sudo '}mkdir -p {folder}{owner}"
        )
    if number == errno.EROFS:
        return (
            f"mount it writable, under systemd add ReadWritePaths={folder}, as procwatch unit --install does"
        )
    if number in (errno.ENOTDIR, errno.EEXIST):
        return "a file is in the way: move it, or name another folder"
    return "put this right, or name another folder"
