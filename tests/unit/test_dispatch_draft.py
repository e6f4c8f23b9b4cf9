"""What is asked of the ledger while a file is being rendered, so that it need not be asked when it is published."""

from collections.abc import Iterable
from typing import Any

import pytest

from procwatch.delivery.memory_fs import MemoryFs
from procwatch.dispatch.job import RecipePlan
from tests.unit.test_dispatch_power_cut import TEMPLATES, Daemon

pytestmark = pytest.mark.unit

BOTH = dict.fromkeys(TEMPLATES, frozenset({"jpg", "webp"}))


def recipe(**templates: str) -> RecipePlan:
    return RecipePlan(name="web", hash="h", templates=templates or TEMPLATES, payload=None, extensions=BOTH)


class Asked:
    """The ledger's reader, which notes what it is asked for."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.names: list[list[str]] = []

    def owners(self, names: Iterable[tuple[str, str]]) -> Any:
        names = list(names)
        self.names.append(sorted(key for _, key in names))
        return self._reader.owners(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


@pytest.fixture
def daemon() -> Daemon:
    fs = MemoryFs()
    for folder in ("/in", "/out", "/archive", "/failed"):
        fs.put_dir(folder)
    daemon = Daemon(fs, None)
    daemon.asked = Asked(daemon.ledger)  # type: ignore[attr-defined]
    daemon.publisher._planner._names._reader = daemon.asked  # type: ignore[attr-defined]
    return daemon


def asked(daemon: Daemon) -> list[list[str]]:
    names: list[list[str]] = daemon.asked.names  # type: ignore[attr-defined]
    return names


def drop(daemon: Daemon, name: str, content: bytes) -> None:
    daemon.fs.put(f"/in/{name}", content)
    daemon.run()


@pytest.mark.parametrize("content", [b"picture", b"with alpha"])
def test_a_draft_answers_for_every_format_that_may_come(content: bytes, daemon: Daemon) -> None:
    daemon.publisher.draft("a.jpg", recipe())
    drop(daemon, "a.jpg", content)
    assert asked(daemon) == [["a-thumb.jpg", "a-thumb.webp", "a-web.jpg", "a-web.webp"]]


def test_a_draft_of_other_names_is_of_no_use(daemon: Daemon) -> None:
    daemon.publisher.draft("a.jpg", recipe(web="{stem}-{width}.{ext}", thumb="{stem}.{ext}"))
    drop(daemon, "a.jpg", b"picture")
    assert asked(daemon)[1] == ["a-thumb.jpg", "a-web.jpg"]


def test_a_draft_is_good_for_the_next_batch_only(daemon: Daemon) -> None:
    """The first batch may have taken what was free: a-web.jpg is of a.jpeg when a.jpg comes."""
    daemon.publisher.draft("a.jpg", recipe())
    drop(daemon, "a.jpeg", b"picture")
    drop(daemon, "a.jpg", b"picture")
    assert len(asked(daemon)) == 2
    assert {"/out/a-web.jpg", "/out/a-web-2.jpg"} <= set(daemon.fs.files("/out"))


def test_a_name_that_another_inbox_takes_after_the_draft_stays_theirs(daemon: Daemon) -> None:
    daemon.publisher.draft("a.jpg", recipe())
    daemon.journal.db.execute(
        "INSERT INTO names (outbox, key, name, inbox, source, output, job)"
        " VALUES (CAST('/out' AS BLOB), CAST('a-web.jpg' AS BLOB), CAST('a-web.jpg' AS BLOB), 'other', x'61', 'web', 'j')"
    )
    drop(daemon, "a.jpg", b"picture")
    assert set(daemon.fs.files("/out")) == {"/out/a-web-2.jpg", "/out/a-thumb.jpg"}
