"""The hot folders that are compared: how each is started, and the lines by which it says that a file is done."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]

#: The recipes as procwatch has them; the peers' programs have their own.
RECIPES = """
[recipe.thumb.output.thumb]
steps = [{ op = "fit", width = 320, height = 320 }]
format = "jpeg"
quality = 80

[recipe.web.output.web]
steps = [{ op = "fit", width = 1600, height = 1600 }]
format = "jpeg"
quality = 82
options = { progressive = true }

[recipe.own.output.own]
steps = [{ op = "fit", width = 720, height = 720 }]
format = "jpeg"
quality = 80

[recipe.web.output.small]
steps = [{ op = "fit", width = 400, height = 400 }]
format = "webp"
quality = 80
"""
OUTPUTS = {"thumb": 1, "web": 2, "own": 1}


@dataclass(frozen=True, kw_only=True)
class Box:
    """The folders of one run, all on one file system."""

    root: Path

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def outbox(self) -> Path:
        return self.root / "outbox"

    def make(self) -> Self:
        for folder in (self.inbox, self.outbox):
            folder.mkdir(parents=True)
        return self


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One way to serve a hot folder."""

    name: str
    argv: Callable[[Box, str, Path], list[str]]  # box, recipe, the folder of the npm packages
    ready: str  # a line with this text: it watches
    done: str  # and this: one more file is done
    failed: str
    recipes: tuple[str, ...] = ("thumb", "web")
    places: tuple[str, ...] = ("tmpfs", "disk")  # the slow ones are the same on both
    env: Mapping[str, str] | None = None


def config(box: Box, recipe: str, *, settings: str = "") -> Path:
    """Write a configuration of procwatch for the box."""
    path = box.root / "procwatch.toml"
    path.write_text(
        f'[state]\ndir = "{box.root}/state"\n[pool]\nworkers = 2\n[[inbox]]\npath = "{box.inbox}"\n'
        f'outbox = "{box.outbox}"\nrecipe = "{recipe}"\n{settings}{RECIPES}'
    )
    return path


def procwatch_argv(box: Box, recipe: str, peers: Path) -> list[str]:
    return [sys.executable, "-m", "procwatch", "run", "-c", str(config(box, recipe))]


def _naive(*more: str) -> Callable[[Box, str, Path], list[str]]:
    program = str(HERE / "naive.py")
    return lambda box, recipe, peers: [
        sys.executable, program, str(box.inbox), str(box.outbox), recipe, *more
    ]  # fmt: skip


def _node(box: Box, recipe: str, peers: Path) -> list[str]:
    return ["node", str(peers / "watcher.mjs"), str(box.inbox), str(box.outbox), recipe, "2"]


def _vips(box: Box, recipe: str, peers: Path) -> list[str]:
    return ["sh", str(HERE / "inotify_vips.sh"), str(box.inbox), str(box.outbox), recipe]


ENGINES = (
    Engine(
        name="procwatch",
        argv=procwatch_argv,
        ready='"service.ready"',
        done='"job.done"',
        failed='"job.failed"',
        recipes=("thumb", "web", "own"),
        env={"PYTHONPATH": str(REPOSITORY)},
    ),
    Engine(
        name="chokidar + sharp",
        argv=_node,
        ready="ready",
        done="done ",
        failed="failed ",
        recipes=("thumb", "web", "own"),
    ),
    Engine(
        name="chokidar + sharp, WebP effort 2",
        argv=lambda box, recipe, peers: _node(box, f"{recipe}-effort-2", peers),
        ready="ready",
        done="done ",
        failed="failed ",
        recipes=("web",),
    ),
    Engine(
        name="inotifywait + vipsthumbnail",
        argv=_vips,
        ready="ready",
        done="done ",
        failed="error",
        places=("disk",),
    ),
    Engine(
        name="watchdog + Pillow, naive",
        argv=_naive(),
        ready="ready",
        done="done ",
        failed="Error",
        places=("disk",),
    ),
    Engine(
        name="watchdog + Pillow, process pool",
        argv=_naive("pool"),
        ready="ready",
        done="done ",
        failed="Error",
        places=("disk",),
    ),
)


class Running:
    """An engine at work in a session of its own; every line that says "done" gets the time at which it came."""

    def __init__(self, engine: Engine, box: Box, recipe: str, peers: Path) -> None:
        self.engine = engine
        self._is_ready = threading.Event()
        self._changed = threading.Condition()
        self.done_s: list[float] = []
        self.last_lines: list[str] = []
        self.failed = 0
        self.process = subprocess.Popen(
            engine.argv(box, recipe, peers),
            cwd=box.root,
            env={**os.environ, **(engine.env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        ready, done, failed = (
            text.encode() for text in (self.engine.ready, self.engine.done, self.engine.failed)
        )
        for line in self.process.stdout:
            if done in line:
                with self._changed:
                    self.done_s.append(time.monotonic())
                    self._changed.notify_all()
                continue
            self.last_lines = [*self.last_lines[-20:], line.decode(errors="replace")]
            if failed in line:
                self.failed += 1
            elif ready in line:
                self._is_ready.set()

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        if not self._is_ready.wait(timeout_s):
            raise RuntimeError(f"{self.engine.name} is not ready: {''.join(self.last_lines)}")

    def wait_done(self, count: int, timeout_s: float) -> None:
        with self._changed:
            if (
                not self._changed.wait_for(lambda: len(self.done_s) >= count or self.failed, timeout_s)
                or self.failed
            ):
                raise RuntimeError(
                    f"{self.engine.name}: {len(self.done_s)} of {count} done: {''.join(self.last_lines)}"
                )

    def cpu_s(self) -> float:
        """Return the CPU time of every process of the session so far, of those that ended too if they were reaped."""
        ticks = 0
        for folder in Path("/proc").iterdir():
            try:
                fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue  # no process, or one that just ended
            if int(fields[3]) == self.process.pid:
                ticks += sum(int(field) for field in fields[11:15])
        return ticks / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()
