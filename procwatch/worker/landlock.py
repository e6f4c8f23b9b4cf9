"""Landlock by its three system calls: what a process may do with files, TCP ports and other processes.

<linux/landlock.h> and landlock(7). Each version of the kernel's interface (ABI) knows more; what it does not know is
not asked for. A rule binds to the inode of its folder and to whatever is mounted there: a folder that is removed and
made again is another one, for which no rule speaks. Only the calling thread is bound, and those that it starts later.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Mapping
from typing import Final

# The same numbers on every architecture but alpha.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_CREATE_RULESET_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38

WRITE_FILE: Final = 1 << 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
MAKE_REG: Final = 1 << 8
#: What each ABI lets a ruleset forbid: everything that is not granted by a rule. REFER is never granted, so that
#: nothing is linked or renamed from folder to folder.
_FILES_BY_ABI: Final = {
    1: (1 << 13) - 1,  # execute, write, read, list, remove (2), make (7)
    2: 1 << 13,  # refer
    3: 1 << 14,  # truncate
    5: 1 << 15,  # ioctl of devices
}
_TCP_BIND_AND_CONNECT: Final = 3  # ABI 4
_TCP_ABI: Final = 4
_ABSTRACT_SOCKETS_AND_SIGNALS: Final = 3  # ABI 6
_SCOPES_ABI: Final = 6
#: Kernels without it, kernels that were started without it, and filters that do not know it.
_ABSENT: Final = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL})
#: The newest ABI whose protections are used here; a later one keeps working, it only offers more.
NEWEST_ABI: Final = 6


class _RulesetAttr(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"  # what _pack_ means anyway; CPython 3.14 wants to be told
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


_libc = ctypes.CDLL(None, use_errno=True)


def kernel_abi() -> int:
    """Return the ABI that this kernel offers to this process, 0 for none."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_CREATE_RULESET_VERSION))
    except OSError as error:
        if error.errno in _ABSENT:
            return 0
        raise


def restrict(rights: Mapping[int, int], abi: int) -> None:
    """Bind this thread for good: below each open folder (a descriptor) it has these rights, elsewhere none.

    `abi` is at most what the kernel has, and decides what is forbidden at all. Raises OSError.
    """
    handled = handled_files(abi)
    attributes = _RulesetAttr(
        handled_access_fs=handled,
        handled_access_net=_TCP_BIND_AND_CONNECT if abi >= _TCP_ABI else 0,
        scoped=_ABSTRACT_SOCKETS_AND_SIGNALS if abi >= _SCOPES_ABI else 0,
    )
    # The kernel accepts a longer structure whose unknown rest is zero.
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    ruleset = _call(_CREATE_RULESET, ctypes.byref(attributes), size, ctypes.c_uint(0))
    try:
        for folder, access in rights.items():
            rule = _PathBeneathAttr(allowed_access=access & handled, parent_fd=folder)
            _call(
                _ADD_RULE,
                ctypes.c_int(ruleset),
                ctypes.c_int(_RULE_PATH_BENEATH),
                ctypes.byref(rule),
                ctypes.c_uint(0),
            )
        no_new_privileges()
        _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0))
    finally:
        os.close(ruleset)


def handled_files(abi: int) -> int:
    """Return the rights to files that a ruleset of this ABI takes away."""
    return sum(rights for since, rights in _FILES_BY_ABI.items() if since <= abi)


def no_new_privileges() -> None:
    """Let no setuid program give this process more than it has (prctl(2)); Landlock and seccomp ask for it."""
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), *(ctypes.c_ulong(0),) * 3):
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")


def _call(number: int, *arguments: object) -> int:
    _libc.syscall.restype = ctypes.c_long
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
