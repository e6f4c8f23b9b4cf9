"""What a worker process is made of: imaging and its own room, nothing of the daemon's side."""

from pathlib import Path

import pytest

from procwatch.imaging.recipe import BUILTIN_RECIPES
from procwatch.model import Rendered
from procwatch.pool.ports import WorkerEntry
from procwatch.worker import entry
from tests.support import tell_modules
from tests.support.pool_bench import PoolBench

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

UNWANTED = (
    "procwatch.settings", "procwatch.intake", "procwatch.dispatch", "procwatch.delivery", "procwatch.observe",
    "procwatch.cli", "procwatch.service", "procwatch.pool", "procwatch.testing",
    "pydantic", "pydantic_core", "watchdog", "structlog", "rich", "sqlite3", "tomllib",
)  # fmt: skip


def test_a_worker_imports_nothing_of_the_daemons_side(tmp_path: Path) -> None:
    worker = WorkerEntry(
        start=entry.start,
        hello=entry.hello,
        run=tell_modules.run,
        canary=entry.canary,
        start_args=(tuple(BUILTIN_RECIPES.values()),),
        preload=entry.PRELOAD,
    )
    with PoolBench(tmp_path, workers=1, entry=worker) as bench:
        result = bench.ready().report("well").result
    assert isinstance(result, Rendered)
    modules = set(result.notes)
    assert {"procwatch.worker.task", "procwatch.imaging.render", "PIL.JpegImagePlugin"} <= modules
    unwanted = {name for name in modules for root in UNWANTED if name == root or name.startswith(f"{root}.")}
    assert not unwanted
