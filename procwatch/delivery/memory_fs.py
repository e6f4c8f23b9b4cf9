"""FsOps in memory: what RealFs does, on a disk that can lose its power."""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager

from procwatch import faults
from procwatch.delivery.fsops import TEMP_PREFIX, Folders, NotDurableError, NotPlainFileError
from procwatch.delivery.memory_disk import MemoryDisk, Node, os_error


class _MemoryFolders:
    """Implements Folders without keeping anything."""

    def __init__(self, fs: "MemoryFs", root: str) -> None:
        self._fs, self._root = fs, root

    def beneath(self, path: str) -> AbstractContextManager[str | None]:
        return self._fs.beneath(self._root, path)

    def forget(self, path: str) -> bool:
        return False


class MemoryFs(MemoryDisk):
    """The port on a MemoryDisk, whose docstring says what is modelled and what is not.

    Every method passes the fault points of RealFs, so `faults.arm("fs.rename:1:ENOSPC")` works here too.
    """

    @contextlib.contextmanager
    def beneath(self, root: str, path: str) -> Iterator[str | None]:
        whole = os.path.join(root, path)
        yield whole if self._find(os.path.dirname(whole)) is not None else None

    @contextlib.contextmanager
    def folders(self, root: str) -> Iterator[Folders]:
        yield _MemoryFolders(self, root)

    def make_dirs(self, path: str, mode: int) -> list[str]:
        self.calls.append(("make_dirs", path))
        made: list[str] = []
        missing = path
        while self._find(missing) is None:
            made.insert(0, missing)
            missing = os.path.dirname(missing)
        if self._nodes[self._get(missing)].kind != "dir":
            raise os_error(errno.EEXIST, missing)
        for folder in made:
            faults.point("fs.mkdir")
            inode = self._create(folder, "dir")
            self._set_content(inode, folder, mode=mode)
        return made

    def rename_noreplace(self, src: str, dst: str) -> None:
        self.calls.append(("rename_noreplace", src, dst))
        self._rename_noreplace(src, dst)

    def rename_replace(self, src: str, dst: str) -> None:
        self.calls.append(("rename_replace", src, dst))
        faults.point("fs.replace")
        there = self._find(dst)
        if there is not None and self._nodes[there].kind == "dir":
            raise os_error(errno.EISDIR, dst)
        self._rename(src, dst)

    def move_noreplace(self, src: str, dst: str) -> bool:
        self.calls.append(("move_noreplace", src, dst))
        if self._device(src) == self._device(dst):
            self._rename_noreplace(src, dst)
            return True
        node = self._nodes[self._get(src)]
        if node.kind != "file":
            raise NotPlainFileError(f"only a regular file can go to another file system: {src!a}")
        there = self._nodes.get(self._find(dst) or 0)
        if there is None:
            self._copy(node, src, dst)
        elif (there.kind, there.data, there.mtime_ns) != ("file", node.data, node.mtime_ns):
            raise os_error(errno.EEXIST, dst)
        self._sync("fs.fsync_dir", os.path.dirname(dst))
        self._unlink(src)
        return False

    def seal(self, path: str, mode: int) -> os.stat_result:
        self.calls.append(("seal", path))
        inode = self._get(path)
        status = self._status(inode, path)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise NotPlainFileError(f"not a regular file with one link: {path!a}")
        faults.point("fs.set_mode")
        if stat.S_IMODE(status.st_mode) != mode:
            self._set_content(inode, path, mode=mode)
        try:
            self._sync("fs.fsync_file", path)
        except OSError as error:
            raise NotDurableError(error.errno, error.strerror, path) from error
        return status

    def fsync_file(self, path: str) -> None:
        """Play somebody who makes a file durable; not of the port."""
        self.calls.append(("fsync_file", path))
        self._sync("fs.fsync_file", path)

    def fsync_dir(self, path: str) -> None:
        self.calls.append(("fsync_dir", path))
        self._entries(path)
        self._sync("fs.fsync_dir", path)

    def unlink(self, path: str, missing_ok: bool = False) -> None:
        self.calls.append(("unlink", path))
        if self._find(path) is None and missing_ok:
            faults.point("fs.unlink")
            return
        self._unlink(path)

    def rmdir(self, path: str) -> None:
        self.calls.append(("rmdir", path))
        faults.point("fs.rmdir")
        if self._entries(path):
            raise os_error(errno.ENOTEMPTY, path)
        self._change(f"rmdir {path}", ((*self._place(path), None),))

    def write_file(self, path: str, data: bytes, mode: int) -> None:
        self.calls.append(("write_file", path))
        faults.point("fs.write")
        temp = self._temp(os.path.dirname(path), os.fsencode(path))
        inode = self._create(temp, "file")
        try:
            self._set_content(inode, temp, data=data, mode=mode)
            self._sync("fs.fsync_file", temp)
            faults.point("fs.replace")
            self._rename(temp, path)
        except OSError:
            self._change(f"unlink {temp}", ((*self._place(temp), None),))
            raise

    def read_file(self, path: str, limit_bytes: int) -> bytes:
        return self.read(path)[:limit_bytes]

    def same_bytes(self, one: str, other: str) -> bool:
        first, second = (self._nodes.get(self._find(path) or 0) for path in (one, other))
        if first is None or second is None:
            return False
        return (first.kind, first.data) == ("file", second.data) and second.kind == "file"

    def lstat(self, path: str) -> os.stat_result | None:
        inode = self._find(path)
        return None if inode is None else self._status(inode, path)

    def list_dir(self, path: str) -> list[str]:
        return sorted(self._entries(path))

    def remove_tree(self, path: str) -> None:
        self.calls.append(("remove_tree", path))
        faults.point("fs.remove_tree")
        if self._find(path) is not None:
            self._remove_tree(path)

    def _rename_noreplace(self, src: str, dst: str) -> None:
        faults.point("fs.rename")
        self._get(src)
        if self._find(dst) is not None:
            raise os_error(errno.EEXIST, dst)
        self._rename(src, dst)

    def _rename(self, src: str, dst: str) -> None:
        if self._device(src) != self._device(dst):
            raise os_error(errno.EXDEV, dst)
        inode = self._get(src)
        if inode != self._find(dst):
            changes = ((*self._place(src), None), (*self._place(dst), inode))
            self._change(f"rename {src} {dst}", changes)

    def _copy(self, node: Node, src: str, dst: str) -> None:
        faults.point("fs.copy")
        temp = self._temp(os.path.dirname(dst), os.fsencode(dst))
        inode = self._create(temp, "file")
        try:
            self._set_content(inode, temp, data=node.data, mode=node.mode, mtime_ns=node.mtime_ns)
            self._sync("fs.fsync_file", temp)
            self._rename_noreplace(temp, dst)
        except OSError:
            self._change(f"unlink {temp}", ((*self._place(temp), None),))
            raise

    def _unlink(self, path: str) -> None:
        faults.point("fs.unlink")
        if self._nodes[self._get(path)].kind == "dir":
            raise os_error(errno.EISDIR, path)
        self._change(f"unlink {path}", ((*self._place(path), None),))

    def _remove_tree(self, path: str) -> None:
        node = self._nodes[self._get(path)]
        for name in sorted(node.entries):
            self._remove_tree(os.path.join(path, name))
        self._change(f"remove {path}", ((*self._place(path), None),))

    def _temp(self, folder: str, *work: bytes) -> str:
        temp = os.path.join(folder, TEMP_PREFIX + hashlib.sha256(b"\0".join(work)).hexdigest()[:16])
        if self._find(temp) is not None:
            self._change(f"unlink {temp}", ((*self._place(temp), None),))
        return temp
