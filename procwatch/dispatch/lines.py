"""The fields of the lines about jobs: pure functions from values to what the log shows."""

from typing import Any

from procwatch.dispatch.job import Job
from procwatch.model import Rendered
from procwatch.pool.ports import Report

_DIGITS = 3  # of seconds: milliseconds are what a person can use


def about(job: Job) -> dict[str, Any]:
    """Return what every line about a job begins with."""
    return {"job": job.id, "inbox": job.inbox, "path": job.path}


def terminal(job: Job, recipe: str, report: Report | None) -> dict[str, Any]:
    """Return the fields that job.done and job.failed share; without a report no worker ran."""
    return {
        **about(job),
        "worker_pid": report.worker_pid if report else None,
        "slot": report.slot if report else None,
        "attempt": job.attempt,
        "recipe": recipe,
        "outputs": [],
        "bytes_in": job.fingerprint.size,
        "bytes_out": 0,
        "wait_s": round(max(job.started_s - job.queued_s, 0.0), _DIGITS) if report else None,
        "run_s": round(report.run_s, _DIGITS) if report else None,
    }


def done(job: Job, recipe: str, report: Report, rendered: Rendered) -> dict[str, Any]:
    """Return job.done but for the names, which publishing adds."""
    line = terminal(job, recipe, report)
    line["bytes_out"] = sum(staged.size for staged in rendered.renditions)
    line |= {"width": rendered.width, "height": rendered.height, "format": rendered.format}
    if rendered.frames > 1:
        line["frames"] = rendered.frames
    if rendered.notes:
        line["notes"] = dict(rendered.notes)
    return line


def failed(job: Job, recipe: str, report: Report | None, error: str, reason: str) -> dict[str, Any]:
    return {**terminal(job, recipe, report), "error": error, "reason": reason}
