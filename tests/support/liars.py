"""Workers that were taken over: they write what they like into the pipe that their executor reads, and into others."""

import contextlib
import os
import pickle
import signal
import stat
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from procwatch.answering import NUMBER_BYTES, Sender
from procwatch.claim import STARTED
from procwatch.model import RenderFailed, RenderTask
from tests.support import bad_workers

_FAILED: Final = RenderFailed(code="truncated", reason="nothing to see here")


def trace(folder: str) -> None:
    """Tell who unpickled this: a worker may do to itself what it likes, and reads its own pipe of calls."""
    with open(os.path.join(folder, f"trace-{os.getpid()}"), "w", encoding="ascii"):
        pass


class Acts:
    """Pickles as a call."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __reduce__(self) -> Any:
        return trace, (self._folder,)


def acts(task: RenderTask) -> Any:
    """A pickle that calls: remote code, if the daemon unpickled anything."""
    _answer(_framed(pickle.dumps(Acts(task.root))))


def leaves(task: RenderTask) -> Any:
    """The message by which an executor's worker takes leave, without leaving."""
    _answer(_framed(pickle.dumps(os.getpid())))


def floods(task: RenderTask) -> Any:
    """More than an answer may have."""
    _answer(_framed(b"x" * (8 * 1024**2)))


def stammers(task: RenderTask) -> Any:
    """No message at all."""
    _answer(b"\0\0\0\x04junk")


def repeats(task: RenderTask) -> Any:
    """Answers to questions that nobody asked, without end."""
    for number in range(2, 1000):
        _answer(_framed(number.to_bytes(NUMBER_BYTES, "big") + b'""'))


def half_and_dies(task: RenderTask) -> Any:
    """A message that announces 256 bytes, has four of them, and never ends."""
    _answer(b"\0\0\1\0half")
    os.kill(os.getpid(), signal.SIGKILL)


def half_and_hangs(task: RenderTask) -> Any:
    _answer(b"\0\0\1\0half")
    time.sleep(600)


def canarys(task: RenderTask) -> Any:
    return "x"


def handshakes(task: RenderTask) -> Any:
    return 4711, {"a": "b"}


def says_stale(task: RenderTask) -> Any:
    return RenderFailed(code="sandbox-stale", reason="so it says"), 0


def raises(task: RenderTask) -> Any:
    raise bad_workers.NeedsTwoArgumentsError("odd", "cannot be unpickled")


def keeps_locks(task: RenderTask) -> Any:
    """Takes every lock of the queues that its executor's loop has, for good, and answers."""
    queue = _loop_of_executor()["call_queue"]
    for lock in (queue._wlock, queue._sem):
        while lock.acquire(False):
            pass
    return _FAILED, 0


def cuts_memory(task: RenderTask) -> Any:
    """Truncates all that it shares with the daemon, which would read there what the worker was at: SIGBUS."""
    from procwatch.worker import entry

    assert entry._claim is not None
    descriptors = [int(name) for name in os.listdir("/proc/self/fd")]
    for descriptor in descriptors:
        try:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and not status.st_nlink:
                os.ftruncate(descriptor, 0)
        except OSError:
            continue
    os.kill(os.getpid(), signal.SIGKILL)


def kills_the_family(task: RenderTask) -> Any:
    """Writes to every pipe but those of its own executor."""
    loop = _loop_of_executor()
    _send(b"x", spare={loop[name]._writer.fileno() for name in ("call_queue", "result_queue")})
    return _FAILED, 0


def _loop_of_executor() -> dict[str, Any]:
    frame = sys._getframe()
    while "call_queue" not in frame.f_locals:
        assert frame.f_back is not None
        frame = frame.f_back
    return frame.f_locals


#: Those that end the lying worker.
LIES: Final[dict[str, Callable[[RenderTask], Any]]] = {
    lie.__name__: lie
    for lie in (
        acts, leaves, floods, stammers, repeats, half_and_dies, canarys, handshakes, raises, cuts_memory,
    )
}  # fmt: skip
_MORE: Final = {lie.__name__: lie for lie in (half_and_hangs, keeps_locks, kills_the_family, says_stale)}


def run(sequence: int, task: RenderTask) -> Any:
    """Lie as the task's path says; "well/1.jpg" is honest."""
    lie = (LIES | _MORE).get(task.path.partition("/")[0])
    if lie is None:
        return bad_workers.run_without_net(sequence, task)
    from procwatch.worker import entry

    assert entry._claim is not None
    entry._claim[STARTED] = sequence
    return lie(task) or (_FAILED, 0)


def sent(answer: Any) -> bytes:
    """Return the document that a worker sends for what its function returned."""
    told: list[bytes] = []
    Sender(SimpleNamespace(send_bytes=told.append)).put(  # type: ignore[arg-type]
        SimpleNamespace(work_id=3, result=answer, exception=None)
    )
    assert told[0][:NUMBER_BYTES] == (3).to_bytes(NUMBER_BYTES, "big")
    return told[0][NUMBER_BYTES:]


def _framed(data: bytes) -> bytes:
    """Return the message as multiprocessing.Connection frames it."""
    return len(data).to_bytes(4, "big") + data


def _answer(data: bytes) -> None:
    """Write to the pipe that the executor reads."""
    with contextlib.suppress(OSError):  # it was closed: they had enough
        os.write(_loop_of_executor()["result_queue"]._writer.fileno(), data)


def _send(data: bytes, spare: set[int]) -> None:
    """Write to every pipe that can be written to."""
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        try:
            if descriptor in spare or not os.readlink(f"/proc/self/fd/{name}").startswith("pipe:"):
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
