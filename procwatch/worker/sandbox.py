"""Locks a worker up before it sees the first byte from a stranger: Landlock, seccomp, no privileges, no output.

What a decoder that was taken over can still do: read the inboxes and the Python installation, write new files into
its own slot's staging, use its share of CPU and memory, and lie in its results. systemd/SECURITY.md has the table.
"""

import ctypes
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from procwatch.fdopen import open_beneath
from procwatch.model import slot_folder
from procwatch.worker import landlock, seccomp

Mode = Literal["require", "prefer", "off"]

_READ: Final = landlock.READ_FILE
_READ_AND_LIST: Final = landlock.READ_FILE | landlock.READ_DIR
#: New files, and writing to them. Nothing is removed, renamed, linked or read back, and no folder is made.
_MAKE: Final = landlock.WRITE_FILE | landlock.MAKE_REG
_SHARED_LIBRARIES: Final = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64")
_TRUNCATE_ABI: Final = 3
_TCP_ABI: Final = 4
_SCOPES_ABI: Final = 6
#: A daemon that runs as root may read files of others for its users; its workers keep that and nothing else.
_CAP_DAC_READ_SEARCH: Final = 1 << 2
_CAPABILITY_VERSION: Final = 0x20080522

Inode = tuple[int, int]  # device, number


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What the workers of a service may touch. Folders are absolute; `staging` are roots, see model.slot_folder.

    `abi` and `seccomp` are for tests: a kernel that knows no more than this.
    """

    mode: Mode
    inboxes: tuple[str, ...]
    staging: tuple[str, ...]
    abi: int = landlock.NEWEST_ABI
    seccomp: bool = True
    #: Where the inboxes really are, found out in the daemon, before it read anything from a stranger: a link that is
    #: put in the place of one later would open another part of the machine to the workers.
    real_inboxes: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "real_inboxes", tuple(map(os.path.realpath, self.inboxes)))


OFF: Final = Plan(mode="off", inboxes=(), staging=())

#: The folders that the rules of this process speak for; empty while it is not locked up.
_bound: dict[str, Inode | None] = {}


class SandboxError(Exception):
    """A protection is missing, and the configuration says that nothing may run without it."""


def missing(plan: Plan = OFF) -> tuple[str, ...]:
    """Return the protections that this machine does not have, from the gravest; nothing is changed."""
    abi = min(landlock.kernel_abi(), plan.abi)
    filtered = plan.seccomp and seccomp.is_available()
    return tuple(_missing(abi, filtered=filtered))


def _missing(abi: int, *, filtered: bool) -> Iterator[str]:
    if not abi:
        yield "files (Landlock)"
    if not filtered:
        yield "system calls (seccomp)"
        if abi < _SCOPES_ABI:
            yield "signals to others (Landlock 6 or seccomp)"
        if abi < _TCP_ABI:
            yield "TCP (Landlock 4 or seccomp)"
        if 0 < abi < _TRUNCATE_ABI:
            yield "truncating (Landlock 3 or seccomp)"


def lock_up(plan: Plan, slot: int) -> dict[str, str]:
    """Lock this process up for good. Return notes: `sandbox` says how, `sandbox_missing` what could not be had.

    Everything that is imported or opened lazily must be there before. Raises SandboxError in mode "require".
    """
    if plan.mode == "off":
        return {}
    lacking = [*missing(plan), *_unbound_threads()]
    if lacking and plan.mode == "require":
        raise SandboxError(f'sandbox = "require", but not available here: {", ".join(lacking)}')
    abi = min(landlock.kernel_abi(), plan.abi)
    done = ["no privileges"]
    _silence()
    _drop_capabilities()
    landlock.no_new_privileges()
    if abi:
        _confine_files(plan, slot, abi)
        done.append(f"Landlock {abi}")
    if plan.seccomp and seccomp.is_available():
        seccomp.restrict(against_truncation=0 < abi < _TRUNCATE_ABI)
        done.append("seccomp")
    notes = {"sandbox": ", ".join(done)}
    if lacking:
        notes["sandbox_missing"] = ", ".join(lacking)
    return notes


def stale(inbox: str, staging: str, slot: int) -> str:
    """Say why this process's rules no longer speak for the folders of a task; "" when they do.

    A folder that was removed, mounted over or replaced is another inode, which was never opened to this process.
    """
    if not _bound:
        return ""
    for folder, look in ((inbox, _inode_of), (slot_folder(staging, slot), _beneath_staging)):
        now = look(folder)
        if now != _bound.get(folder):
            return f"the folder is not the one that the worker was started for: {folder!a}"
        if now is None and folder != inbox:
            return f"the folder is not there: {folder!a}"
    return ""


def _confine_files(plan: Plan, slot: int, abi: int) -> None:
    rights: dict[int, int] = {}
    try:
        for folder in python_folders():
            _grant(rights, _open_folder, folder, _READ_AND_LIST)
        for inbox, real in zip(plan.inboxes, plan.real_inboxes, strict=True):
            _bound[inbox] = _grant(rights, _open_without_links, real, _READ)
        for staging in plan.staging:
            folder = slot_folder(staging, slot)
            _bound[folder] = _grant(rights, _open_staging, folder, _MAKE)
        landlock.restrict(rights, abi)
    finally:
        for descriptor in rights:
            os.close(descriptor)


def _grant(rights: dict[int, int], opener: Callable[[str], int], folder: str, access: int) -> Inode | None:
    """Open a folder for a rule; None when it is not there: then there is no rule, and tasks for it are stale."""
    try:
        descriptor = opener(folder)
    except OSError:
        return None
    rights[descriptor] = access
    return _inode(os.fstat(descriptor))


def python_folders() -> list[str]:
    """Return where imports and shared libraries come from; of these a worker may read everything."""
    paths = sysconfig.get_paths()
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    installed = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    prefixes = [os.path.join(prefix, "lib") for prefix in (sys.base_prefix, sys.base_exec_prefix)]
    return list(dict.fromkeys([*installed, *prefixes, *_SHARED_LIBRARIES, own]))


def _open_folder(folder: str) -> int:
    return os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _open_without_links(folder: str) -> int:
    return open_beneath("/", folder.lstrip("/"), os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _open_staging(folder: str) -> int:
    """Open OUTBOX/STAGING/SLOT, following no link below the outbox, which others may write to."""
    staging, slot = os.path.split(folder)
    outbox, name = os.path.split(staging)
    return open_beneath(outbox, f"{name}/{slot}", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _beneath_staging(folder: str) -> Inode | None:
    try:
        descriptor = _open_staging(folder)
    except OSError:
        return None
    try:
        return _inode(os.fstat(descriptor))
    finally:
        os.close(descriptor)


def _inode_of(folder: str) -> Inode | None:
    try:
        return _inode(os.stat(folder))
    except OSError:
        return None


def _inode(status: os.stat_result) -> Inode:
    return status.st_dev, status.st_ino


def _silence() -> None:
    """Point stdin, stdout and stderr to nowhere: a decoder must not write log lines, or type into a terminal."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def _unbound_threads() -> list[str]:
    """Landlock binds the calling thread and its children: any other thread would stay free."""
    try:
        count = len(os.listdir("/proc/self/task"))
    except OSError:
        return []
    return [] if count == 1 else [f"{count - 1} threads that run already (Landlock)"]


def _drop_capabilities() -> None:
    """Give up what root may do, but for reading files of others (capset(2)); nothing changes for other users."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    # Effective, permitted, inheritable; then the same for capabilities from 32 on.
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(ctypes.byref(header), ctypes.byref(sets)):
        return
    kept = sets[1] & _CAP_DAC_READ_SEARCH
    wanted = (ctypes.c_uint32 * 6)(kept & sets[0], kept, 0, 0, 0, 0)
    if list(wanted) == list(sets):
        return  # the service's own unit has none to give up, and its filter refuses the call
    if libc.capset(ctypes.byref(header), ctypes.byref(wanted)):
        number = ctypes.get_errno()
        raise OSError(number, f"capset: {os.strerror(number)}")
