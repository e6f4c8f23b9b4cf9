"""What the processes are made of: a worker of imaging and its own room, the daemon of everything but a decoder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from procwatch.imaging.recipe import BUILTIN_RECIPES
from procwatch.model import Rendered
from procwatch.pool.ports import WorkerEntry
from procwatch.worker import entry
from tests.support import images, tell_modules
from tests.support.pool_bench import PoolBench

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

UNWANTED = (
    "procwatch.settings", "procwatch.intake", "procwatch.dispatch", "procwatch.delivery", "procwatch.observe",
    "procwatch.cli", "procwatch.service", "procwatch.pool", "procwatch.testing",
    "pydantic", "pydantic_core", "watchdog", "structlog", "rich", "sqlite3", "tomllib",
)  # fmt: skip


def modules_of_a_worker(root: Path) -> list[str]:
    """Return the modules of a real worker that has rendered a picture. For a process of its own."""
    worker = WorkerEntry(
        start=entry.start,
        hello=entry.hello,
        run=tell_modules.run,
        canary=entry.canary,
        start_args=(tuple(BUILTIN_RECIPES.values()),),
        preload=entry.PRELOAD,
    )
    with PoolBench(root, workers=1, entry=worker) as bench:
        result = bench.ready().report("well").result
    assert isinstance(result, Rendered)
    return sorted(result.notes)


def test_a_worker_imports_nothing_of_the_daemons_side(tmp_path: Path) -> None:
    """In a fresh process: a fork server that another test has started is born with what that test preloads."""
    ask = "import json, pathlib, sys; from tests.integration.test_worker_modules import modules_of_a_worker as ask"
    told = subprocess.run(
        [sys.executable, "-c", f"{ask}; print(json.dumps(ask(pathlib.Path(sys.argv[1]))))", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    modules = set(json.loads(told.stdout))
    assert {"procwatch.worker.task", "procwatch.imaging.render", "PIL.JpegImagePlugin"} <= modules
    unwanted = {name for name in modules for root in UNWANTED if name == root or name.startswith(f"{root}.")}
    assert not unwanted


def test_the_daemon_imports_no_decoder(tmp_path: Path) -> None:
    """Through a whole life: start, two jobs, one of them bad, stop."""
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "good.jpg").write_bytes(images.jpeg())
    (tmp_path / "inbox" / "bad.jpg").write_bytes(b"no picture")
    tell = "import sys; from procwatch.cli.main import main; main(['once', sys.argv[1]]); print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", tell, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    modules = set(told.stdout.splitlines()[-1].split())
    assert list((tmp_path / "outbox").glob("good*.jpg"))
    assert (tmp_path / "failed" / "bad.jpg").exists()
    assert {"procwatch.dispatch.dispatcher", "watchdog", "structlog"} <= modules
    assert not {name for name in modules if name.partition(".")[0] in {"PIL", "cykooz_resizer", "pi_heif"}}
    assert not {"procwatch.imaging.render", "procwatch.imaging.decode", "procwatch.worker.task"} & modules
