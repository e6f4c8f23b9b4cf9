"""The finishing lane of one inbox: what becomes of a job behind its worker, in batches.

publish, fail, dispose; recovery, before any of it; what an attempt left in staging
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from procwatch.delivery.fsops import FsOps
from procwatch.dispatch.disposing import Disposer
from procwatch.dispatch.job import RecipePlan
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.lane import Lane
from procwatch.dispatch.ledger_reader import LedgerReader
from procwatch.dispatch.loop import Loop, Timer
from procwatch.dispatch.orders import DisposeOrder, FailOrder, PublishOrder, Results
from procwatch.dispatch.publishing import Publisher
from procwatch.dispatch.recovery import Recovery
from procwatch.model import InboxSpec

#: How long finished jobs wait for company while more are waiting anyway: a batch costs as many commits and fsyncs of
#: folders as one job does. At 48 photos a second a file cost the daemon 1.56 to 1.61 ms of CPU with 0.6 s, 1.67 to
#: 1.78 ms with 0.25 s.
_GATHER_S: Final = 0.6
_GATHER_MANY: Final = 32

Order = PublishOrder | FailOrder | DisposeOrder


class Finishing:
    """Owned by the loop's thread, as are all methods that do not say "Lane"."""

    def __init__(
        self,
        *,
        spec: InboxSpec,
        loop: Loop,
        fs: FsOps,
        journal: Journal,
        reader: LedgerReader,
        results: Results,
        is_there: Callable[[], bool],
        lines_together: Callable[[], AbstractContextManager[None]],
        on_error: Callable[[BaseException], None],
    ) -> None:
        """Take what publisher, disposer and recovery need. What is logged within `lines_together` is written at its end."""
        self._loop = loop
        self._lines_together = lines_together
        self._lane = Lane(f"finish-{spec.name}", on_error)
        self._disposer = Disposer(
            spec=spec, fs=fs, journal=journal, post=self._tell_later, results=results, is_there=is_there
        )
        self._publisher = Publisher(
            spec=spec,
            fs=fs,
            journal=journal,
            reader=reader,
            post=self._tell_later,
            results=results,
            is_there=is_there,
        )
        self.recovery = Recovery(spec=spec, fs=fs, journal=journal, reader=reader, publisher=self._publisher)
        self._orders: list[Order] = []
        self._gathering: Timer | None = None
        self._is_at_work = False
        self._in_lane = 0  # orders that the lane has
        self._is_backlogged = False
        self._untold: list[tuple[Callable[..., None], tuple[Any, ...]]] = []  # of the lane

    @property
    def unfinished(self) -> int:
        """Orders that the lane has, or will get."""
        return self._in_lane + len(self._orders)

    @property
    def is_busy(self) -> bool:
        return self._is_at_work or bool(self._orders)

    def order(self, order: Order) -> None:
        """Have it done, in one batch with what else waits."""
        self._orders.append(order)
        if not self._is_at_work:
            self._flush_soon()

    def expect(self, path: str, recipe: RecipePlan) -> None:
        """A worker has begun with this file, and nobody waits behind it: prepare what can be prepared."""
        if not self._is_backlogged and not self.is_busy:
            self._lane.submit(self._publisher.draft, path, recipe)

    def set_backlogged(self, *, backlogged: bool) -> None:
        """Whether jobs wait for a worker: then nobody waits for the very one that is finished. Asked at every turn of the loop."""
        was, self._is_backlogged = self._is_backlogged, backlogged
        if was and not backlogged and self._gathering is not None:
            self._flush()

    def submit(self, call: Callable[..., None], *arguments: Any) -> None:
        """Have the lane do something else in its turn."""
        self._lane.submit(call, *arguments)

    def clean(self, staging: str) -> None:
        """Remove what an attempt left in staging."""
        self._lane.submit(self._disposer.clean, staging)

    def close(self, timeout_s: float) -> None:
        """End after what the lane has."""
        self._lane.close(timeout_s)

    def _flush_soon(self) -> None:
        """At once if somebody may wait for it; else when there is company for it, which spares commits and fsyncs."""
        if not self._is_backlogged:
            self._flush()
            self._loop.rest()  # the lane has the GIL now instead of after this turn
        elif len(self._orders) >= _GATHER_MANY:
            self._flush()
        elif self._gathering is None:
            self._gathering = self._loop.call_later(_GATHER_S, self._flush)

    def _flush(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        batch, self._orders = self._orders, []
        self._is_at_work, self._in_lane = True, len(batch)
        self._lane.submit(self._finish, batch)

    def _finish(self, batch: list[Order]) -> None:
        """Lane: publish, fail, dispose; tell the loop of the whole at once, because each message costs it a turn."""
        publish = [order for order in batch if isinstance(order, PublishOrder)]
        fail = [order for order in batch if isinstance(order, FailOrder)]
        dispose = [order for order in batch if isinstance(order, DisposeOrder)]
        try:
            self._publisher.publish(publish)
            if fail or dispose:  # they may take long, or hang: what is published is told before
                self._tell(finished=False)
            self._disposer.fail(fail)
            self._disposer.dispose(dispose)
        finally:
            self._tell(finished=True)

    def _tell_later(self, function: Callable[..., None], *arguments: Any) -> None:
        """Lane: keep what is to be told until the end of the step."""
        self._untold.append((function, arguments))

    def _tell(self, *, finished: bool) -> None:
        """Lane: tell what was kept."""
        told, self._untold = self._untold, []
        if told or finished:
            self._loop.post(self._told, told, finished)

    def _told(self, calls: list[tuple[Callable[..., None], tuple[Any, ...]]], finished: bool) -> None:
        with self._lines_together():
            for function, arguments in calls:
                function(*arguments)
        if finished:
            self._is_at_work, self._in_lane = False, 0
            if self._orders:
                self._flush_soon()
