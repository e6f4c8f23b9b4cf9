"""Look at processes through /proc: who descends from whom, and what of ours is still alive."""

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

from tests.support.waiting import eventually

#: Every process that a test starts inherits this variable, also the orphans whose parent is gone.
MARK = "PROCWATCH_TEST_MARK"


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> tuple[str, int, int] | None:
    """Return (state letter, parent pid, session id) of a process or a thread, None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, parent, _group, session = text.rpartition(")")[2].split()[:4]
    return state, int(parent), int(session)


def alive(pid: int) -> bool:
    """Return whether a process runs. A zombie does not: it is only a number that nobody has read yet."""
    status = _stat(pid)
    return status is not None and status[0] not in "ZX"


def in_session(session: int) -> list[int]:
    """Return the living processes of a session: also orphans, whose parent is no longer theirs."""
    found = []
    for pid in _pids():
        status = _stat(pid)
        if status is not None and status[0] not in "ZX" and status[2] == session:
            found.append(pid)
    return found


def descendants(pid: int) -> list[int]:
    """Return the living children of a process, their children and so on, parents first."""
    children: dict[int, list[int]] = {}
    for other in _pids():
        status = _stat(other)
        if status is not None and status[0] not in "ZX":
            children.setdefault(status[1], []).append(other)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = sorted(children.get(waiting.pop(0), []))
        found += below
        waiting += below
    return found


def children(pid: int) -> list[int]:
    """Return the living processes whose parent is this one."""
    return [
        other for other in _pids() if (status := _stat(other)) and status[0] not in "ZX" and status[1] == pid
    ]


def marked(mark: str) -> list[int]:
    """Return the living processes that were started with this mark in their environment."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for pid in _pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if wanted in environment.split(b"\0") and alive(pid):
            found.append(pid)
    return found


def command_line(pid: int) -> str:
    """Return what a process was started as, for messages."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "(gone)"


def watched_inodes(pid: int) -> set[int]:
    """Return the inode numbers that a process watches by inotify (proc(5), fdinfo)."""
    found = set()
    for name in os.listdir(f"/proc/{pid}/fdinfo"):
        try:
            text = Path(f"/proc/{pid}/fdinfo/{name}").read_text(encoding="ascii")
        except OSError:  # closed meanwhile
            continue
        for line in text.splitlines():
            if line.startswith("inotify "):
                found |= {int(word[4:], 16) for word in line.split() if word.startswith("ino:")}
    return found


def open_files(pid: int) -> set[Path]:
    """Return what the process has open, as far as it can be seen."""
    found = set()
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(link.readlink())
    return found


def freeze(pid: int) -> None:
    """Stop a process; return when each of its threads stands still. A signal is sent, not obeyed, when `os.kill` returns."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: _all_threads_are_stopped(pid))


def _all_threads_are_stopped(pid: int) -> bool:
    found = [_stat(int(thread)) for thread in os.listdir(f"/proc/{pid}/task")]
    return all(status is not None and status[0] == "T" for status in found)


def freeze_at_work(pids: Iterable[int], path: Path) -> int:
    """Stop the one of these workers that has the file open where it is: its job has begun and never goes on."""
    found: list[int] = []

    def is_open() -> bool:
        found[:] = [pid for pid in pids if path in open_files(pid)]
        return bool(found)

    eventually(is_open)
    freeze(found[0])
    return found[0]
