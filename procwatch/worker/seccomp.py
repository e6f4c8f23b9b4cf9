"""A seccomp filter of system calls that rendering a picture never makes, by prctl's data and no library.

It closes what Landlock leaves open on any kernel: sockets of every kind (UDP; the sockets of D-Bus, of Docker, of the
forkserver), modes, owners, times and attributes of files, new processes, the limits and priorities of the daemon.
A list of what is forbidden, not of what is allowed: libc, libjpeg or Rust may change what they use.
"""

import ctypes
import errno
import os
import platform
import sys
from dataclasses import dataclass
from typing import Final

from procwatch.worker.landlock import no_new_privileges

_SET_MODE_FILTER: Final = 1
_ALL_THREADS: Final = 1  # SECCOMP_FILTER_FLAG_TSYNC
_ACTION_AVAILABLE: Final = 2
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_DENY: Final = _ERRNO | errno.EPERM
_UNKNOWN: Final = _ERRNO | errno.ENOSYS  # libc then takes the older call
#: struct seccomp_data: nr, arch, instruction_pointer, args[6]; the low half of an argument comes first.
_NR_AT: Final = 0
_ARCH_AT: Final = 4
_ARGS_AT: Final = 16
# Classic BPF: <linux/bpf_common.h>.
_LOAD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_JUMP_GREATER_EQUAL: Final = 0x35
_JUMP_BITS: Final = 0x45
_RETURN: Final = 0x06
_X32_BIT: Final = 0x40000000

_CLONE_THREAD: Final = 0x00010000
_TIOCSTI: Final = 0x5412  # types into the terminal that the daemon was started from
_TIOCLINUX: Final = 0x541C
_FCNTL_SIGNALS: Final = (
    8,
    10,
    15,
)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: have the kernel send any signal to anybody
_O_TRUNC: Final = 0o1000


@dataclass(frozen=True, kw_only=True, slots=True)
class _Machine:
    audit: int  # AUDIT_ARCH_…
    column: int  # in the tables below
    seccomp: int  # the number of the call itself


_MACHINES: Final = {
    "x86_64": _Machine(audit=0xC000003E, column=0, seccomp=317),
    "aarch64": _Machine(audit=0xC00000B7, column=1, seccomp=277),
}

#: name → numbers on x86_64 and aarch64, None where it does not exist. From the kernel's own tables; from 424 on they
#: are the same everywhere.
FORBIDDEN: Final[dict[str, tuple[int | None, int | None]]] = {
    # sockets, and io_uring, which can open them past any filter
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    # programs, other processes
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None), "unshare": (272, 97),
    "setns": (308, 268), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "pidfd_getfd": (438, 438), "kcmp": (312, 272), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118), "sched_setattr": (314, 274), "migrate_pages": (256, 238), "move_pages": (279, 239),
    # what a file is, apart from its content
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "setxattrat": (463, 463), "removexattrat": (466, 466), "file_setattr": (469, 469), "flock": (73, 32),
    # names of files: a worker makes new files, nothing else
    "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "rename": (82, None),
    "renameat": (264, 38), "renameat2": (316, 276), "unlink": (87, None), "unlinkat": (263, 35), "rmdir": (84, None),
    "mkdir": (83, None), "mkdirat": (258, 34), "mknod": (133, None), "mknodat": (259, 33), "truncate": (76, 45), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "inotify_init": (253, None), "inotify_init1": (294, 26),
    "fanotify_init": (300, 262),
    # mounts
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "open_tree_attr": (467, 467), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "swapon": (167, 224), "swapoff": (168, 225),
    # memory and messages shared with others of the same user
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "msgget": (68, 186), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "msgctl": (71, 187), "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191),
    "semtimedop": (220, 192), "mq_open": (240, 180), "mq_unlink": (241, 181),
    # the kernel itself
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "syslog": (103, 116), "acct": (163, 89),
    "iopl": (172, None), "ioperm": (173, None), "personality": (135, 92), "vhangup": (153, 58),
}  # fmt: skip
#: Calls that are looked at by an argument.
EXAMINED: Final[dict[str, tuple[int | None, int | None]]] = {
    "clone": (56, 220), "clone3": (435, 435), "kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122), "ioctl": (16, 29), "fcntl": (72, 25),
}  # fmt: skip
#: Only for kernels whose Landlock does not know truncation (ABI 1 and 2).
TRUNCATING: Final[dict[str, tuple[int | None, int | None]]] = {
    "open": (2, None), "openat": (257, 56), "openat2": (437, 437), "creat": (85, None),
}  # fmt: skip


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jump_true", ctypes.c_uint8),
        ("jump_false", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


_Code = list[tuple[int, int, int, int]]


def is_available() -> bool:
    """Say whether this kernel and machine can be given the filter, without giving it."""
    machine = _machine()
    if machine is None:
        return False
    action = ctypes.c_uint32(_ERRNO)
    libc = ctypes.CDLL(None, use_errno=True)
    number, operation = ctypes.c_long(machine.seccomp), ctypes.c_uint(_ACTION_AVAILABLE)
    return bool(libc.syscall(number, operation, ctypes.c_uint(0), ctypes.byref(action)) == 0)


def restrict(*, against_truncation: bool) -> None:
    """Bind every thread of this process for good. Raises OSError.

    `against_truncation` also forbids O_TRUNC and openat2, whose flags a filter cannot see.
    """
    machine = _machine()
    if machine is None:
        raise OSError(errno.ENOSYS, f"no table of system calls for {platform.machine()}")
    code = program(machine.audit, machine.column, os.getpid(), against_truncation=against_truncation)
    instructions = (_Instruction * len(code))(*(_Instruction(*step) for step in code))
    whole = _Program(len(code), instructions)
    no_new_privileges()
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (ctypes.c_uint(_SET_MODE_FILTER), ctypes.c_uint(_ALL_THREADS), ctypes.byref(whole))
    if libc.syscall(ctypes.c_long(machine.seccomp), *arguments):
        raise OSError(ctypes.get_errno(), "seccomp: the filter was refused")


def program(audit: int, column: int, pid: int, *, against_truncation: bool) -> _Code:
    """Return the filter as (code, jump if true, jump if false, k)."""
    code: _Code = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_JUMP_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _DENY),  # 32-bit calls have other numbers
        (_LOAD, 0, 0, _NR_AT),
        (_JUMP_GREATER_EQUAL, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _DENY),
    ]
    for numbers in FORBIDDEN.values():
        code += _refused(numbers[column], _DENY)
    code += _examined(column, pid)
    if against_truncation:
        code += _refused(TRUNCATING["creat"][column], _DENY)
        code += _refused(TRUNCATING["openat2"][column], _UNKNOWN)  # open_beneath() then walks
        code += _deny_if(TRUNCATING["open"][column], 1, (_JUMP_BITS, _O_TRUNC))
        code += _deny_if(TRUNCATING["openat"][column], 2, (_JUMP_BITS, _O_TRUNC))
    return [*code, (_RETURN, 0, 0, _ALLOW)]


def _examined(column: int, pid: int) -> _Code:
    number = {name: numbers[column] for name, numbers in EXAMINED.items()}
    return [
        *_refused(number["clone3"], _UNKNOWN),  # its flags are out of sight; libc falls back to clone
        *_deny_unless(number["clone"], 0, (_JUMP_BITS, _CLONE_THREAD)),  # threads, no processes
        *_deny_unless(number["kill"], 0, (_JUMP_EQUAL, pid)),
        *_deny_unless(number["tgkill"], 0, (_JUMP_EQUAL, pid)),  # abort() of a codec must stay an abort
        *_deny_unless(number["prlimit64"], 0, (_JUMP_EQUAL, 0), (_JUMP_EQUAL, pid)),
        *_deny_unless(number["sched_setaffinity"], 0, (_JUMP_EQUAL, 0), (_JUMP_EQUAL, pid)),
        *_deny_if(number["ioctl"], 1, (_JUMP_EQUAL, _TIOCSTI), (_JUMP_EQUAL, _TIOCLINUX)),
        *_deny_if(number["fcntl"], 1, *((_JUMP_EQUAL, command) for command in _FCNTL_SIGNALS)),
    ]


def _refused(number: int | None, answer: int) -> _Code:
    if number is None:
        return []
    return [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, answer)]


def _deny_if(number: int | None, argument: int, *tests: tuple[int, int]) -> _Code:
    """Deny the call when the argument passes any of the tests, else allow it."""
    return _by_argument(number, argument, tests, _DENY, _ALLOW)


def _deny_unless(number: int | None, argument: int, *tests: tuple[int, int]) -> _Code:
    """Allow the call when the argument passes any of the tests, else deny it."""
    return _by_argument(number, argument, tests, _ALLOW, _DENY)


def _by_argument(
    number: int | None, argument: int, tests: tuple[tuple[int, int], ...], passed: int, failed: int
) -> _Code:
    if number is None:
        return []
    checks = [(test, len(tests) - index, 0, value) for index, (test, value) in enumerate(tests)]
    body: _Code = [
        (_LOAD, 0, 0, _ARGS_AT + 8 * argument),
        *checks,
        (_RETURN, 0, 0, failed),
        (_RETURN, 0, 0, passed),
    ]
    return [(_JUMP_EQUAL, 0, len(body), number), *body]


def _machine() -> _Machine | None:
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8:  # noqa: PLR2004 (32-bit programs have other tables)
        return None
    return _MACHINES.get(platform.machine()) if sys.byteorder == "little" else None
