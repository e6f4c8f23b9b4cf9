"""Trouble of the output side and of the ledger: the inbox pauses, tries again ever less often, and goes on by itself.

Nobody in the inbox is to blame for a full disk, so nothing is charged. Loop thread only.
"""

import errno
import os
from collections.abc import Callable
from typing import Final

from structlog.typing import FilteringBoundLogger

from procwatch.dispatch.finishing import Order
from procwatch.dispatch.inbox_runtime import InboxRuntime
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.orders import Disposal, Stage, destination
from procwatch.dispatch.registry import Registry
from procwatch.dispatch.retry import PAUSE_MAX_S, pause_s
from procwatch.model import InboxSpec

#: What only writing meets.
_NO_WRITING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class Trouble:
    """What refuses, for each inbox, and when it is tried again. The figures are the runtime's own."""

    def __init__(
        self,
        *,
        loop: Loop,
        registry: Registry,
        log: FilteringBoundLogger,
        pause: Callable[[InboxRuntime], None],
        resume: Callable[[InboxRuntime], None],
        again: Callable[[InboxRuntime, Order], None],
    ) -> None:
        """Take what pauses and resumes the start of jobs, and what has one order carried out again."""
        self._loop = loop
        self._registry = registry
        self._log = log
        self._pause = pause
        self._resume = resume
        self._again = again

    def met(
        self, runtime: InboxRuntime, stage: Stage, error: OSError, *, disposal: Disposal | None = None
    ) -> None:
        """Something refused: start no job of the inbox until it is tried again, each time after a longer wait."""
        name = errno.errorcode.get(error.errno or 0, "error")
        reason = error.strerror or str(error)
        folder = refusing_folder(runtime.spec, stage, error, disposal)
        runtime.trouble = f"{name}: {reason}" + (f" ({folder})" if folder else "")
        runtime.refusing.add(stage)
        self._pause(runtime)
        if runtime.paused_since_s is None:
            self._begin(runtime, name, reason, folder)
        if not runtime.retry_due:  # of the many that refuse in one round, one counts
            runtime.retry_due = True
            runtime.failures += 1
            self._loop.call_later(pause_s(runtime.failures), self._try_again, runtime)

    def over_if(self, runtime: InboxRuntime, *stages: Stage) -> None:
        """Something of these stages succeeded: when that is all that refused, the trouble is over."""
        if runtime.paused_since_s is None or runtime.retry_due:
            return
        runtime.refusing.difference_update(stages)
        if not runtime.refusing:
            self._end(runtime, "the trouble is over")

    def _begin(self, runtime: InboxRuntime, name: str, reason: str, folder: str | None) -> None:
        now_s = runtime.paused_since_s = self._loop.clock()
        if now_s - runtime.resumed_s > PAUSE_MAX_S:
            runtime.failures = 0  # else it is the same trouble still: small files fit where large ones do not
        self._log.warning(
            "intake.paused",
            inbox=runtime.spec.name,
            error=name,
            reason=reason,
            **({"path": folder} if folder else {}),
            hint="files stay in the inbox; work goes on by itself when the trouble is over",
        )

    def _try_again(self, runtime: InboxRuntime) -> None:
        runtime.retry_due = False
        parked, runtime.parked = runtime.parked, []
        for order in parked:
            self._again(runtime, order)
        self._resume(runtime)
        inbox = runtime.spec.name
        if not parked and not any(job.inbox == inbox for job in self._registry.jobs()):
            self._end(runtime, "nothing waits for it any more")

    def _end(self, runtime: InboxRuntime, reason: str) -> None:
        now_s = self._loop.clock()
        assert runtime.paused_since_s is not None
        seconds = now_s - runtime.paused_since_s
        runtime.paused_since_s, runtime.resumed_s, runtime.trouble = None, now_s, ""
        runtime.refusing.clear()
        self._resume(runtime)
        self._log.info("intake.resumed", inbox=runtime.spec.name, reason=reason, seconds=round(seconds, 3))


def refusing_folder(
    spec: InboxSpec, stage: Stage, error: OSError, disposal: Disposal | None = None
) -> str | None:
    """Return which folder of the inbox the error is about, as far as it or what was being done tells."""
    named = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    folders = sorted((spec.path, spec.outbox, spec.archive, spec.failed), key=len, reverse=True)
    for folder in folders:  # one may lie in another
        if named == folder or named.startswith(folder.rstrip("/") + "/"):
            return folder
    if error.errno not in _NO_WRITING:
        return None
    if stage == "dispose":
        return None if disposal is None else destination(spec, disposal)
    return spec.outbox if stage in ("render", "publish") else None
