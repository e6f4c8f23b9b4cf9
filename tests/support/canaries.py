"""A tree of files beside a site that nobody may read, write or move; and the proof that nobody did."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class CanaryTree:
    """`begin` makes it, `check` fails when anything about it changed. Reading shows in the access times."""

    root: Path

    def begin(self) -> dict[str, tuple[object, ...]]:
        for name in ("a.jpg", "secret.txt", "below/b.png", "below/deeper/c.webp"):
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(f"canary {name}".encode() * 50)
        (self.root / "link").symlink_to("secret.txt")
        os.mkfifo(self.root / "pipe")
        for where, folders, files in os.walk(self.root):
            for name in [*folders, *files]:
                # Before the time of the last change: any read moves it, also under relatime.
                os.utime(os.path.join(where, name), ns=(1, 2), follow_symlinks=False)
        os.utime(self.root, ns=(1, 2))
        return self.state()

    def state(self) -> dict[str, tuple[object, ...]]:
        """Return everything that can be told of each entry without opening anything."""
        found: dict[str, tuple[object, ...]] = {}
        paths = [self.root]
        for path in paths:
            status = path.lstat()
            found[str(path)] = (
                stat.filemode(status.st_mode), status.st_ino, status.st_nlink, status.st_uid, status.st_gid,
                status.st_size, status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns,
            )  # fmt: skip
            if stat.S_ISDIR(status.st_mode):
                before = (status.st_atime_ns, status.st_mtime_ns)
                paths += [path / name for name in sorted(os.listdir(path))]
                os.utime(path, ns=before)  # our own look must not count
                found[str(path)] = (*found[str(path)][:-1], path.lstat().st_nlink)
        return found

    def contents(self) -> dict[str, str]:
        """Return the digest of every regular file; this is a read."""
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.root.rglob("*"))
            if stat.S_ISREG(path.lstat().st_mode)
        }
