"""A worker that was taken over answers what it likes; the daemon takes data of the right shape, or nothing."""

import os
import pickle
from concurrent.futures.process import _ResultItem
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from procwatch.model import Rendered, RenderFailed, Staged
from procwatch.pool import results
from procwatch.pool.results import BadAnswerError, read_answer
from tests.support import liars
from tests.support.bad_workers import worker_entry
from tests.support.pool_bench import PoolBench

pytestmark = pytest.mark.integration

STAGED = Staged(output="web", file="0.jpg", ext="jpg", width=10, height=20, size=300, inode=7)
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


def sent(result: Any, **more: Any) -> bytes:
    """Return the bytes that an executor's worker sends for a result."""
    return pickle.dumps(_ResultItem(3, result=result, **more))


@pytest.mark.parametrize(
    "answer", [(RENDERED, 4096), (FAILED, 0), (4711, {"resampler": "simd"}), "", "the canary failed"]
)
def test_what_workers_really_answer_arrives_unchanged(answer: Any) -> None:
    item = read_answer(sent(answer))
    assert (item.work_id, item.exception, item.exit_pid, item.result) == (3, None, None, answer)


class Acts:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


LIES = {
    "another rendition's name": (replace(RENDERED, renditions=(replace(STAGED, file="../../x.jpg"),)), 0),
    "an absolute name": (replace(RENDERED, renditions=(replace(STAGED, file="/etc/passwd"),)), 0),
    "a name with a newline": (replace(RENDERED, renditions=(replace(STAGED, file="0.jpg\n"),)), 0),
    "an extension with a slash": (replace(RENDERED, renditions=(replace(STAGED, ext="/../../x"),)), 0),
    "a negative size": (replace(RENDERED, renditions=(replace(STAGED, size=-1),)), 0),
    "a number too large for SQLite": (replace(RENDERED, renditions=(replace(STAGED, inode=2**63),)), 0),
    "a truth for a number": (replace(RENDERED, width=True), 0),
    "a float for a number": (RENDERED, 1.5),
    "a list of renditions": (replace(RENDERED, renditions=[STAGED]), 0),  # type: ignore[arg-type]
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
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_lie_is_refused(lie: Any) -> None:
    with pytest.raises(BadAnswerError):
        read_answer(sent(lie))


def test_a_pickle_that_acts_does_not(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for function, argument in ((os.mkdir, str(trace)), (eval, f"__import__('os').mkdir({str(trace)!r})")):
        for data in (
            sent((Acts(function, argument), 0)),
            pickle.dumps(Acts(function, argument)),
            pickle.dumps([Acts(function, argument)], protocol=0),
        ):
            with pytest.raises(BadAnswerError, match="an answer names"):
                read_answer(data)
    assert not trace.exists()


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(4711),  # "I leave": ends the manager thread of the executor
        sent(FAILED, exit_pid=1),
        pickle.dumps(_ResultItem(3, exception=ValueError("x"))),
        pickle.dumps(_ResultItem("3", result="")),  # type: ignore[arg-type]
        b"",
        b"\x80\x05",
        b"garbage",
        b"\x80\x05\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
    ],
)
def test_messages_of_other_kinds_are_refused(data: bytes) -> None:
    with pytest.raises(BadAnswerError):
        read_answer(data)


def test_texts_are_cut_and_can_be_stored() -> None:
    answer = read_answer(sent((RenderFailed(code="truncated", reason="\udcff" + "x" * 10_000), 0)))
    reason = answer.result[0].reason
    assert len(reason) < 3000
    assert reason.encode("utf-8").startswith(b"\\udcff")


def test_nothing_of_an_answer_changes_the_next_one() -> None:
    """A pickle may set attributes of the classes that it can name: those are made anew for each answer."""
    # GLOBAL RenderFailed, then BUILD with the state (None, {"code": "x"}): sets the attribute of the class itself.
    poison = b"cprocwatch.model\nRenderFailed\n(N}X\x04\x00\x00\x00codeX\x01\x00\x00\x00xstb."
    with pytest.raises(BadAnswerError):
        read_answer(poison)
    assert RenderFailed(code="truncated", reason="").code == "truncated"
    assert read_answer(sent((FAILED, 0))).result == (FAILED, 0)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("lie", liars.LIES)
def test_a_lying_worker_costs_its_own_job_and_nothing_happens(lie: str, tmp_path: Path) -> None:
    """Through a real executor: the same as a worker that died, and the slot is whole again."""
    entry = worker_entry(run=liars.run)
    entry = replace(entry, preload=(*entry.preload, "tests.support.liars"))
    with PoolBench(tmp_path, workers=1, entry=entry) as bench:
        bench.ready()
        report = bench.report(lie)
        assert report.result is None
        assert report.death is not None
        assert report.death.kind == "crashed"
        assert isinstance(bench.ready().report("well").result, Rendered)
    assert not (tmp_path / "trace").exists(), "the daemon did what the pickle said"


def test_an_answer_has_a_size() -> None:
    assert results.MAX_ANSWER_BYTES < 2**24
