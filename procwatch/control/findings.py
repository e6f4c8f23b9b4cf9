"""What an audit can find, as values: each kind with its meaning, and whether it makes the audit fail."""

from dataclasses import asdict, dataclass, field
from typing import Any, Final

#: kind → what it means. Any of these makes `procwatch audit` exit with 1.
DIFFERENCES: Final[dict[str, str]] = {
    "rendition-missing": "a published output is not in the outbox any more",
    "rendition-changed": "a published output has not the size that was published",
    "archive-missing": "the archived original is not in the archive",
    "archive-changed": "the archived original has not the size that was archived",
    "error-file-missing": "a failed file has no error file beside it",
    "error-file-alone": "an error file has no file that it is about",
    "job-without-file": "a job is open, but its file is not in the inbox",
    "staging-leftover": "files in staging that no job will publish",
    "temp-leftover": "a file that a crash left on its way to its name",
    "folder-missing": "a folder of the inbox is not there",
    "ledger-unreadable": "the ledger cannot be read",
}
#: kind → what it means. These are only told.
NOTES: Final[dict[str, str]] = {
    "waiting": "a file in the inbox that has no job yet",
    "in-work": "a job is under way, or waits to be tried again",
    "folder-to-come": "a folder of the inbox that is made when the first job needs it",
    "interrupted": "a job was waiting or under way when the daemon ended; the next start goes on with it",
    "not-disposed": "the job is over, its original still lies in the inbox; the next start moves it",
    "stuck": "done, but procwatch may not remove the original from the inbox",
    "original-removed": "somebody removed an original that was to be kept",
    "failed-removed": "somebody removed a failed file together with its error file",
    "unowned": "a file in the outbox that procwatch did not make",
    "inbox-unconfigured": "the ledger has jobs of an inbox that the configuration does not have",
}


#: Notes of one kind that are kept; beyond it they are only counted, for a million files may be waiting.
NOTES_KEPT: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that an audit found. `path` is relative to the folder that the kind is about."""

    kind: str
    inbox: str
    path: str
    job: str | None = None
    detail: str = ""

    @property
    def is_difference(self) -> bool:
        return self.kind in DIFFERENCES


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderSize:
    """How much lies in one folder of an inbox."""

    inbox: str
    folder: str  # inbox, outbox, archive, failed or staging
    path: str
    files: int
    bytes: int


@dataclass(kw_only=True, slots=True)
class AuditReport:
    """The result of one audit."""

    live: bool
    differences: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    note_counts: dict[str, int] = field(default_factory=dict)
    folders: list[FolderSize] = field(default_factory=list)
    ledger_bytes: int = 0
    jobs: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        if finding.is_difference:
            self.differences.append(finding)
            return
        count = self.note_counts.get(finding.kind, 0) + 1
        self.note_counts[finding.kind] = count
        if count <= NOTES_KEPT:
            self.notes.append(finding)

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": not self.differences,
            "daemon_running": self.live,
            "differences": [asdict(finding) for finding in self.differences],
            "notes": [asdict(finding) for finding in self.notes],
            "note_counts": self.note_counts,
            "folders": [asdict(folder) for folder in self.folders],
            "ledger_bytes": self.ledger_bytes,
            "jobs": self.jobs,
        }
