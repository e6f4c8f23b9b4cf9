"""Workers that were taken over: they write what they like into the pipe that their executor reads."""

import os
import pickle
from concurrent.futures.process import _ResultItem
from typing import Any

from procwatch.model import RenderFailed, RenderResult, RenderTask
from tests.support import bad_workers

LIES = ("acts", "leaves", "gossips", "floods", "stammers")


class Acts:
    """Pickles as a call of os.mkdir, which the daemon would make."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (self._folder,)


def run(sequence: int, task: RenderTask) -> tuple[RenderResult, int]:
    """Lie as the task's path says; "well/1.jpg" is honest."""
    lie = task.path.partition("/")[0]
    if lie not in LIES:
        return bad_workers.run_without_net(sequence, task)
    from procwatch.worker import entry

    assert entry._claim is not None
    entry._claim[entry.CLAIM_STARTED] = sequence
    trace = os.path.join(task.root, "trace")
    message: Any = {
        "acts": Acts(trace),
        "leaves": os.getpid(),
        "gossips": _ResultItem(0, exception=Acts(trace)),  # type: ignore[arg-type]
        "floods": "x" * (8 * 1024**2),
        "stammers": None,
    }[lie]
    _send(b"\0\0\0\x04junk" if lie == "stammers" else _framed(pickle.dumps(message)))
    return RenderFailed(code="truncated", reason="nothing to see here"), 0


def _framed(data: bytes) -> bytes:
    """Return the message as multiprocessing.Connection frames it."""
    return len(data).to_bytes(4, "big") + data


def _send(data: bytes) -> None:
    """Write to every pipe that can be written to: one of them is the executor's."""
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("pipe:"):
                continue
            if os.get_blocking(descriptor) and not _is_full(descriptor):
                os.write(descriptor, data)
        except OSError:
            continue


def _is_full(descriptor: int) -> bool:
    import select

    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    return not poller.poll(0)
