"""A tree of files beside a site that nobody may read, write or move; and the proof that nobody did."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

#: path:field → value, of everything that can be told of an entry without opening it.
State = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class CanaryTree:
    """`begin` makes it; `changes` compares. Reading shows in the access times."""

    root: Path

    def begin(self) -> State:
        for name in ("a.jpg", "secret.txt", "below/b.png", "below/deeper/c.webp"):
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(f"canary {name}".encode() * 50)
        (self.root / "link").symlink_to("secret.txt")
        os.mkfifo(self.root / "pipe")
        return self.arm()

    def arm(self) -> State:
        """Set all access times before those of the last change: then any read moves them, also under relatime."""
        for where, folders, files in os.walk(self.root):
            for name in [*folders, *files]:
                os.utime(os.path.join(where, name), ns=(1, 2), follow_symlinks=False)
        os.utime(self.root, ns=(1, 2))
        return self.state()

    def state(self) -> State:
        found: State = {}
        folders = [self.root]
        for folder in folders:
            found |= _about(folder, folder.lstat(), is_folder=True)
            times = (folder.lstat().st_atime_ns, folder.lstat().st_mtime_ns)
            for path in sorted(folder.iterdir()):
                if stat.S_ISDIR(path.lstat().st_mode):
                    folders.append(path)
                else:
                    found |= _about(path, path.lstat(), is_folder=False)
            os.utime(folder, ns=times)  # our own look must not count
        return found

    def changes(self, before: State, *, listed: bool = False) -> list[str]:
        """Return what is not as it was, in words; empty when all is. `listed`: names may have been looked at."""
        after = self.state()
        if listed:
            unread = [f"{path}: read" for path in (*self.folders(), self.root / "link")]
            before, after = (
                {key: told[key] for key in told if key not in unread} for told in (before, after)
            )
        return [
            f"{key}: {before.get(key)} became {after.get(key)}"
            for key in sorted(before.keys() | after.keys())
            if before.get(key) != after.get(key)
        ]

    def folders(self) -> list[Path]:
        return [self.root, self.root / "below", self.root / "below/deeper"]

    def contents(self) -> dict[str, str]:
        """Return the digest of every regular file; this is a read."""
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.root.rglob("*"))
            if stat.S_ISREG(path.lstat().st_mode)
        }


def _about(path: Path, status: os.stat_result, *, is_folder: bool) -> State:
    told: State = {
        "mode": stat.filemode(status.st_mode),
        "inode": status.st_ino,
        "links": status.st_nlink,
        "owner": (status.st_uid, status.st_gid),
        "read": status.st_atime_ns,
        "written": status.st_mtime_ns,
    }
    if not is_folder:  # of folders our own look changes both
        told |= {"size": status.st_size, "changed": status.st_ctime_ns}
    return {f"{path}: {field}": value for field, value in told.items()}
