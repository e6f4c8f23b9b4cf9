"""A file system that hangs when it is told to: FUSE spoken without any library, over a folder that never hangs.

What is written into the folder behind it shows on the mount. SIGSTOP to the server is a file server that does not
answer any more; SIGCONT brings it back. After SIGUSR1 it takes every request and answers none until SIGUSR2: the kernel
then does not even let those die who wait (fs/fuse/dev.c, request_wait_answer), as behind some dead disks. Run as a program it serves until it is killed. Layouts: linux/fuse.h, 7.31.

FLUSH is not served: closing a file that was only read asks an NFS server nothing, while the kernel makes even a killed
process wait for a FUSE server's answer to it.
"""

import contextlib
import ctypes
import errno
import os
import signal
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import namespaces, processes
from tests.support.waiting import eventually

_MAX_WRITE = 131072
_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_ATTR = struct.Struct("<QQQQQQIIIIIIIIII")


class Server:
    """Answers the kernel's requests, one after the other. A node is a path below the folder behind."""

    def __init__(self, folder: bytes, device: int) -> None:
        self.folder = folder
        self.device = device
        self.paths: dict[int, bytes] = {1: b""}
        self.is_silent = False
        self.kept: list[bytes] = []  # requests that wait for their answer
        self.handlers: dict[int, Callable[[int, bytes], bytes]] = {
            1: self.lookup,
            3: self.getattr,
            4: self.setattr,
            9: self.mkdir,
            10: self.unlink,
            11: self.rmdir,
            12: lambda node, body: self.rename(node, body[:8], body[8:]),
            14: self.open,
            15: self.read,
            16: self.write,
            17: self.statfs,
            18: self.release,
            20: self.fsync,
            26: self.init,
            27: lambda node, body: struct.pack("<QII", 0, 0, 0),
            28: self.readdir,
            29: lambda node, body: b"",
            30: lambda node, body: b"",
            35: self.create,
            45: lambda node, body: self.rename(node, body[:8], body[16:]),
        }

    def listen(self) -> None:
        """Obey signals."""
        signal.signal(signal.SIGUSR1, lambda *_: self.fall_silent())
        signal.signal(signal.SIGUSR2, lambda *_: self.speak())

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self.device, _MAX_WRITE + 4096)
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                continue
            if self.is_silent:
                self.kept.append(request)
            else:
                self.answer(request)

    def fall_silent(self) -> None:
        self.is_silent = True

    def speak(self) -> None:
        self.is_silent = False
        while self.kept:
            self.answer(self.kept.pop(0))

    def answer(self, request: bytes) -> None:
        _, code, unique, node, *_ = _IN.unpack_from(request)
        if code in {2, 36, 42}:  # forget, interrupt: no answer is wanted
            return
        answer, number = b"", 0
        try:
            answer = self.handlers[code](node, request[_IN.size :])
        except KeyError:
            number = errno.ENOSYS
        except OSError as error:
            number = error.errno or errno.EIO
        with contextlib.suppress(OSError):  # the asker is gone
            os.write(self.device, _OUT.pack(_OUT.size + len(answer), -number, unique) + answer)

    def real(self, node: int, name: bytes = b"") -> bytes:
        return (
            os.path.join(self.folder, self.paths[node], name)
            if name
            else self.folder + b"/" + self.paths[node]
        )

    def node_of(self, parent: int, name: bytes) -> int:
        path = os.path.join(self.paths[parent], name)
        found = next((node for node, known in self.paths.items() if known == path), 0)
        if not found:
            found = max(self.paths) + 1
            self.paths[found] = path
        return found

    def attr(self, path: bytes) -> bytes:
        s = os.lstat(path)
        times = [divmod(ns, 10**9) for ns in (s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns)]
        seconds, fractions = [t[0] for t in times], [t[1] for t in times]
        rest = (s.st_mode, s.st_nlink, s.st_uid, s.st_gid, 0, 4096, 0)
        return _ATTR.pack(s.st_ino, s.st_size, s.st_blocks, *seconds, *fractions, *rest)

    def entry(self, parent: int, name: bytes) -> bytes:
        attr = self.attr(self.real(parent, name))
        return struct.pack("<QQQQII", self.node_of(parent, name), 0, 0, 0, 0, 0) + attr

    def init(self, node: int, body: bytes) -> bytes:
        return struct.pack("<IIIIHHIIHHI7I", 7, 31, 65536, 0, 16, 12, _MAX_WRITE, 1, 0, 0, 0, *[0] * 7)

    def lookup(self, node: int, body: bytes) -> bytes:
        return self.entry(node, body.rstrip(b"\0"))

    def getattr(self, node: int, body: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + self.attr(self.real(node))

    def setattr(self, node: int, body: bytes) -> bytes:
        valid, _, _, size, _, atime, mtime, _, atime_ns, mtime_ns, _, mode, _, uid, gid, _ = struct.unpack(
            "<IIQQQQQQIIIIIIII", body[:88]
        )
        path = self.real(node)
        if valid & 1:
            os.chmod(path, stat.S_IMODE(mode))
        if valid & 6:
            os.chown(path, uid if valid & 2 else -1, gid if valid & 4 else -1)
        if valid & 8:
            os.truncate(path, size)
        if valid & (16 | 32):
            now = time.time_ns()
            asked = atime * 10**9 + atime_ns, mtime * 10**9 + mtime_ns
            os.utime(path, ns=(now if valid & 128 else asked[0], now if valid & 256 else asked[1]))
        return self.getattr(node, b"")

    def mkdir(self, node: int, body: bytes) -> bytes:
        mode, _ = struct.unpack_from("<II", body)
        name = body[8:].rstrip(b"\0")
        os.mkdir(self.real(node, name), mode)
        return self.entry(node, name)

    def unlink(self, node: int, body: bytes) -> bytes:
        os.unlink(self.real(node, body.rstrip(b"\0")))
        return b""

    def rmdir(self, node: int, body: bytes) -> bytes:
        os.rmdir(self.real(node, body.rstrip(b"\0")))
        return b""

    def rename(self, node: int, target: bytes, names: bytes) -> bytes:
        (new_parent,) = struct.unpack("<Q", target)
        old, new = names.rstrip(b"\0").split(b"\0")
        os.rename(self.real(node, old), self.real(new_parent, new))
        moved = self.node_of(node, old)
        self.paths[moved] = os.path.join(self.paths[new_parent], new)
        return b""

    def open(self, node: int, body: bytes) -> bytes:
        (flags,) = struct.unpack_from("<I", body)
        wanted = flags & (os.O_ACCMODE | os.O_TRUNC | os.O_APPEND)
        return struct.pack("<QII", os.open(self.real(node), wanted), 0, 0)

    def create(self, node: int, body: bytes) -> bytes:
        flags, mode, _, _ = struct.unpack_from("<IIII", body)
        name = body[16:].rstrip(b"\0")
        handle = os.open(self.real(node, name), (flags & ~os.O_NOFOLLOW) | os.O_CREAT, mode)
        return self.entry(node, name) + struct.pack("<QII", handle, 0, 0)

    def read(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(handle, size, offset)

    def write(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", os.pwrite(handle, body[40 : 40 + size], offset), 0)

    def release(self, node: int, body: bytes) -> bytes:
        os.close(struct.unpack_from("<Q", body)[0])
        return b""

    def fsync(self, node: int, body: bytes) -> bytes:
        os.fsync(struct.unpack_from("<Q", body)[0])
        return b""

    def statfs(self, node: int, body: bytes) -> bytes:
        s = os.statvfs(self.folder)
        counts = (s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree)
        return struct.pack("<QQQQQIIII6I", *counts, s.f_bsize, 255, s.f_frsize, 0, *[0] * 6)

    def readdir(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        answer = b""
        for number, name in enumerate([b".", b"..", *sorted(os.listdir(self.real(node)))]):
            if number < offset:
                continue
            kind = stat.S_IFMT(os.lstat(os.path.join(self.real(node), name)).st_mode) >> 12
            entry = struct.pack("<QQII", number + 1, number + 1, len(name), kind) + name
            entry += bytes(-len(entry) % 8)
            if len(answer) + len(entry) > size:
                break
            answer += entry
        return answer


class Frozen:
    """The mount as a test sees it."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def freeze(self, *, unkillable: bool = False) -> None:
        """From now on nothing that is asked of the file system is answered. `unkillable`: who waits cannot even be killed."""
        if unkillable:
            os.kill(self._process.pid, signal.SIGUSR1)
            return
        processes.freeze(self._process.pid)

    def thaw(self) -> None:
        for number in (signal.SIGCONT, signal.SIGUSR2):
            os.kill(self._process.pid, number)


@contextlib.contextmanager
def frozen_fs(folder: Path, mount_point: Path) -> Iterator[Frozen]:
    """Show `folder` at `mount_point` through a file system that can be frozen; skip where FUSE may not be used."""
    namespaces.need_mounts()
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("no /dev/fuse that we may open")
    for path in (folder, mount_point):
        path.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.frozen_fs", folder, mount_point],
        cwd=root,
        env={key: value for key, value in os.environ.items() if not key.startswith("PROCWATCH")},
    )
    try:
        eventually(lambda: process.poll() is not None or os.path.ismount(mount_point))
        if process.poll() is not None:
            pytest.skip(f"FUSE cannot be mounted here (exit {process.returncode})")
        yield Frozen(process)
    finally:
        process.kill()  # ends every wait for it with ENOTCONN
        process.wait(10)
        namespaces.detach(mount_point)


def main(folder: str, mount_point: str) -> None:
    """Mount and serve."""
    device = os.open("/dev/fuse", os.O_RDWR)
    server = Server(os.fsencode(folder), device)
    server.listen()
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"frozen", os.fsencode(mount_point), b"fuse.frozen", 0, options.encode()):
        sys.exit(os.strerror(ctypes.get_errno()))
    server.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
