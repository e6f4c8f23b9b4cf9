"""Run the real program in a process group of its own, read its log, and leave nothing of it behind."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import logs, processes
from tests.support.waiting import eventually

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-m", "procwatch")
_UNLIKE_USERS = frozenset({"PYTHONUNBUFFERED", "PYTHONDEVMODE", "PYTHONOPTIMIZE"})


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return ours, with the package of this tree first, as the environment of the program under test.

    Without what makes an interpreter behave as no user's does: one that buffers nothing ends otherwise on a closed
    terminal.
    """
    paths = [(extra or {}).get("PYTHONPATH"), str(REPOSITORY), os.environ.get("PYTHONPATH")]
    inherited = {name: value for name, value in os.environ.items() if name not in _UNLIKE_USERS}
    return {**inherited, **(extra or {}), "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def procwatch(
    *arguments: str | Path,
    cwd: Path,
    timeout_s: float = 60.0,
    prefix: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it printed; a hang is a TimeoutExpired."""
    return subprocess.run(
        [*prefix, *PROGRAM, *map(str, arguments)],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class Daemon:
    """`procwatch run …` as a context manager: ready on entry, stopped, judged and gone on exit."""

    def __init__(
        self,
        *arguments: str | Path,
        cwd: Path,
        prefix: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        umask: int = -1,
    ) -> None:
        self._argv = [*prefix, *PROGRAM, "run", *map(str, arguments)]
        self._cwd = cwd
        self._env = environment(env)
        self._umask = umask
        self._killed = False
        self.process: subprocess.Popen[bytes]
        self.stdout: Path
        self.stderr: Path

    def start(self) -> Self:
        """Start the program without waiting for anything."""
        with (
            tempfile.NamedTemporaryFile(dir=self._cwd, prefix="run-", suffix=".jsonl", delete=False) as out,
            tempfile.NamedTemporaryFile(dir=self._cwd, prefix="run-", suffix=".stderr", delete=False) as err,
        ):
            self.stdout, self.stderr = Path(out.name), Path(err.name)
            self.process = subprocess.Popen(
                self._argv,
                cwd=self._cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                umask=self._umask,
            )
        return self

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_for("service.ready")
        except BaseException:
            self.clean_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._judge()
            elif error is not None:
                error.add_note(self.story())
        finally:
            self.clean_up()

    def _judge(self) -> None:
        if self.process.poll() is None:
            assert self.terminate() == 0, self.story()
        self.wait_for_no_orphans()
        logs.judge(self.lines(), orderly=not self._killed)
        errors = self.stderr.read_text(errors="replace")
        assert "Traceback" not in errors, errors

    # --- what it says ---

    @property
    def pid(self) -> int:
        return self.process.pid

    def lines(self) -> list[logs.Line]:
        """Return every complete log line so far."""
        return logs.read(self.stdout)

    def wait_for(self, event: str, *, count: int = 1, timeout_s: float = 20.0, **fields: object) -> logs.Line:
        """Return the `count`-th line of this event with these field values, as soon as it is there."""

        def probe() -> list[logs.Line]:
            ended = self.process.poll()
            found = logs.select(self.lines(), event, **fields)
            if len(found) < count and ended is not None:
                raise AssertionError(
                    f"ended with {ended} before {count} times {event} {fields}\n{self.story()}"
                )
            return found[count - 1 :]

        try:
            return eventually(probe, timeout_s)[0]
        except AssertionError as error:
            error.add_note(f"waited for {count} times {event} {fields}")
            raise

    def wait_for_ends(self, count: int, timeout_s: float = 30.0) -> list[logs.Line]:
        """Return the terminal lines of this run once there are `count`."""

        def probe() -> list[logs.Line]:
            assert self.process.poll() is None, self.story()
            found = logs.terminal(self.lines())
            return found if len(found) >= count else []

        return eventually(probe, timeout_s)

    def story(self) -> str:
        """Return what the program printed last, for the message of a failure."""
        out = self.stdout.read_text(errors="replace")[-4000:]
        return f"--- log\n{out}--- stderr\n{self.stderr.read_text(errors='replace')[-4000:]}---"

    # --- its processes ---

    def descendants(self) -> list[int]:
        """Return the pids of its living children, forkserver and workers included."""
        return processes.descendants(self.pid)

    def worker_pids(self) -> list[int]:
        """Return the workers that it reported and that still run."""
        reported = [line["worker_pid"] for line in logs.select(self.lines(), "pool.worker_started")]
        return [pid for pid in reported if processes.alive(pid)]

    def all_workers(self) -> list[int]:
        """Return the pids of the whole pool as soon as it is up; `service.ready` needs only the first worker."""
        size = self.wait_for("service.started")["workers"]
        return eventually(lambda: pids if len(pids := self.worker_pids()) >= size else [])

    def wait_for_no_orphans(self, timeout_s: float = 5.0) -> None:
        """Return when none of its processes is left, after it ended in whatever way."""

        def gone() -> bool:
            return not processes.in_session(self.pid)

        try:
            eventually(gone, timeout_s)
        except AssertionError as error:
            left = {pid: processes.command_line(pid) for pid in processes.in_session(self.pid)}
            raise AssertionError(f"left behind: {left}") from error

    # --- what is done to it ---

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def terminate(self, timeout_s: float = 30.0) -> int:
        """Send SIGTERM, as systemd does, and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def interrupt(self) -> None:
        """Press Ctrl-C: SIGINT to the whole process group."""
        os.killpg(self.pid, signal.SIGINT)

    def was_killed(self) -> None:
        """Say that jobs of this run may have started without an end: it was not allowed to finish them."""
        self._killed = True

    def kill9(self) -> None:
        """Kill the daemon process alone, as a crash or the OOM killer does."""
        self.was_killed()
        self.signal(signal.SIGKILL)
        self.process.wait(10)

    def clean_up(self) -> None:
        """End whatever is left of it, by pid."""
        for pid in {*self.descendants(), *processes.in_session(self.pid)}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait(10)
