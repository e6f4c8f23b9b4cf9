"""How much lies in the folders of an inbox: measured now and then, in short steps on its housekeeping lane.

However much lies there: it costs a tenth of one processor while it is measured, and a thirtieth on the average. A folder
that hangs stops the figures of its own inbox, which say when they were measured.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from procwatch.delivery.naming import ERROR_SUFFIX
from procwatch.dispatch.lane import Lane
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.tree import IsRoot, totals_below
from procwatch.model import STAGING, InboxSpec

#: The work of the start comes first.
FIRST_S: Final = 5.0
#: People look at sizes for growth over days; disks that sleep should be left to it for a while.
AGAIN_S: Final = 300.0
#: The next measurement is at least so many times the work of the last away.
_PAUSE_FACTOR: Final = 20.0
#: A step ends with the folder in which it gets longer than this: what else the lane does (is there room?) gets its turn.
_STEP_S: Final = 0.05
#: The rest between two steps, in lengths of the last.
_REST_FACTOR: Final = 9.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Total:
    """Entries that are no folders, and their bytes."""

    files: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """One measurement. A folder that may not be read, or an inbox that is not served, has no total: it would be wrong."""

    measured_at_s: float  # seconds since 1970, when it was finished
    folders: dict[str, Total | None]  # inbox, outbox, archive, failed

    def to_json(self) -> dict[str, Any]:
        totals = {name: None if total is None else asdict(total) for name, total in self.folders.items()}
        return {"measured_at_s": round(self.measured_at_s, 1), **totals}


def folders_of(spec: InboxSpec) -> dict[str, str]:
    """Return name → path of the folders that are measured."""
    return {"inbox": spec.path, "outbox": spec.outbox, "archive": spec.archive, "failed": spec.failed}


def own_folders(specs: Iterable[InboxSpec]) -> frozenset[str]:
    """Return every folder of ours: one inside another, as an archive in an outbox, is not counted there as well."""
    return frozenset(
        folder for spec in specs for folder in (*folders_of(spec).values(), f"{spec.outbox}/{STAGING}")
    )


class Measuring:
    """Measures one inbox again and again. Loop thread only, but for _step."""

    def __init__(
        self,
        *,
        spec: InboxSpec,
        loop: Loop,
        lane: Lane,
        apart: Callable[[], frozenset[str]],
        is_inbox: IsRoot,
        tell: Callable[[Sizes], None],
        wall_s: Callable[[], float],
    ) -> None:
        """`apart` returns the folders that count for themselves, `tell` gets each result; both on the loop.

        `is_inbox` says of an open folder whether it is the inbox that is served.
        """
        self._spec = spec
        self._loop = loop
        self._lane = lane
        self._apart = apart
        self._is_inbox = is_inbox
        self._tell = tell
        self._wall_s = wall_s
        self._worked_s = 0.0
        self._found: dict[str, Total | None] = {}
        self._closed = False

    def start(self) -> None:
        self._loop.call_later(FIRST_S, self._begin)

    def close(self) -> None:
        self._closed = True

    def _begin(self) -> None:
        if self._closed:
            return
        self._worked_s, self._found = 0.0, {}
        self._lane.submit(self._step, self._measure(self._apart()))

    def _measure(self, apart: frozenset[str]) -> Iterator[None]:
        """Fill in one folder after the other; pause at each yield."""
        for name, path in folders_of(self._spec).items():
            files = total = 0
            is_root = self._is_inbox if name == "inbox" else None
            uncounted = (
                ERROR_SUFFIX if name == "failed" else ""
            )  # so that there are as many as files that failed
            try:
                for more, size in totals_below(
                    path, skip=apart - {path}, uncounted=uncounted, is_root=is_root
                ):
                    files += more
                    total += size
                    yield
            except OSError:
                self._found[name] = None
            else:
                self._found[name] = Total(files=files, bytes=total)

    def _step(self, rest: Iterator[None]) -> None:
        """Lane: go on for a moment."""
        began_s = now_s = self._loop.clock()
        done = False
        while not done and now_s < began_s + _STEP_S and not self._closed:
            done = next(rest, self) is self
            now_s = self._loop.clock()
        self._loop.post(self._stepped, rest, done, now_s - began_s)

    def _stepped(self, rest: Iterator[None], done: bool, took_s: float) -> None:
        self._worked_s += took_s
        if self._closed:
            return
        if not done:
            self._loop.call_later(_REST_FACTOR * took_s, self._lane.submit, self._step, rest)
            return
        self._tell(Sizes(measured_at_s=self._wall_s(), folders=self._found))
        self._loop.call_later(max(AGAIN_S, _PAUSE_FACTOR * self._worked_s), self._begin)
