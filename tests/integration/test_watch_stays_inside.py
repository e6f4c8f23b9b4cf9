"""The watch of a recursive inbox: a folder that was swapped for a link leads nowhere."""

import errno
import os
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, Mask, WatchDescriptor

from procwatch.intake.inotify import CarefulInotifyFD
from tests.support.processes import watched_inodes

pytestmark = pytest.mark.integration


class Deaf:
    """A callback of watchdog that ignores everything."""

    def on_event(self, event: InotifyEvent) -> None:
        """Nothing."""

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """Nothing."""

    def on_queue_overflow(self) -> None:
        """Nothing."""


def test_nothing_behind_a_link_is_watched(tmp_path: Path) -> None:
    """Between watchdog's look at a folder and its call, somebody puts a link in its place, or in its parent's."""
    inbox, elsewhere = tmp_path / "inbox", tmp_path / "elsewhere"
    (inbox / "album").mkdir(parents=True)
    (elsewhere / "below").mkdir(parents=True)
    (inbox / "link").symlink_to(elsewhere)
    instance = CarefulInotifyFD(os.fsencode(inbox), lambda: None)
    instance.start()
    try:
        mask = Mask(InotifyConstants.IN_CREATE)
        for path in (inbox, inbox / "album"):
            instance.add_callback(os.fsencode(path), mask, Deaf(), CallbackId(1))
        for path in (inbox / "link", inbox / "link/below"):
            with pytest.raises(OSError, match=r"symbolic links|Not a directory") as refused:
                instance.add_callback(os.fsencode(path), mask, Deaf(), CallbackId(1))
            assert refused.value.errno in (errno.ELOOP, errno.ENOTDIR)
        assert watched_inodes(os.getpid()) == {inbox.stat().st_ino, (inbox / "album").stat().st_ino}
    finally:
        instance.stop()
        instance.join()
