"""An inbox that goes blind, or away, is noticed, told of and healed; nothing that is dropped meanwhile is lost."""

import os
import shutil
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import images, logs, namespaces, privileges, processes
from tests.support.daemon import Daemon
from tests.support.oracle import Oracle
from tests.support.places import Places

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(90)]

#: Longer than any test: what is found was found by an event, or by the scan that healing asks for.
NO_RESCAN = 'rescan = "10m"'
#: A silent death is noticed within 5 s, a folder that is back within 10 s.
NOTICED_S = 10.0
HEALED_S = 20.0


def second_inbox(root: Path) -> Places:
    """Return the folders of another inbox, next to those of `root`."""
    return Places(root=root.with_name(f"{root.name}-second"))


def config_of_two(places: Places, other: Places, inbox: str = NO_RESCAN) -> Path:
    """Write a configuration with two inboxes, named "inbox" and "second"."""
    return places.write_config(
        inbox=f"""name = "first"
{inbox}

[[inbox]]
name = "second"
path = "{other.inbox}"
outbox = "{other.outbox}"
archive = "{other.archive}"
failed = "{other.failed}"
settle = "100ms"
recipe = "web"
{inbox}
"""
    )


def drop(oracle: Oracle, name: str, seed: int) -> None:
    images.write(oracle.places.inbox / name, oracle.expect(name, images.jpeg(seed)))


def drop_and_see_done(daemon: Daemon, oracle: Oracle, name: str, seed: int) -> None:
    """Show that events flow: with no rescan in sight only they can tell of this file."""
    drop(oracle, name, seed)
    daemon.wait_for("job.done", path=name, timeout_s=5)


# --- inboxes that are bad from the start ---


def test_an_inbox_that_is_missing_at_the_start_is_served_as_soon_as_it_is_there(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """One missing inbox of several is degraded, not the end."""
    other = second_inbox(places.root)
    late = Oracle(places=other)
    with Daemon("-c", config_of_two(places, other), cwd=tmp_path) as daemon:
        daemon.wait_for("watch.lost", inbox="second")
        drop_and_see_done(daemon, oracle, "first.jpg", 1)
        other.inbox.mkdir(parents=True)
        began = time.monotonic()
        drop(late, "waiting.jpg", 2)
        daemon.wait_for("watch.restored", inbox="second", timeout_s=HEALED_S)
        daemon.wait_for("job.done", inbox="second", path="waiting.jpg")
        assert time.monotonic() - began < HEALED_S
        drop_and_see_done(daemon, late, "event.jpg", 3)
        oracle.eventually(archive=1)
        late.eventually(archive=2)
    assert not logs.select(daemon.lines(), "watch.lost", inbox="first")


def test_what_a_crash_left_in_an_inbox_that_is_away_at_the_next_start_is_finished_when_it_is_back(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """Recovery waits for the folder; until then nothing of the inbox is touched, so that nothing is done twice."""
    other = second_inbox(places.root)
    other.inbox.mkdir(parents=True)
    late = Oracle(places=other)
    config = config_of_two(places, other)
    drop(late, "published.jpg", 4)
    crashed = Daemon("-c", config, cwd=tmp_path, env={"PROCWATCH_FAULT": "ledger.done:1"}).start()
    assert crashed.process.wait(30) == -signal.SIGKILL
    crashed.wait_for_no_orphans()
    away = other.inbox.with_name("away")
    other.inbox.rename(away)
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        daemon.wait_for("watch.lost", inbox="second")
        away.rename(other.inbox)
        daemon.wait_for("job.done", path="published.jpg", recovered=True, timeout_s=HEALED_S)
        late.eventually(archive=1)
        oracle.eventually(archive=0)


# --- folders that go away and come back ---


def test_an_inbox_that_is_deleted_is_served_again_when_somebody_makes_it_anew(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """watchdog's emitter dies of this without a word, and its observer says that it is alive."""
    with Daemon("-c", places.write_config(inbox=NO_RESCAN), cwd=tmp_path) as daemon:
        drop_and_see_done(daemon, oracle, "before.jpg", 10)
        oracle.eventually(archive=1)
        shutil.rmtree(places.inbox)
        daemon.wait_for("watch.lost", timeout_s=NOTICED_S)
        places.inbox.mkdir()
        drop(oracle, "waiting.jpg", 11)
        daemon.wait_for("watch.restored", timeout_s=HEALED_S)
        daemon.wait_for("job.done", path="waiting.jpg")
        drop_and_see_done(daemon, oracle, "after.jpg", 12)
        oracle.eventually(archive=3)


def test_an_inbox_that_is_replaced_between_two_checks_is_scanned(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """Deleted and made anew within a moment: lost and restored in one go, and what came meanwhile is found."""
    with Daemon("-c", places.write_config(inbox=NO_RESCAN), cwd=tmp_path) as daemon:
        places.inbox.rmdir()
        drop(oracle, "meanwhile.jpg", 13)
        daemon.wait_for("job.done", path="meanwhile.jpg", timeout_s=HEALED_S)
        drop_and_see_done(daemon, oracle, "after.jpg", 14)
        oracle.eventually(archive=2)


def test_an_inbox_that_is_renamed_and_renamed_back_loses_nothing(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """While its name leads nowhere, a file that cannot be found is not taken for removed."""
    elsewhere = places.root / "elsewhere"
    with Daemon("-c", places.write_config(inbox=NO_RESCAN + '\nsettle = "3s"'), cwd=tmp_path) as daemon:
        images.write(places.inbox / "settling.webp", oracle.expect("settling.webp", images.webp(15)))
        time.sleep(0.5)  # noticed, and not settled for some seconds yet
        places.inbox.rename(elsewhere)
        daemon.wait_for("watch.lost", timeout_s=NOTICED_S)
        late = oracle.expect("late.jpg", images.jpeg(16))
        images.write(elsewhere / "late.jpg", late)
        elsewhere.rename(places.inbox)
        daemon.wait_for("watch.restored", timeout_s=HEALED_S)
        daemon.wait_for_ends(2)
        oracle.eventually(archive=2)
    assert not logs.select(daemon.lines(), "job.vanished")


def test_an_inbox_that_is_closed_to_us_is_served_again_when_it_is_open(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """chmod 000: watchdog takes EACCES on the folder for success and watches nothing."""
    config = places.write_config(inbox=NO_RESCAN)
    with Daemon("-c", config, cwd=tmp_path, prefix=privileges.without_override()) as daemon:
        places.inbox.chmod(0o000)
        try:
            daemon.wait_for("watch.lost", timeout_s=NOTICED_S)
        finally:
            places.inbox.chmod(0o755)
        drop(oracle, "waiting.jpg", 17)
        daemon.wait_for("watch.restored", timeout_s=HEALED_S)
        drop_and_see_done(daemon, oracle, "after.jpg", 18)
        oracle.eventually(archive=2)


def test_an_inbox_that_is_unmounted_keeps_its_files_and_its_jobs(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """The folder under the mount is empty: its files are not gone, they are away, and none is rendered twice."""
    disk = tmp_path / "disk"
    disk.mkdir()
    places.make()
    config = places.write_config(inbox=NO_RESCAN + '\nsettle = "4s"')
    with namespaces.bind(disk, places.inbox), Daemon("-c", config, cwd=tmp_path) as daemon:
        drop_and_see_done(
            daemon, oracle, "done.jpg", 20
        )  # complete by its trailer; its original stays for 4 s
        namespaces.detach(places.inbox)
        daemon.wait_for("watch.lost", timeout_s=NOTICED_S)
        images.write(disk / "late.jpg", oracle.expect("late.jpg", images.jpeg(21)))
        with namespaces.bind(disk, places.inbox):
            daemon.wait_for("watch.restored", timeout_s=HEALED_S)
            daemon.wait_for("job.done", path="late.jpg")
            drop_and_see_done(daemon, oracle, "after.jpg", 22)
            oracle.eventually(archive=3)
            assert daemon.terminate() == 0
    assert len(logs.terminal(daemon.lines())) == 3


def test_an_inbox_that_is_mounted_over_serves_both_folders_in_turn(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """inotify goes on watching the folder underneath, in which nobody can drop anything any more."""
    namespaces.need_mounts()  # before the daemon starts, else it does not see them
    config = places.write_config(inbox=NO_RESCAN)
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        with namespaces.tmpfs(places.inbox, size="4m"):
            drop(oracle, "over.jpg", 23)
            daemon.wait_for("job.done", path="over.jpg", timeout_s=HEALED_S)
            drop_and_see_done(daemon, oracle, "over-too.jpg", 24)
            oracle.eventually(archive=2)
        drop(oracle, "under.jpg", 25)
        daemon.wait_for("job.done", path="under.jpg", timeout_s=HEALED_S)
        drop_and_see_done(daemon, oracle, "under-too.jpg", 26)
        oracle.eventually(archive=4)


# --- limits of inotify ---


def test_without_inotify_instances_the_inbox_is_polled(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    prefix = namespaces.inotify_limits(instances=0)
    config = places.write_config(inbox=NO_RESCAN)
    with Daemon("-c", config, cwd=tmp_path, prefix=prefix) as daemon:
        started = daemon.wait_for("watch.started")
        assert started["mode"] == "polling"
        assert "instance limit" in started["reason"]
        drop_and_see_done(daemon, oracle, "polled.jpg", 30)
        oracle.eventually(archive=1)


def test_folders_beyond_the_limit_of_watches_are_told_of_counted_and_found_by_rescans(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """watchdog watched 7 folders of 20 without a word. A file that no event told of counts as missed."""
    prefix = namespaces.inotify_limits(watches=4)
    config = places.write_config(inbox='rescan = "7s"')
    for number in range(10):
        (places.inbox / f"{number}").mkdir()
    with Daemon("-c", config, cwd=tmp_path, prefix=prefix) as daemon:
        told = daemon.wait_for("watch.overflowed")
        assert "max_user_watches" in told["hint"]
        daemon.wait_for("scan.finished", cause="rescan")
        for number in range(10):
            drop(oracle, f"{number}/{number}.jpg", 31 + number)
        daemon.wait_for_ends(10)
        oracle.eventually(archive=10)
        scans = logs.select(daemon.lines(), "scan.finished")
    missed = sum(line["missed"] for line in scans)
    assert missed == 7, scans  # the inbox and three of its folders have a watch


# --- lost events ---


def test_when_the_kernel_drops_events_a_scan_finds_what_they_were_about(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """A stopped daemon reads no events: files that nobody wants fill its queue, those dropped then are untold."""
    with ExitStack() as stack:
        with namespaces.event_queue_length() as length:
            daemon = stack.enter_context(Daemon("-c", places.write_config(inbox=NO_RESCAN), cwd=tmp_path))
            daemon.wait_for("scan.finished", cause="start")
        processes.freeze(daemon.pid)
        try:
            for number in range(length // 2 + 100):  # a file is created and closed
                os.close(os.open(places.inbox / f".{number}", os.O_CREAT | os.O_WRONLY))
            for number in range(20):
                drop(oracle, f"{number}.jpg", 50 + number)
            for number in range(length // 2 + 100):
                (places.inbox / f".{number}").unlink()
        finally:
            daemon.signal(signal.SIGCONT)
        began = time.monotonic()
        daemon.wait_for("watch.overflowed")
        daemon.wait_for_ends(20)
        assert time.monotonic() - began < 10
        oracle.eventually(archive=20)
        drop_and_see_done(daemon, oracle, "after.jpg", 70)
        oracle.eventually(archive=21)
