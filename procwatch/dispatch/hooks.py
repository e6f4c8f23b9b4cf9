"""Hooks: commands that the configuration asks for when a file is done or failed, or when an inbox is drained.

An argv without a shell; what it is about comes in the environment and as one JSON line on stdin. A small pool of
threads of its own waits for them, so a slow or hanging hook never holds up files; a hook that fails is logged and
changes nothing.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from procwatch.pool.exits import describe
from procwatch.pool.slot import DEATH_S

#: Hooks that run at once, and those that may wait; more would be a backlog that nobody ever catches up with.
_THREADS: Final = 2
_MAX_WAITING: Final = 1000
_SHOWN: Final = 300  # characters of stderr in the log


@dataclass(frozen=True, kw_only=True, slots=True)
class HookCommands:
    """What to run, as argv; empty: nothing. `timeout_s` bounds each run."""

    done: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    drained: tuple[str, ...] = ()
    timeout_s: float = 30.0


#: fail(hook, reason, exit or None, fields of the line) on any thread.
Fail = Callable[[str, str, str | None, Mapping[str, Any]], None]


class Hooks:
    """Runs hooks; every method returns at once. Loop thread only."""

    def __init__(self, commands: HookCommands, *, fail: Fail) -> None:
        self.commands = commands
        self._fail = fail
        self._queue: queue.Queue[tuple[str, tuple[str, ...], Mapping[str, Any]] | None]
        self._queue = queue.Queue(maxsize=_MAX_WAITING)
        self._threads: list[threading.Thread] = []

    def ended(self, event: str, line: Mapping[str, Any], folders: Mapping[str, str]) -> None:
        """A file ended; `line` is its terminal log line, `folders` its inbox's."""
        hook = event.removeprefix("job.")
        self._submit(
            hook, self.commands.done if hook == "done" else self.commands.failed, {**line, **folders}
        )

    def drained(self, inbox: str, folders: Mapping[str, str]) -> None:
        """Nothing waits in the inbox any more."""
        self._submit("drained", self.commands.drained, {"inbox": inbox, **folders})

    def close(self) -> None:
        """Forget waiting hooks; those that run are left to end by themselves."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        for _ in self._threads:
            self._queue.put_nowait(None)

    def _submit(self, hook: str, argv: tuple[str, ...], fields: Mapping[str, Any]) -> None:
        if not argv:
            return
        if len(self._threads) < _THREADS:
            thread = threading.Thread(target=self._work, name="procwatch-hooks", daemon=True)
            self._threads.append(thread)
            thread.start()
        try:
            self._queue.put_nowait((hook, argv, fields))
        except queue.Full:
            self._fail(hook, f"{_MAX_WAITING} hooks wait already; this one was left out", None, fields)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            hook, argv, fields = item
            try:
                problem = run_hook(hook, argv, fields, self.commands.timeout_s)
            except Exception as error:  # noqa: BLE001 (a hook must never end the thread that runs hooks)
                problem = (f"{type(error).__name__}: {error}", None)
            if problem is not None:
                self._fail(hook, *problem, fields)


def run_hook(
    hook: str, argv: tuple[str, ...], fields: Mapping[str, Any], timeout_s: float
) -> tuple[str, str | None] | None:
    """Run one command; return None, or (reason, exit)."""
    try:
        process = subprocess.Popen(
            argv,
            env=environment(hook, fields),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that a timeout reaches what it has started, too
        )
    except OSError as error:
        return f"{argv[0]}: {error.strerror or error}", None
    line = (json.dumps({"hook": hook, **fields}) + "\n").encode("ascii")
    try:
        _, errors = process.communicate(line, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _let_go(process)
        return f"{argv[0]}: took longer than {timeout_s:g} s and was stopped", "SIGKILL"
    if process.returncode == 0:
        return None
    said = errors.decode("utf-8", "replace").strip()[-_SHOWN:]
    code = process.returncode
    exit_text = describe(code)
    return f"{argv[0]}: {exit_text}" + (f": {said}" if said else ""), exit_text


def _let_go(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a killed process, not for the end of its output: what left its session may hold that open for ever."""
    for pipe in (process.stdin, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what could not be written to it
                pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(DEATH_S)


def environment(hook: str, fields: Mapping[str, Any]) -> dict[str, str]:
    """Return our environment and PROCWATCH_HOOK, PROCWATCH_PATH, PROCWATCH_OUTPUTS (one a line) and so on."""
    ours = {
        f"PROCWATCH_{key.upper()}": "\n".join(value) if isinstance(value, list) else str(value)
        for key, value in fields.items()
        if isinstance(value, str | int | float | list) and "\0" not in str(value)
    }
    return {**os.environ, **ours, "PROCWATCH_HOOK": hook}
