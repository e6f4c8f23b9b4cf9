"""Mounts that nobody else sees, small disks that fill up, and limits of inotify that hold for one program only."""

import contextlib
import ctypes
import fcntl
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_CLONE_NEWNS = 0x00020000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000


def _run(*command: str | Path) -> None:
    subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)


@functools.cache
def _why_no_mounts() -> str:
    """Give this thread, and what it starts, a mount namespace of its own; return why that is impossible, or ""."""
    if os.geteuid() != 0:
        return "mounting takes root: run the tests as root or under `unshare -Urm`"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) or libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None):
        return f"no mount namespace: {os.strerror(ctypes.get_errno())}"
    return ""


def need_mounts() -> None:
    """Skip the test where nothing may be mounted. What is mounted is seen by this process and its children only."""
    why = _why_no_mounts()
    if why:
        pytest.skip(why)


@contextlib.contextmanager
def tmpfs(folder: Path, size: str = "1m") -> Iterator[Path]:
    """Mount a small file system in memory over `folder`; it is gone afterwards, whoever still uses it."""
    need_mounts()
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        detach(folder)


@contextlib.contextmanager
def bind(source: Path, folder: Path) -> Iterator[Path]:
    """Mount `source` over `folder`."""
    need_mounts()
    _run("mount", "--bind", source, folder)
    try:
        yield folder
    finally:
        detach(folder)


def detach(folder: Path) -> None:
    """Unmount, also while it is in use; nothing happens when nothing is mounted there."""
    subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


def remount(folder: Path, options: str) -> None:
    _run("mount", "-o", f"remount,{options}", folder)


def fill(folder: Path, keep_bytes: int = 0) -> Path:
    """Leave no more than `keep_bytes` free on the disk of `folder`; remove the returned file to make room again."""
    ballast = folder / ".ballast"
    status = os.statvfs(folder)
    count = max(status.f_bavail * status.f_frsize - keep_bytes, 0)
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while count > 0:
            count -= file.write(bytes(min(count, 65536)))
        while not keep_bytes:
            file.write(bytes(512))
    return ballast


def inotify_limits(*, watches: int | None = None, instances: int | None = None) -> tuple[str, ...]:
    """Return a command prefix under which a program has these limits: those of a user namespace of its own."""
    wanted = {"max_inotify_watches": watches, "max_inotify_instances": instances}
    steps = [f"echo {value} > /proc/sys/user/{name}" for name, value in wanted.items() if value is not None]
    prefix = ("unshare", "--user", "--map-root-user", "sh", "-ec")
    if shutil.which("unshare") is None:
        pytest.skip("unshare (util-linux) is not here")
    tried = subprocess.run([*prefix, "; ".join(steps)], check=False, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no user namespace of our own: {tried.stderr.strip()}")
    return (*prefix, f'{"; ".join(steps)}; exec "$@"', "limited")


#: How many events an inotify instance holds: one setting for the machine, taken over when the instance is made.
_QUEUED_EVENTS = Path("/proc/sys/fs/inotify/max_queued_events")


@contextlib.contextmanager
def event_queue_length() -> Iterator[int]:
    """Yield how many events inotify instances made in this block hold; no other test changes that meanwhile."""
    with _QUEUED_EVENTS.open() as setting:
        fcntl.flock(setting, fcntl.LOCK_SH)
        yield int(setting.read())


@contextlib.contextmanager
def short_event_queue(events: int) -> Iterator[None]:
    """Let inotify instances made in this block hold few events only; skip where that may not be set."""
    with _QUEUED_EVENTS.open() as setting:
        fcntl.flock(setting, fcntl.LOCK_EX)
        before = setting.read()
        try:
            _QUEUED_EVENTS.write_text(str(events))
        except OSError as error:
            pytest.skip(f"max_queued_events cannot be lowered: {error.strerror}")
        try:
            yield
        finally:
            _QUEUED_EVENTS.write_text(before)
