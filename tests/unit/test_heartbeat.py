"""The heartbeat: pings while procwatch moves, none when it is stuck inside."""

from typing import Any

import pytest

from procwatch.heartbeat import LEDGER_STALLED_S, WORKER_GRACE_S, Heartbeat, status_line
from procwatch.pool.ports import SlotView

pytestmark = pytest.mark.unit


class Systemd:
    active = True

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.shown = ""

    def watchdog_interval_s(self) -> float | None:
        return 30.0

    def watchdog(self) -> None:
        self.heard.append("ping")

    def status(self, text: str) -> None:
        self.shown = text
        self.heard.append(text)

    def extend_timeout(self, seconds: float) -> None:
        self.heard.append(f"extend {seconds:g}")


class Journal:
    stalled_s = 0.0

    def busy_s(self, now_s: float) -> float:
        return self.stalled_s


class Pool:
    busy_s = 0.0

    def view(self, now_s: float) -> list[SlotView]:
        return [SlotView(slot=1, worker_pid=7, job="j", busy_s=self.busy_s, jobs=0, rss_bytes=0)]


def heart() -> tuple[Heartbeat, Systemd, Journal, Pool]:
    systemd, journal, pool = Systemd(), Journal(), Pool()
    parts: dict[str, Any] = {"notifier": systemd, "journal": journal, "pool": pool}
    return (
        Heartbeat(status=lambda now_s: "all well", timeout_s=lambda: 120.0, **parts),
        systemd,
        journal,
        pool,
    )


def test_it_pings_three_times_an_interval_and_asks_to_be_called_in_time() -> None:
    beat, systemd, _, _ = heart()
    again = [beat.beat(now, stopping=False) for now in (0.0, 5.0, 10.0, 20.0)]
    assert systemd.heard.count("ping") == 3
    assert all(
        due is not None and due - now <= 10.0 for due, now in zip(again, (0.0, 5.0, 10.0, 20.0), strict=True)
    )


def test_no_ping_while_the_ledger_hangs_and_again_when_it_moves() -> None:
    beat, systemd, journal, _ = heart()
    journal.stalled_s = LEDGER_STALLED_S + 1
    beat.beat(0.0, stopping=False)
    assert "ping" not in systemd.heard
    journal.stalled_s = 0.0
    beat.beat(1.0, stopping=False)
    assert "ping" in systemd.heard


def test_no_ping_while_a_worker_outlives_its_deadline() -> None:
    beat, systemd, _, pool = heart()
    pool.busy_s = 120.0 + WORKER_GRACE_S + 1
    beat.beat(0.0, stopping=False)
    assert "ping" not in systemd.heard
    assert "worker 7" in beat.stalled(0.0)


def test_a_slow_worker_within_its_deadline_is_no_stall() -> None:
    beat, systemd, _, pool = heart()
    pool.busy_s = 119.0
    beat.beat(0.0, stopping=False)
    assert "ping" in systemd.heard


def test_while_stopping_it_asks_for_time() -> None:
    beat, systemd, _, _ = heart()
    beat.beat(0.0, stopping=True)
    assert "extend 15" in systemd.heard


def test_the_status_is_told_when_it_changes() -> None:
    beat, systemd, _, _ = heart()
    for now in (0.0, 6.0, 12.0):
        beat.beat(now, stopping=False)
    assert systemd.heard.count("all well") == 1


def test_the_status_comes_back_after_another_word_such_as_reloaded() -> None:
    beat, systemd, _, _ = heart()
    beat.beat(0.0, stopping=False)
    systemd.shown = "reloaded"  # as Notifier.ready leaves it
    beat.beat(6.0, stopping=False)
    assert systemd.heard.count("all well") == 2


def test_the_status_line_reads_well() -> None:
    line = status_line(waiting=12, oldest_s=4.0, running=8, failed_today=3, trouble="")
    assert line == "12 waiting, oldest 4.0 s, 8 running, 3 failed today"
    line = status_line(waiting=0, oldest_s=None, running=0, failed_today=0, trouble="not watched: scans")
    assert line == "0 waiting, 0 running, 0 failed today; not watched: scans"
