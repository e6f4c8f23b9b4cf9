"""Tell systemd how the service is doing: sd_notify(3), without a library because none covers reload and watchdog."""

import os
import socket
import time
from collections.abc import Mapping
from typing import Final

#: A datagram on the notify socket is cut or refused beyond its buffer; a status line is for people anyway.
_STATUS_MAX_BYTES: Final = 1024
#: A lost READY=1 gets the service killed, so it may wait for a busy supervisor; a lost ping or status comes again.
_PATIENCE_S: Final = 2.0


class Notifier:
    """Sends to $NOTIFY_SOCKET. Without one, or when it is gone, every call does nothing; no call raises.

    Messages go to the socket anew each time: systemd may be re-executed while the service runs for months.
    Not defended: a vsock address (AF_VSOCK, for virtual machines) is treated as no socket.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._interval_s = _watchdog_interval_s(environ)
        self.failures = 0
        self.shown = ""  # the last status that arrived

    @property
    def active(self) -> bool:
        """Whether a supervisor listens."""
        return self._address is not None

    def watchdog_interval_s(self) -> float | None:
        """Return the seconds after which systemd gives the service up, or None; ping at less than half of it."""
        return self._interval_s

    def ready(self, status: str = "") -> bool:
        """Start-up or reload is complete."""
        return self._noted(status, self._send("READY=1", *_status_line(status), patience_s=_PATIENCE_S))

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._noted(text, self._send(*_status_line(text)))

    def reloading(self) -> bool:
        """A reload begins; systemd (Type=notify-reload) compares the time with that of its signal. End with ready()."""
        now = f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"
        return self._send("RELOADING=1", now, patience_s=_PATIENCE_S)

    def stopping(self, status: str = "") -> bool:
        return self._send("STOPPING=1", *_status_line(status), patience_s=_PATIENCE_S)

    def watchdog(self) -> bool:
        """The loop makes progress. Not calling this in time gets the service restarted."""
        return self._send("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> bool:
        """Starting, reloading or stopping goes on for up to so long from now."""
        return self._send(f"EXTEND_TIMEOUT_USEC={max(0, int(seconds * 1_000_000))}")

    def _noted(self, status: str, arrived: bool) -> bool:
        self.shown = status if arrived and status else self.shown
        return arrived

    def _send(self, *lines: str, patience_s: float = 0.0) -> bool:
        """Return whether the message was handed over."""
        if self._address is None or not lines:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(patience_s)  # a stuck supervisor must not stop the loop
                channel.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)
        except (OSError, ValueError):
            self.failures += 1
            return False
        return True


def _address(value: str) -> bytes | None:
    """Return the address: an absolute path, or "@name" for the abstract namespace; None for anything else."""
    if len(value) > 1 and value[0] in "/@":
        raw = os.fsencode(value)
        return b"\0" + raw[1:] if value[0] == "@" else raw
    return None


def _watchdog_interval_s(environ: Mapping[str, str]) -> float | None:
    """Return $WATCHDOG_USEC in seconds where it is meant for this process, as sd_watchdog_enabled(3) reads it."""
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", ""))
        pid = int(environ.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return None
    return microseconds / 1_000_000 if microseconds > 0 and pid == os.getpid() else None


def _status_line(text: str) -> list[str]:
    """Return STATUS= with the text on one line: a file name with a line end must not become a message of its own."""
    if not text:
        return []
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    cut = line.encode("utf-8", "replace")[:_STATUS_MAX_BYTES].decode("utf-8", "ignore")
    return [f"STATUS={cut}"]
