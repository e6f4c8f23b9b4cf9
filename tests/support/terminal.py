"""Run the real program on a terminal of its own, and read what a person would see."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import processes
from tests.support.daemon import PROGRAM, environment
from tests.support.waiting import eventually

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07")


class Session:
    """A command whose stdin, stdout and stderr are a terminal of 200 columns."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self._keyboard, far = pty.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self._bytes = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._closing = threading.Event()
        env = environment({"TERM": "xterm-256color", "COLUMNS": "200"})
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *PROGRAM, *arguments],
            cwd=cwd,
            env=env,
            stdin=far,
            stdout=far,
            stderr=far,
        )
        os.close(far)
        self._reader.start()

    def _read(self) -> None:
        while not self._closing.is_set():
            if not select.select([self._keyboard], [], [], 0.1)[0]:
                continue
            try:
                data = os.read(self._keyboard, 65536)
            except OSError:  # EIO: nobody has the terminal open any more
                return
            self._bytes += data

    def text(self) -> str:
        """Return everything shown so far without colours and cursor movements."""
        return _ESCAPES.sub("", self._bytes.decode("utf-8", "replace")).replace("\r", "\n")

    def wait_for_text(self, wanted: str, timeout_s: float = 20.0) -> None:
        def probe() -> bool:
            shown = self.text()
            assert wanted in shown or self.process.poll() is None, shown
            return wanted in shown

        try:
            eventually(probe, timeout_s)
        except AssertionError as error:
            error.add_note(f"waited for {wanted!r} in\n{self.text()}")
            raise

    def press_ctrl_c(self) -> None:
        """Type Ctrl-C: the terminal sends SIGINT to its whole foreground group."""
        os.write(self._keyboard, b"\x03")

    def hang_up(self) -> None:
        """Close the window: the kernel sends SIGHUP to the foreground group, and the terminal takes nothing any more."""
        self._closing.set()
        self._reader.join(5)
        os.close(self._keyboard)
        self._keyboard = -1

    def wait(self, timeout_s: float = 30.0) -> int:
        return self.process.wait(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in processes.in_session(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        self._closing.set()
        self._reader.join(5)
        if self._keyboard >= 0:
            os.close(self._keyboard)
