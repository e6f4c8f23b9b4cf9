"""Two thousand damaged pictures, and every file of the hostile corpus, through the real program."""

from collections import Counter
from pathlib import Path

import pytest

from tests.support import images, logs
from tests.support.corpus import listed
from tests.support.daemon import procwatch
from tests.support.fuzz import seeds
from tests.support.mutator import mutant
from tests.support.oracle import Oracle, digest, files_below
from tests.support.places import Places

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

COUNT = 2000
#: Not those of test_fuzz.py.
FIRST = 5_000_000


def test_two_thousand_mutants_cost_nobody_anything(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """One terminal line each with a stable code, no worker lost, good pictures among them done, nothing else written."""
    places.make()
    of, number = seeds(None), FIRST
    while len(oracle.dropped) < COUNT:
        name, data = mutant(number, of)
        number += 1
        if digest(data) not in oracle.dropped:  # two can be equal, such as those cut to nothing
            path = f"{number}-{name}"
            images.write(places.inbox / path, oracle.expect(path, data))
    good = {f"good-{index}.jpg": images.jpeg(index) for index in range(20)}
    for path, data in good.items():
        images.write(places.inbox / path, oracle.expect(path, data))
    config = places.write_config(inbox='settle = "0s"\nincomplete_after = "0s"', level="info")
    ended = procwatch("once", "-c", config, cwd=tmp_path, timeout_s=170)
    assert ended.returncode == 1, ended  # some failed
    assert "Traceback" not in ended.stderr
    lines = logs.parse(ended.stdout)
    logs.judge(lines, orderly=True)
    assert len(logs.terminal(lines)) == COUNT + len(good)
    codes = Counter(line.get("error", "done") for line in logs.terminal(lines))
    assert "internal-error" not in codes, codes
    assert codes["done"] > COUNT / 10
    assert codes["truncated"] > COUNT / 10
    assert not logs.select(lines, "pool.worker_lost")
    assert not logs.select(lines, "log.foreign"), "no decoder writes into the log"
    assert all(logs.select(lines, "job.done", path=path) for path in good)
    oracle.check(inbox=0)


def test_the_hostile_corpus_leaves_the_tree_around_it_alone(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    hostile = listed("hostile")
    places.make()
    before = set(files_below(tmp_path))
    for file in hostile:
        images.write(places.inbox / file.name, oracle.expect(file.name, file.read_bytes()))
    config = places.write_config(inbox='settle = "0s"\nincomplete_after = "0s"', level="info")
    ended = procwatch("once", "-c", config, cwd=tmp_path, timeout_s=100)
    lines = logs.parse(ended.stdout)
    assert len(logs.terminal(lines)) == len(oracle.dropped)
    assert not logs.select(lines, "pool.worker_lost")
    assert not [line for line in logs.terminal(lines) if line.get("error") == "internal-error"]
    oracle.check(inbox=0)
    ours = {places.inbox, places.outbox, places.archive, places.failed, places.root / ".procwatch"}
    new = set(files_below(tmp_path)) - before - {config}
    assert all(any(file.is_relative_to(folder) for folder in ours) for file in new), new
