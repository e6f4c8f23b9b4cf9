"""How a folder can be watched."""

import pytest

from procwatch.intake.filesystems import filesystem_type, mode_of, watch_mode

pytestmark = pytest.mark.unit

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /srv rw - nfs4 server:/srv rw
31 30 0:26 / /srv/local rw - xfs /dev/vdb rw
32 22 0:27 / /mnt/my\040share rw shared:2 master:3 - cifs //host/share rw
33 22 0:28 / /mnt/twice rw - ext4 /dev/vdc rw
34 33 0:29 / /mnt/twice rw - fuse.sshfs host: rw
a line of nonsense
"""


@pytest.mark.parametrize(
    ("path", "fs_type"),
    [
        ("/", "ext4"),
        ("/home/a", "ext4"),
        ("/srv", "nfs4"),
        ("/srv/photos", "nfs4"),
        ("/srvice", "ext4"),
        ("/srv/local/x", "xfs"),
        ("/mnt/my share/in", "cifs"),
        ("/mnt/twice/in", "fuse.sshfs"),
    ],
)
def test_the_longest_and_latest_mount_holds_a_path(path: str, fs_type: str) -> None:
    assert filesystem_type(MOUNTS, path) == fs_type


@pytest.mark.parametrize(
    "fs_type", ["nfs", "nfs4", "cifs", "smb3", "9p", "vboxsf", "virtiofs", "fuse", "fuse.rclone"]
)
def test_file_systems_that_others_write_to_unseen_are_polled(fs_type: str) -> None:
    assert mode_of(fs_type) == "polling"


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", ""])
def test_local_file_systems_are_watched_natively(fs_type: str) -> None:
    assert mode_of(fs_type) == "native"


def test_this_machines_proc_is_native() -> None:
    assert watch_mode("/proc/self") == "native"
