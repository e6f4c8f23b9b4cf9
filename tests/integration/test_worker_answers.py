"""A worker that was taken over answers what it likes; the daemon takes data of the right shape, or nothing."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from procwatch.claim import Claim
from procwatch.model import Rendered, RenderFailed, Staged
from procwatch.pool import answers
from procwatch.pool.answers import BadAnswerError
from procwatch.pool.results import read_hello, read_result, read_text
from tests.support import liars
from tests.support.bad_workers import worker_entry
from tests.support.liars import sent
from tests.support.pool_bench import PoolBench

pytestmark = pytest.mark.integration

STAGED = Staged(output="web", file="ab12.1.0.jpg", ext="jpg", width=10, height=20, size=300, inode=7)
RENDERED = Rendered(
    renditions=(STAGED,),
    width=100,
    height=200,
    format="JPEG",
    frames=1,
    sha256="0" * 64,
    notes={"profile": "odd"},
)
FAILED = RenderFailed(code="truncated", reason="the picture is cut off")
HELLO = (4711, {"resampler": "simd"})


def test_what_workers_really_answer_arrives_unchanged() -> None:
    for answer in ((RENDERED, 4096), (FAILED, 0)):
        assert read_result(sent(answer)) == answer
    assert read_hello(sent(HELLO)) == HELLO
    for text in ("", "the canary failed"):
        assert read_text(sent(text)) == text


def test_an_answer_to_another_question_is_refused() -> None:
    readers = {read_result: (RENDERED, 0), read_hello: HELLO, read_text: "x"}
    for read in readers:
        for other, answer in readers.items():
            if other is not read:
                with pytest.raises(BadAnswerError):
                    read(sent(answer))


LIES = {
    "another rendition's name": (replace(RENDERED, renditions=(replace(STAGED, file="../../x.jpg"),)), 0),
    "an absolute name": (replace(RENDERED, renditions=(replace(STAGED, file="/etc/passwd"),)), 0),
    "a name of no job": (replace(RENDERED, renditions=(replace(STAGED, file="0.jpg"),)), 0),
    "a folder in a name": (replace(RENDERED, renditions=(replace(STAGED, file="ab12.1/0.jpg"),)), 0),
    "a name with a newline": (replace(RENDERED, renditions=(replace(STAGED, file="ab12.1.0.jpg\n"),)), 0),
    "an extension with a slash": (replace(RENDERED, renditions=(replace(STAGED, ext="/../../x"),)), 0),
    "a negative size": (replace(RENDERED, renditions=(replace(STAGED, size=-1),)), 0),
    "a number too large for SQLite": (replace(RENDERED, renditions=(replace(STAGED, inode=2**63),)), 0),
    "a truth for a number": (replace(RENDERED, width=True), 0),
    "a float for a number": (RENDERED, 1.5),
    "a table of renditions": (replace(RENDERED, renditions={"a": STAGED}), 0),  # type: ignore[arg-type]
    "a rendition that is none": (replace(RENDERED, renditions=(FAILED,)), 0),  # type: ignore[arg-type]
    "a digest that is none": (replace(RENDERED, sha256="DROP TABLE jobs"), 0),
    "notes that are no texts": (replace(RENDERED, notes={"a": 1}), 0),  # type: ignore[dict-item]
    "a code that does not exist": (RenderFailed(code="everything-is-fine", reason=""), 0),
    "a reason that is no text": (RenderFailed(code="truncated", reason=b"x"), 0),  # type: ignore[arg-type]
    "memory that is no number": (RenderFailed(code="deferred", reason="much"), 0),
    "three things": (FAILED, 0, 0),
    "bytes": b"x",
    "nothing": None,
    "a class": (RenderFailed, 0),
    "an exception": ValueError("x"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_lie_is_refused(lie: Any) -> None:
    with pytest.raises(BadAnswerError):
        read_result(sent(lie))


ODD = {
    "nothing": b"",
    "no JSON": b"garbage",
    "a pickle": b"\x80\x05K\x01.",
    "a pickle that recurses in C": b"\x80\x05}N" + b"\x85" * 200_000 + b"Ns.",
    "depth": b"[" * 200_000,
    "depth in a table": b'{"":' * 50_000,
    "depth that ends": b"[" * 100_000 + b"]" * 100_000,
    "a number of many digits": b"9" * 200_000,
    "no finite number": b'[{"RenderFailed":{"code":"truncated","reason":"x"}},Infinity]',
    "not ASCII": '["\u00e4",1]'.encode(),
    "UTF-16": json.dumps([1, {}]).encode("utf-16"),
    "a code that is a list": b'[{"RenderFailed":{"code":[],"reason":"x"}},0]',
    "a field more": b'[{"RenderFailed":{"code":"truncated","reason":"x","more":1}},0]',
    "a field less": b'[{"RenderFailed":{"code":"truncated"}},0]',
    "two kinds": b'[{"RenderFailed":{"code":"truncated","reason":"x"},"Rendered":{}},0]',
    "a list for a kind": b'[["RenderFailed"],0]',
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD.keys())
def test_bytes_of_other_kinds_are_refused(data: bytes) -> None:
    for read in (read_result, read_hello, read_text):
        with pytest.raises(BadAnswerError):
            read(data)


def test_texts_are_cut_and_can_be_stored() -> None:
    answer, _ = read_result(sent((RenderFailed(code="truncated", reason="\udcff" + "x" * 10_000), 0)))
    assert isinstance(answer, RenderFailed)
    assert len(answer.reason) < 1100
    assert answer.reason.encode("utf-8").startswith(b"\\udcff")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("lie", liars.LIES)
def test_a_lying_worker_costs_its_own_job_and_nothing_happens(lie: str, tmp_path: Path) -> None:
    """Through a real executor: the same as a worker that died, and the slot is whole again."""
    with bench_of_liars(tmp_path) as bench:
        report = bench.ready().report(lie)
        assert report.result is None
        assert report.death is not None
        assert report.death.kind == "crashed"
        assert isinstance(bench.ready().report("well").result, Rendered)
    assert not (tmp_path / f"trace-{os.getpid()}").exists(), "the daemon did what the pickle said"


@pytest.mark.timeout(60)
def test_half_a_message_holds_nobody_up(tmp_path: Path) -> None:
    with bench_of_liars(tmp_path, timeout_s=0.5) as bench:
        report = bench.ready().report("half_and_hangs")
        assert report.death is not None
        assert report.death.kind == "timeout"
        assert isinstance(bench.ready().report("well").result, Rendered)
        bench.submit("half_and_hangs")
        time.sleep(0.2)  # it is in the middle of its message, whatever the pool knows
        began_s = time.monotonic()
        bench.pool.stop()
        assert time.monotonic() - began_s < 2


@pytest.mark.timeout(60)
def test_a_worker_has_no_lock_to_keep(tmp_path: Path) -> None:
    """With one of the queue of calls it would have the next file fail by timeout, or the slot never end."""
    with bench_of_liars(tmp_path, timeout_s=5.0) as bench:
        assert bench.ready().report("keeps_locks").result == liars._FAILED
        assert isinstance(bench.report("well").result, Rendered)


@pytest.mark.timeout(60)
def test_a_worker_ends_neither_the_fork_server_nor_its_colleagues(tmp_path: Path) -> None:
    with bench_of_liars(tmp_path, workers=2) as bench:
        pids = {view.worker_pid for view in bench.ready().pool.view(bench.clock())}
        bench.report("kills_the_family")
        bench.ready().report_well_on_all()
        assert len(pids & {view.worker_pid for view in bench.pool.view(bench.clock())}) >= 1
        assert "lost with the fork server" not in {lost["reason"] for lost in bench.witness.lost}


@pytest.mark.timeout(60)
def test_who_says_stale_again_and_again_is_replaced_alone(tmp_path: Path) -> None:
    with bench_of_liars(tmp_path, workers=2) as bench:
        for _ in range(4):
            bench.ready().report("says_stale")
        assert len(bench.ready().witness.recycled) == 2 + 3, "all of them once, then the liar"
        bench.let_pass(11)
        bench.report("says_stale")
        assert len(bench.ready().witness.recycled) == 2 + 3 + 2


def bench_of_liars(root: Path, timeout_s: float = 20.0, workers: int = 1) -> PoolBench:
    entry = worker_entry(run=liars.run)
    entry = replace(entry, preload=(*entry.preload, "tests.support.liars"))
    return PoolBench(root, workers=workers, entry=entry, timeout_s=timeout_s)


def test_a_claim_cannot_be_cut_and_is_nobody_elses() -> None:
    one, other = Claim(), Claim()
    one[0] = 1.0
    assert other[0] == 0.0
    for size in (0, 4096, 2**20):
        with pytest.raises(PermissionError):
            os.ftruncate(one._descriptor, size)
    assert one[0] == 1.0


def test_an_answer_has_a_size() -> None:
    assert answers.MAX_ANSWER_BYTES < 2**24
