"""The status snapshot: what the loop knows, written for others to read without disturbing it."""

import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

FILE_NAME: Final = "status.json"
#: Anybody may look: monitoring does not run as the service's user.
FILE_MODE: Final = 0o644
#: A reader never needs it fresher, and a loop that handles hundreds of files a second must not write more often.
MIN_INTERVAL_S: Final = 1.0
#: A living daemon writes at least every 5 s, even when idle. Three missed ones are not chance.
STALE_AFTER_S: Final = 15.0
REFRESH_S: Final = 5.0

#: path, content, mode → replaces the file at once, so that no reader sees half of it. Raises OSError.
Writer = Callable[[str, bytes, int], None]


class StatusSnapshot:
    """Writes STATE/status.json: at most once a second when something changed, every 5 s when nothing did.

    It never raises: `failures` counts snapshots that could not be written (a full disk), and the next one tries again.
    """

    def __init__(self, *, state_dir: str, write: Writer, pid: int | None = None) -> None:
        self._path = os.path.join(state_dir, FILE_NAME)
        self._write = write
        self._pid = os.getpid() if pid is None else pid
        self._written_s = float("-inf")
        self._content: Mapping[str, Any] | None = None
        self.failures = 0

    def due(self, now_s: float) -> bool:
        """Say whether offer() would look at a snapshot now; making one costs more than asking."""
        return now_s - self._written_s >= MIN_INTERVAL_S

    def offer(self, content: Mapping[str, Any], *, now_s: float, wall_s: float) -> bool:
        """Write `content` if it is time to. `now_s` is monotonic, `wall_s` seconds since 1970. Return whether it was written."""
        same = content == self._content and now_s - self._written_s < REFRESH_S
        if not self.due(now_s) or same:
            return False
        return self.write_now(content, now_s=now_s, wall_s=wall_s)

    def write_now(self, content: Mapping[str, Any], *, now_s: float, wall_s: float) -> bool:
        """Write regardless of the time: at the start, and with state "stopped" at the end."""
        self._written_s = now_s
        whole = {"pid": self._pid, "written_at_s": round(wall_s, 3), **content}
        try:
            self._write(self._path, json.dumps(whole, default=str).encode("ascii") + b"\n", FILE_MODE)
        except (OSError, ValueError, TypeError):
            self.failures += 1
            self._content = None
            return False
        self._content = dict(content)
        return True


def read_status(state_dir: str, *, wall_s: float | None = None) -> dict[str, Any] | None:
    """Return the last snapshot with `age_s` and `stale` added, or None where there is none or it cannot be read.

    `stale` says that it is older than a living daemon leaves it, or that its process is gone; `age_s` is None where
    the file does not tell. Not defended: looking from another pid namespace, where a container's daemon seems gone.
    """
    try:
        with open(os.path.join(state_dir, FILE_NAME), "rb") as snapshot:
            content = json.load(snapshot)
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    now_s = time.time() if wall_s is None else wall_s
    written_s = content.get("written_at_s")
    # A clock that was set back makes a negative age; the snapshot is then as new as can be told.
    age_s = max(0.0, now_s - written_s) if isinstance(written_s, int | float) else None
    stale = age_s is None or age_s > STALE_AFTER_S or not pid_runs(content.get("pid"))
    return {**content, "age_s": age_s, "stale": stale}


def pid_runs(pid: object) -> bool:
    """Whether a process of this id lives, whoever owns it."""
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # another user's
    except (OSError, OverflowError):
        return False
    return True
