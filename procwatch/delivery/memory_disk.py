"""A disk in memory that records every effect and can lose its power after any of them."""

import copy
import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Self

from procwatch import faults
from procwatch.delivery.naming import MAX_COMPONENT_BYTES

_ROOT = 1
_START_NS = 1_750_000_000_000_000_000
_TICK_NS = 1_000_000  # every effect takes a millisecond, so that times differ and repeat from run to run
_KIND_BITS = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "symlink": stat.S_IFLNK}


@dataclass(slots=True)
class Node:
    kind: Literal["file", "dir", "symlink"]
    mode: int
    mtime_ns: int
    data: bytes = b""
    entries: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """The smallest step after which the power may fail. `text` is for people."""

    text: str
    kind: Literal["names", "content", "sync", "mark"]
    inodes: frozenset[int] = frozenset()
    changes: tuple[tuple[int, str, int | None], ...] = ()  # folder, name, what it names from now on
    content: tuple[bytes, int, int] = (b"", 0, 0)  # data, mode, mtime_ns
    durable: bool = False  # of itself, without a sync


class MemoryDisk:
    """Folders, files and links with a record of every effect, and `crash`.

    The model, after "All File Systems Are Not Created Equal" (Pillai et al., OSDI 2014): data, mode and times of
    a file survive when fsync_file came after them; a new, changed or removed name survives when fsync_dir of its
    folder came after it. A rename is one step, also between two folders: a sync of either keeps both ends (true of
    ext4, XFS, Btrfs, not of ext2), and with it every earlier step in those folders. A file whose name survived
    without its data is empty, as after delayed allocation. `crash` gives the four corners of what may survive.

    Not modelled: other mixtures of unsynced effects, writes torn in the middle (each write is whole or absent), disks
    that lie about a flush, space, permissions, symbolic links on the way to a file, more than one thread.
    """

    def __init__(
        self, mounts: Iterable[str] = (), *, nodes: dict[int, Node] | None = None, marks: tuple[str, ...] = ()
    ) -> None:
        """`mounts` are folders that lie on file systems of their own: renames into and out of them are EXDEV.

        `nodes` and `marks` are for `crash`.
        """
        self.effects: list[Effect] = []
        self.calls: list[tuple[str, ...]] = []  # method and paths, in the order of the calls
        self.marks = marks  # after a crash: those set before it
        self._mounts = tuple(sorted(mounts, key=len, reverse=True))
        self._nodes = nodes or {_ROOT: Node("dir", 0o755, 0)}
        self._born: dict[int, Node] = {}
        self._now_ns = _START_NS
        for mount in self._mounts:
            self.put_dir(mount)
        self.settle()

    # What a test does

    def put(self, path: str, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
        """Write a file as somebody else, with its folders; not `durable` is a writer that synced nothing."""
        self.put_dir(os.path.dirname(path))
        node = self._find(path)
        if node is None:
            node = self._create(path, "file", durable=durable)
        self._set_content(node, path, data=data, mode=mode, durable=durable)

    def put_dir(self, path: str) -> None:
        """Make a durable folder and its parents."""
        if self._find(path) is None:
            self.put_dir(os.path.dirname(path))
            self._create(path, "dir", durable=True)

    def put_symlink(self, target: str, path: str) -> None:
        node = self._create(path, "symlink", durable=True)
        self._set_content(node, path, data=os.fsencode(target), mode=0o777, durable=True)

    def put_link(self, src: str, dst: str) -> None:
        """Make a second, hard link."""
        folder, name = self._place(dst)
        self._change(f"link {src} {dst}", ((folder, name, self._get(src)),), durable=True)

    def settle(self) -> None:
        """Take all that is there as durable and start the record here."""
        self._base = copy.deepcopy(self._nodes)
        self.effects.clear()
        self.calls.clear()

    def mark(self, name: str) -> None:
        """Record that something else happened here, such as a commit, to see at which prefix it counts."""
        self._do(Effect(text=f"mark {name}", kind="mark"))

    def read(self, path: str) -> bytes:
        return self._nodes[self._get(path)].data

    def files(self, below: str = "/") -> dict[str, bytes]:
        """Return path → data of everything below a folder that is not a folder itself."""
        found: dict[str, bytes] = {}
        for name, inode in sorted(self._entries(below).items()):
            path, node = os.path.join(below, name), self._nodes[inode]
            found |= self.files(path) if node.kind == "dir" else {path: node.data}
        return found

    def crash(self, prefix: int, *, names: bool = False, data: bool = False) -> Self:
        """Return what a power cut after the first `prefix` effects leaves; this one stays as it is.

        By default everything unsynced is lost. `names`: unsynced names survive, without the data that was not
        synced either (what a journal does). `data`: the reverse. Both: the program was killed, nothing is lost.
        """
        past = self.effects[:prefix]
        synced = _synced(past)
        spared = {"names": names, "content": data}
        nodes = copy.deepcopy(self._born | self._base)
        for index, effect in enumerate(past):
            if index in synced or effect.durable or spared.get(effect.kind):
                _apply(nodes, effect)
        marks = tuple(effect.text.removeprefix("mark ") for effect in past if effect.kind == "mark")
        return type(self)(self._mounts, nodes=nodes, marks=marks)

    # For the subclass that puts operations on it

    def _do(self, effect: Effect) -> None:
        self.effects.append(effect)
        self._now_ns += _TICK_NS
        _apply(self._nodes, effect)

    def _change(
        self, text: str, changes: tuple[tuple[int, str, int | None], ...], *, durable: bool = False
    ) -> None:
        folders = frozenset(folder for folder, _, _ in changes)
        self._do(Effect(text=text, kind="names", inodes=folders, changes=changes, durable=durable))

    def _create(self, path: str, kind: Literal["file", "dir", "symlink"], *, durable: bool = False) -> int:
        folder, name = self._place(path)
        if name in self._nodes[folder].entries:
            raise os_error(errno.EEXIST, path)
        inode = max(self._nodes) + 1
        self._born[inode] = Node(kind, 0o700 if kind == "dir" else 0o600, self._now_ns)
        self._nodes[inode] = copy.deepcopy(self._born[inode])
        self._change(f"create {path}", ((folder, name, inode),), durable=durable)
        return inode

    def _set_content(
        self,
        inode: int,
        path: str,
        *,
        data: bytes | None = None,
        mode: int | None = None,
        mtime_ns: int | None = None,
        durable: bool = False,
    ) -> None:
        node = self._nodes[inode]
        if mtime_ns is None:
            mtime_ns = node.mtime_ns if data is None else self._now_ns
        content = (node.data if data is None else data, node.mode if mode is None else mode, mtime_ns)
        text = f"content {path}"
        self._do(
            Effect(text=text, kind="content", inodes=frozenset({inode}), content=content, durable=durable)
        )

    def _sync(self, point: str, path: str) -> None:
        faults.point(point)
        inodes = frozenset({self._get(path)})
        self._do(Effect(text=f"sync {path}", kind="sync", inodes=inodes))

    def _find(self, path: str) -> int | None:
        inode = _ROOT
        for name in filter(None, path.split("/")):
            found = self._nodes[inode].entries.get(name)
            if found is None:
                return None
            inode = found
        return inode

    def _get(self, path: str) -> int:
        inode = self._find(path)
        if inode is None:
            raise os_error(errno.ENOENT, path)
        return inode

    def _entries(self, path: str) -> dict[str, int]:
        node = self._nodes[self._get(path)]
        if node.kind != "dir":
            raise os_error(errno.ENOTDIR, path)
        return node.entries

    def _place(self, path: str) -> tuple[int, str]:
        folder, name = os.path.split(path)
        if len(os.fsencode(name)) > MAX_COMPONENT_BYTES:
            raise os_error(errno.ENAMETOOLONG, path)
        self._entries(folder)
        return self._get(folder), name

    def _device(self, path: str) -> int:
        for number, mount in enumerate(self._mounts, start=2):
            if path.startswith(mount.rstrip("/") + "/"):
                return number
        return 1

    def _status(self, inode: int, path: str) -> os.stat_result:
        node = self._nodes[inode]
        links = sum(list(n.entries.values()).count(inode) for n in self._nodes.values())
        seconds = node.mtime_ns // 10**9
        fields = (
            _KIND_BITS[node.kind] | node.mode,
            inode,
            self._device(path),
            links,
            0,
            0,
            len(node.data),
            *([seconds] * 3),
        )
        times = dict.fromkeys(("st_atime_ns", "st_mtime_ns", "st_ctime_ns"), node.mtime_ns)
        return os.stat_result(fields, times)


def _apply(nodes: dict[int, Node], effect: Effect) -> None:
    for folder, name, inode in effect.changes:
        if inode is None:
            nodes[folder].entries.pop(name, None)
        else:
            nodes[folder].entries[name] = inode
    if effect.kind == "content":
        for inode in effect.inodes:
            nodes[inode].data, nodes[inode].mode, nodes[inode].mtime_ns = effect.content


def _synced(effects: list[Effect]) -> set[int]:
    """Return the indexes of the effects that a later sync made durable."""
    pending: list[int] = []
    synced: set[int] = set()
    for index, effect in enumerate(effects):
        if effect.kind != "sync":
            pending.append(index)
            continue
        inodes = set(effect.inodes)
        for earlier in reversed(pending):
            candidate = effects[earlier]
            if candidate.kind != "mark" and inodes & candidate.inodes:
                synced.add(earlier)
                if candidate.kind == "names":
                    inodes |= candidate.inodes
        pending = [earlier for earlier in pending if earlier not in synced]
    return synced


def os_error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
