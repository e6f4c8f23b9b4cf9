"""Put failed files back into their inbox as new files: found by their error files, moved without replacing anything."""

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass

from procwatch.control.places import read_report
from procwatch.delivery.fsops import HELD_PREFIX, TEMP_PREFIX, FsOps, NotPlainFileError
from procwatch.delivery.naming import ERROR_SUFFIX, error_name, safe_relative
from procwatch.delivery.sys_calls import set_mode
from procwatch.dispatch.tree import folders_below
from procwatch.fdopen import DIRECTORY_FLAGS, open_beneath
from procwatch.model import InboxSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedFile:
    """A file in the failed folder. `name` is relative to that folder, `path` to the inbox that it goes back to."""

    spec: InboxSpec
    name: str
    path: str
    job: str | None
    error: str | None


def failed_files(spec: InboxSpec, below: str = "") -> Iterator[FailedFile]:
    """Yield every failed file of the inbox, or those in one folder below its failed folder."""
    for found in folders_below(spec.failed, start=below):
        reports = {error_name(name) for name in found.sizes}
        for name in sorted(found.sizes):
            is_report = name in reports or name.endswith(ERROR_SUFFIX)
            if name.startswith((TEMP_PREFIX, HELD_PREFIX)) or (
                is_report and error_name(name) not in found.sizes
            ):
                continue
            yield failed_file(spec, found.path(name))


def failed_file(spec: InboxSpec, name: str) -> FailedFile:
    """Return what the error file beside `name` says of it; without one it goes back under its own name."""
    report = read_report(spec.failed, error_name(name))
    path = report.get("path", "")
    ours = report.get("inbox") == spec.name and path and safe_relative(path) == path
    return FailedFile(
        spec=spec, name=name, path=path if ours else name, job=report.get("job"), error=report.get("code")
    )


def put_back(fs: FsOps, file: FailedFile) -> None:
    """Move the file into the inbox, then remove its error file.

    In this order: what a crash in between leaves is a file that will be done and an error file too many, which
    `audit` shows. Raises FileExistsError when the inbox has such a file, and OSError.
    """
    _make_folder(fs, file.spec, os.path.dirname(file.path))
    with (
        _beneath(fs, file.spec.failed, file.name) as source,
        _beneath(fs, file.spec.path, file.path) as target,
    ):
        fs.move_noreplace(source, target)
        fs.fsync_dir(os.path.dirname(target))
    remove_report(fs, file.spec, file.name, file.job)


def remove_report(fs: FsOps, spec: InboxSpec, name: str, job: str | None) -> None:
    """Remove the error file, unless it is about another job by now: the file may have failed again already."""
    report = error_name(name)
    if read_report(spec.failed, report).get("job") != job:
        return
    # Where somebody removed its folder or put a link there, there is nothing of ours to remove.
    with contextlib.suppress(NotPlainFileError), fs.beneath(spec.failed, report) as there:
        if there is not None:
            fs.unlink(there, missing_ok=True)
            fs.fsync_dir(os.path.dirname(there))


def _make_folder(fs: FsOps, spec: InboxSpec, folder: str) -> None:
    """Make the folder in the inbox, owned as the inbox is, though root may run this; never through a link.

    Whoever may write the inbox can put another folder in the place of a new one: that keeps its owner and mode.
    """
    if not folder:
        return
    here = ""
    for part in folder.split("/"):
        here = f"{here}/{part}" if here else part
        made = False
        with _beneath(fs, spec.path, here) as path, contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
            made = True
        descriptor = open_beneath(spec.path, here, DIRECTORY_FLAGS)
        try:
            if made and os.fstat(descriptor).st_uid == os.geteuid():
                owner = os.stat(spec.path)
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
                set_mode(descriptor, spec.dir_mode)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _beneath(fs: FsOps, root: str, path: str) -> Iterator[str]:
    try:
        with fs.beneath(root, path) as there:
            if there is None:
                raise FileNotFoundError(errno.ENOENT, "somebody removed its folder", path)
            yield there
    except NotPlainFileError as error:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from error


def explain_os_error(error: OSError) -> str:
    """Return why a file could not be put back, for people."""
    if isinstance(error, FileExistsError):
        return "the inbox has a file of that name; move it away first"
    if error.errno == errno.ELOOP:
        return "a folder on the way is a symbolic link"
    return error.strerror or str(error)
