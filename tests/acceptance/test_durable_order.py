"""The order of what reaches the disk, as the kernel was asked: seen by strace, not by any code of ours."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import images
from tests.support.daemon import PROGRAM, environment
from tests.support.places import Places

pytestmark = pytest.mark.acceptance

_CALLS = "fchmod,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,sync_file_range"


def traced(places: Places, trace: Path) -> list[str]:
    """Run `once` below strace and return its calls about files, in the order in which they ended."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    run = subprocess.run(
        [
            "strace",
            "-f",
            "-y",
            "-s",
            "400",
            "-o",
            str(trace),
            "-e",
            f"trace={_CALLS}",
            *PROGRAM,
            "once",
            str(places.root),
        ],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if "ptrace" in run.stderr and run.returncode:
        pytest.skip(f"strace may not trace here: {run.stderr.splitlines()[-1]}")
    assert run.returncode == 0, run.stderr
    whole = _whole_calls(trace.read_text(errors="replace").splitlines())
    return [line for line in whole if re.search(r"\) += 0$", line)]


def _whole_calls(lines: list[str]) -> list[str]:
    """Put together what strace writes in two lines where another thread's call came in between; order of the ends."""
    begun: dict[str, str] = {}
    whole = []
    for line in lines:
        pid, _, call = line.partition(" ")
        if call.endswith("<unfinished ...>"):
            begun[pid] = line.removesuffix("<unfinished ...>")
            continue
        resumed = re.match(r" *<\.\.\. \w+ resumed>", call)
        whole.append(begun.pop(pid) + call[resumed.end() :] if resumed and pid in begun else line)
    return whole


def test_what_is_published_is_durable_before_the_original_is_touched(tmp_path: Path) -> None:
    """fsync(staged) < rename < fsync(outbox) < commit(done) < removal of the original.

    The intent's commit comes before the rename, too; that it need not be durable by then, where nothing is replaced, is
    for tests/unit/test_dispatch_power_cut.py.
    """
    places = Places(root=tmp_path / "site").make()
    photo = places.inbox / "photo.jpg"
    photo.write_bytes(images.jpeg(1))
    os.utime(photo, (1, 1))
    calls = traced(places, tmp_path / "trace")

    def at(what: str, *words: str, last: bool = False) -> int:
        found = [
            n
            for n, call in enumerate(calls)
            if re.search(rf"\b{what}\(", call) and all(w in call for w in words)
        ]
        assert found, f"no {what} of {words} in:\n" + "\n".join(calls)
        return found[-1] if last else found[0]

    staged = at("fsync", ".procwatch-staging", last=True)
    renames = [at("renameat2", ".procwatch-staging", f"photo-{name}.jpg") for name in ("web", "thumb")]
    folder = at("fsync", f"<{places.outbox}>")
    removed = at("renameat2", f"{places.inbox}/photo.jpg", f"{places.archive}/.procwatch-held-")
    commits = [
        n
        for n, call in enumerate(calls)
        if re.search(r"\bf(data)?sync\(", call) and "ledger.sqlite-wal" in call
    ]

    assert staged < min(renames)
    assert not [call for call in calls if "fchmod(" in call and ".jpg" in call], (
        "the worker made the outputs with their mode; a change right before an fsync makes that one expensive"
    )
    assert max(renames) < folder
    assert any(folder < commit < removed for commit in commits), (
        "done was not durable before the original went"
    )


def test_an_intent_to_replace_is_durable_before_it_is_done(tmp_path: Path) -> None:
    """Dropped again with other content: the ledger must not call the earlier job done with files that are gone."""
    places = Places(root=tmp_path / "site").make()
    photo = places.inbox / "photo.jpg"
    for number in (1, 2):
        photo.write_bytes(images.jpeg(number))
        os.utime(photo, (number, number))
        calls = traced(places, tmp_path / f"trace-{number}")
    staged = max(n for n, call in enumerate(calls) if "sync_file_range(" in call)  # then the worker answers
    renames = [n for n, call in enumerate(calls) if "rename" in call and "photo-web.jpg" in call]
    commits = [n for n, call in enumerate(calls) if "sync(" in call and "ledger.sqlite-wal" in call]
    assert any(staged < commit < min(renames) for commit in commits), "\n".join(calls)
