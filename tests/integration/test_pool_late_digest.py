"""A digest that comes behind its answer, in the memory that worker and daemon share."""

import dataclasses
import hashlib
from concurrent.futures.process import _ResultItem
from multiprocessing import Pipe
from pathlib import Path

import pytest

from procwatch import answering
from procwatch.claim import Claim
from procwatch.pool.ports import Report
from procwatch.worker import entry
from tests.support.pool_bench import PoolBench
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


def report(bench: PoolBench, kind: str, number: int) -> Report:
    running = bench.pool.submit(dataclasses.replace(bench.task(kind, number), digest_later=True))
    bench.until(running.done)
    return running.result()


def test_the_digest_comes_behind_the_answer_and_stays_until_the_next_one(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1) as bench:
        first = report(bench.ready(), "hashed", 1)
        assert first.late_digest is not None
        assert eventually(first.late_digest) == hashlib.sha256(b"hashed-1").hexdigest()
        second = report(bench, "hashed", 2)
        assert second.late_digest is not None
        assert eventually(second.late_digest) == hashlib.sha256(b"hashed-2").hexdigest()
        assert not first.late_digest()
        assert first.late_digest() is not None, "nobody needs to wait for it"


def test_of_a_worker_that_is_gone_no_digest_is_waited_for(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1) as bench:
        told = report(bench.ready(), "well", 1)
        assert told.late_digest is not None
        assert told.late_digest() is None
        bench.pool.renew("a test")
        eventually(lambda: told.late_digest is not None and told.late_digest() is not None)
        assert told.late_digest() == ""


def test_a_task_that_may_not_have_it_later_promises_none(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1) as bench:
        assert bench.ready().report("well").late_digest is None


def test_what_the_memory_holds_is_of_one_call_or_of_none() -> None:
    claim = Claim()
    assert claim.digest_of(1) is None
    claim.note_digest(2, bytes(range(32)))
    assert (claim.digest_of(1), claim.digest_of(2), claim.digest_of(3)) == ("", bytes(range(32)).hex(), None)
    claim[2] = float("nan")  # a worker may write what it wants
    assert claim.digest_of(2) == ""


def test_a_worker_hashes_when_the_daemon_has_published_or_the_next_call_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []

    class Watched(Claim):
        def wait_for_next(self, timeout_s: float) -> None:
            order.append("waits" if 0 < timeout_s < 0.1 else f"waits for {timeout_s}")

    def digest() -> bytes:
        order.append("hashes")
        return bytes(32)

    claim = Watched()
    monkeypatch.setattr(entry, "_claim", claim)
    entry._digest_later(7, digest)
    reader, writer = Pipe(duplex=False)
    with reader, writer:
        assert order == []
        answering.Sender(writer).put(_ResultItem(1, result="answer"))
    assert order == ["waits", "hashes"]
    assert claim.digest_of(7) == "00" * 32


def test_what_is_done_after_an_answer_does_not_spoil_it() -> None:
    reader, writer = Pipe(duplex=False)
    done: list[str] = []

    def fails() -> None:
        done.append("fails")
        raise MemoryError

    with reader, writer:
        answering.after_answer(fails)
        answering.after_answer(lambda: done.append("works"))
        for text in ("one", "two"):
            answering.Sender(writer).put(_ResultItem(1, result=text))
        assert [reader.recv_bytes()[answering.NUMBER_BYTES :] for _ in range(2)] == [b'"one"', b'"two"']
    assert sorted(done) == ["fails", "works"]
