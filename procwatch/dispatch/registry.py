"""Every job in memory, by id and by path, and the counts that status and the summary show. Loop thread only."""

from collections import Counter
from collections.abc import Container, Mapping
from typing import Any

from procwatch.dispatch.job import Job
from procwatch.dispatch.tally import Tally


class Registry:
    """Who is in work. A path has at most one job."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._by_path: dict[tuple[str, str], Job] = {}
        self._returning: dict[tuple[str, str], Job] = {}
        self._why: dict[str, str] = {}  # job → why it is set aside
        self._ended: set[str] = set()  # jobs in memory that have their outcome
        self.done = 0
        self.failed = 0
        self.by_pid: Counter[int] = Counter()
        self.tally = Tally()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> None:
        self._jobs[job.id] = job
        self._by_path[job.inbox, job.path] = job

    def remove(self, job: Job) -> None:
        self._jobs.pop(job.id, None)
        self._ended.discard(job.id)
        if self._by_path.get((job.inbox, job.path)) is job:
            del self._by_path[job.inbox, job.path]

    def get(self, job: str) -> Job | None:
        return self._jobs.get(job)

    def at(self, inbox: str, path: str) -> Job | None:
        return self._by_path.get((inbox, path))

    def set_aside(self, job: Job, why: str = "") -> None:
        """The job's file has to settle again; when it is ready the job goes on with its id and attempts."""
        self.remove(job)
        self._why[job.id] = why
        self._returning[job.inbox, job.path] = job

    def take_back(self, inbox: str, path: str) -> Job | None:
        job = self._returning.pop((inbox, path), None)
        if job is not None:
            self._why.pop(job.id, None)
        return job

    def drop_returning(self, inbox: str) -> None:
        """Forget the jobs of an inbox that are set aside: whoever serves it next asks the ledger."""
        for where in [where for where in self._returning if where[0] == inbox]:
            self._why.pop(self._returning.pop(where).id, None)

    def aside(self, inbox: str, path: str) -> tuple[Job, str] | None:
        """Return the job that is set aside for its file to settle, and why."""
        job = self._returning.get((inbox, path))
        return None if job is None else (job, self._why.get(job.id, ""))

    @property
    def returning(self) -> int:
        return len(self._returning)

    def retrying(self, inbox: str, settling: Container[str]) -> int:
        """Return how many jobs of the inbox wait to run again, but for those whose file is settling meanwhile."""
        return sum(where == inbox and path not in settling for where, path in self._returning)

    @property
    def unended(self) -> int:
        """Jobs in work whose outcome is open; the rest only wait for their original to be disposed of."""
        return len(self._jobs) - len(self._ended)

    def end(self, job: str) -> None:
        """The job has its outcome; only its original may still be in the inbox."""
        self._ended.add(job)

    def has_ended(self, job: str) -> bool:
        return job in self._ended

    def count_done(self, worker_pid: int | None, inbox: str) -> None:
        self.done += 1
        self.tally.count_done(inbox)
        if worker_pid is not None:
            self.by_pid[worker_pid] += 1

    def count_failed(self, line: Mapping[str, Any]) -> None:
        """Take the fields of the terminal log line."""
        self.failed += 1
        self.tally.count_failed(line)

    def jobs(self) -> list[Job]:
        return list(self._jobs.values())
