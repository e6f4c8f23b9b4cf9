"""Walk an inbox lazily: the folder is the truth, and a million waiting files must cost no memory."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from procwatch.fdopen import DIRECTORY_FLAGS, open_beneath
from procwatch.intake.filters import NameFilter
from procwatch.intake.look import Kind, kind_of
from procwatch.model import Fingerprint

#: A folder with such a name is almost surely a mistake that its owner wants to hear of.
IMAGE_EXTENSIONS: Final = frozenset({
    "avif", "bmp", "gif", "heic", "heif", "jpe", "jpeg", "jpg", "jxl", "png", "tif", "tiff", "webp",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One entry that a scan found: a file, or something odd of which people should hear.

    `kind` is as in Look, without "missing" and "unreadable": a scan only asks for the status.
    """

    path: str
    kind: Kind
    fingerprint: Fingerprint
    ctime_ns: int


def named_like_image(name: str) -> bool:
    """Return whether the name ends as names of image files do."""
    return name.rpartition(".")[2].lower() in IMAGE_EXTENSIONS


def scan(
    root: str,
    *,
    recursive: bool,
    filter: NameFilter,  # noqa: A002 (the room's word for it)
    subdir: str = "",
    real_root: str = "",
    on_error: Callable[[str, OSError], None] = lambda folder, error: None,
) -> Iterator[Found]:
    """Yield what is in `root`, or in its folder `subdir`, one folder open at a time.

    `real_root`: where `root` led at the start. A folder is then looked for there, and a link that was put into that
    way since is not followed; else links to `root` are, as the administrator's.

    Never follows a symbolic link; symlinks, FIFOs, sockets, devices and folders named like images are reported by
    their kind. Folders that vanish meanwhile are passed over, others that refuse go to `on_error`. May be left
    half-way for any time: what was added to a folder already passed is found by the next pass.
    """
    if subdir and (not recursive or filter.prunes(subdir)):
        return
    pending = [subdir]
    while pending:
        folder = pending.pop()
        try:
            yield from _scan_folder(
                root, folder, pending if recursive else None, filter, on_error, real_root=real_root
            )
        except FileNotFoundError as error:
            if not folder:
                on_error(folder, error)
        except OSError as error:
            on_error(folder, error)


def _scan_folder(
    root: str,
    folder: str,
    pending: list[str] | None,
    names: NameFilter,
    on_error: Callable[[str, OSError], None],
    *,
    real_root: str,
) -> Iterator[Found]:
    """Yield the entries of one folder; its subfolders go to `pending`, which is None when they do not count."""
    descriptor = _open_folder(real_root, root, folder)
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if names.prunes(path):
                        continue
                    if pending is not None:
                        pending.append(path)
                    if not named_like_image(entry.name):
                        continue
                if names.ignored_by(path) is None:
                    found = _found(entry, path, on_error)
                    if found is not None:
                        yield found
    finally:
        os.close(descriptor)


def leads_elsewhere(root: str, real_root: str) -> str:
    """Say that `root` no longer leads to `real_root`, to which it led at the start; "" while it does.

    A link that is put in the place of an inbox would have the daemon take away every file of another folder, with the
    daemon's rights. A folder that was removed and made again, or mounted, is where it was.
    """
    now = os.path.realpath(root)
    return (
        ""
        if now == real_root
        else f"it leads to {now!a} now, and not to {real_root!a}: restart if that is meant"
    )


def _open_folder(real_root: str, root: str, folder: str) -> int:
    if real_root:
        return open_beneath("/", f"{real_root}/{folder}".strip("/") or ".", DIRECTORY_FLAGS)
    if folder:
        return open_beneath(root, folder, DIRECTORY_FLAGS)
    # The inbox itself may be reached through links: it is the administrator's.
    return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _found(entry: "os.DirEntry[str]", path: str, on_error: Callable[[str, OSError], None]) -> Found | None:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        on_error(path, error)
        return None
    return Found(
        path=path,
        kind=kind_of(status.st_mode),
        fingerprint=Fingerprint.of(status),
        ctime_ns=status.st_ctime_ns,
    )
