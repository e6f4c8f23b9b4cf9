"""Folders and a ledger as a daemon leaves them, made without a daemon: for tests of the commands that look at them."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from procwatch.delivery.naming import collision_key
from procwatch.dispatch.ledger import Ledger
from procwatch.dispatch.ledger_reader import Rendition
from procwatch.model import Identity, InboxSpec, Original
from procwatch.settings.load import zero_config


@dataclass(kw_only=True)
class Site:
    """One zero-config site. Each method plays one part of what a daemon does."""

    root: Path
    count: int = field(default=0)

    def __post_init__(self) -> None:
        for name in ("inbox", "outbox", "archive", "failed", ".procwatch"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.spec: InboxSpec = zero_config(str(self.root)).inboxes[0]
        self.ledger_path = str(self.root / ".procwatch" / "ledger.sqlite")
        self.ledger = Ledger.open(self.ledger_path)
        self.ledger.begin_run("boot", 1)

    def started(self, path: str, content: bytes = b"original", recipe_hash: str = "hash") -> str:
        """A file is in the inbox and its job is running; return the job's id."""
        self.count += 1
        job = f"{self.count:018x}"
        file = self.root / "inbox" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        self.ledger.start_attempt(
            job, self.identity(path), recipe="web", recipe_hash=recipe_hash, attempt=1, queued_at=1.0
        )
        return job

    def identity(self, path: str) -> Identity:
        status = os.stat(self.root / "inbox" / path)
        return Identity(inbox="inbox", path=path, size=status.st_size, mtime_ns=status.st_mtime_ns)

    def published(self, path: str, recipe_hash: str = "hash") -> str:
        """The job is done; its original is still in the inbox."""
        job = self.started(path, recipe_hash=recipe_hash)
        stem = path.rpartition(".")[0]
        renditions = [self._rendition(job, output, f"{stem}-{output}.jpg") for output in ("web", "thumb")]
        self.ledger.publishing(
            job, self.identity(path), renditions, line="{}", sha256="0" * 64, overwrite=False
        )
        self.ledger.done(job, worker_pid=4102)
        return job

    def _rendition(self, job: str, output: str, name: str) -> Rendition:
        file = self.root / "outbox" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(output.encode())
        return Rendition(
            output=output,
            outbox=self.spec.outbox,
            name=name,
            key=collision_key(name),
            staged=f"{self.spec.outbox}/.procwatch-staging/slot-1/{job}.1.0.jpg",
            inode=file.stat().st_ino,
            size=len(output),
            replace=False,
        )

    def done(self, path: str) -> str:
        """The job is done and its original archived."""
        job = self.published(path)
        target = self.root / "archive" / path
        self._move(self.root / "inbox" / path, target)
        self.ledger.disposed(job, Original.ARCHIVED, str(target))
        return job

    def kept(self, path: str, recipe_hash: str = "hash") -> str:
        job = self.published(path, recipe_hash)
        self.ledger.disposed(job, Original.KEPT, None)
        return job

    def failed(
        self, path: str, error: str = "truncated", reason: str = "the file ends before the picture"
    ) -> str:
        """The job failed; its file and its error file are in the failed folder."""
        job = self.started(path)
        self.ledger.failed(job, error=error, reason=reason, line="{}", worker_pid=4102)
        target = self.root / "failed" / path
        self._move(self.root / "inbox" / path, target)
        self.write_report(path, job, error, reason)
        self.ledger.disposed(job, Original.FAILED, str(target))
        return job

    def write_report(self, path: str, job: str, error: str, reason: str) -> None:
        report = {"job": job, "inbox": "inbox", "path": path, "code": error, "reason": reason, "attempt": 1}
        (self.root / "failed" / f"{path}.error.json").write_text(json.dumps(report))

    def blocked(self, path: str) -> str:
        """The file can be neither read nor moved: it stays, and its error file says why."""
        job = self.started(path)
        self.ledger.failed(job, error="not-readable", reason="may not read it", line="{}", worker_pid=None)
        self.ledger.disposed(job, Original.BLOCKED, None)
        self.write_report(path, job, "not-readable", "may not read it")
        return job

    def _move(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)

    def close(self) -> None:
        """End as a daemon that stops in order does."""
        self.ledger.end_run()
        self.ledger.close()
