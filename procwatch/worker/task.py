"""One task inside a worker: open its source by descriptor, render it into staging, say what went wrong."""

import dataclasses
import errno
import os
from collections.abc import Callable
from io import BufferedReader
from typing import BinaryIO, Final

from procwatch.errors import ImageError
from procwatch.fdopen import open_beneath
from procwatch.imaging import render as imaging
from procwatch.imaging.recipe import Recipe
from procwatch.model import Fingerprint, Rendered, RenderFailed, RenderResult, RenderTask, staging_prefix
from procwatch.worker.digest import Later, digested

#: What the *output* side does wrong is nobody's fault in the inbox: it must not cost a file its attempt.
_ENVIRONMENT: Final = frozenset(
    {
        errno.ENOSPC,
        errno.EROFS,
        errno.EDQUOT,
        errno.EMFILE,
        errno.ENFILE,
        errno.EIO,
        errno.ESTALE,
        errno.ENOTCONN,
    }
)
_NOT_READABLE: Final = frozenset({errno.EACCES, errno.EPERM})
_CHANGED: Final = frozenset({errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENOTDIR, errno.EXDEV})


class Deferred(Exception):  # noqa: N818 (no error: the job is to come back with a grant)
    """The job needs more memory than it was granted."""

    def __init__(self, needed_bytes: int) -> None:
        super().__init__(needed_bytes)
        self.needed_bytes = needed_bytes


def render(
    task: RenderTask,
    slot: int,
    admit: Callable[[int], None] = lambda needed_bytes: None,
    later: Later | None = None,
) -> RenderResult:
    """Open the task's source by descriptor, check that it is the file that was noticed, and render it.

    `admit` gets the bytes that it will take, once the header is known, and may raise Deferred. `later` gets what makes
    the digest, for a task that may have it behind its answer.
    """
    try:
        descriptor = open_beneath(task.root, task.path)
    except OSError as error:
        return _unopened(error)
    with open(descriptor, "rb") as source:
        if Fingerprint.of(os.fstat(descriptor)) != task.fingerprint:
            return RenderFailed(code="changed", reason="the file changed after it was noticed")
        return _render_opened(source, task, slot, admit, later if task.digest_later else None)


def _render_opened(
    source: BufferedReader,
    task: RenderTask,
    slot: int,
    admit: Callable[[int], None],
    later: Later | None,
) -> RenderResult:
    recipe = task.recipe
    assert isinstance(recipe, Recipe)
    staging = staging_prefix(task.staging_root, slot, task.job, task.attempt)
    folder, prefix = os.path.split(staging)
    content: BinaryIO = source
    digest: Callable[[], str] | None = None
    try:
        if (
            task.want_digest and task.fingerprint.size <= task.limits.max_bytes
        ):  # a sparse file can have terabytes
            content, digest = digested(source, task.fingerprint.size, later)
        rendered = imaging.render(
            content, recipe, task.limits, folder, prefix=prefix, mode=task.output_mode, admit=admit
        )
        return with_digest(rendered, digest() if digest is not None else None)
    except Deferred as deferred:
        return RenderFailed(code="deferred", reason=str(deferred.needed_bytes))
    except ImageError as error:
        return RenderFailed(code=error.code, reason=str(error))
    except MemoryError:
        return RenderFailed(
            code="out-of-memory", reason="the picture needs more memory than a worker may use"
        )
    except OSError as error:
        if error.errno == errno.ENOMEM:
            return RenderFailed(code="out-of-memory", reason="the kernel gave no more memory to the worker")
        if error.errno in _ENVIRONMENT or str(error.filename).startswith(staging):
            return _refused(error, folder)
        raise


def _refused(error: OSError, folder: str) -> RenderFailed:
    """The output side refuses."""
    if error.errno == errno.ENOENT:
        # Somebody replaced the outbox, and the slot's folder went with it: only a new worker gets one.
        return RenderFailed(code="sandbox-stale", reason=f"the folder is not there: {folder!a}")
    return RenderFailed(code="environment", reason=f"{errno_name(error)}: {error.strerror}")


def with_digest(rendered: Rendered, digest: str | None) -> Rendered:
    """Return `rendered` with the sha256 of its source in hex."""
    return dataclasses.replace(rendered, sha256=digest) if digest else rendered


def _unopened(error: OSError) -> RenderFailed:
    if error.errno == errno.ENOENT:
        return RenderFailed(code="vanished", reason="the file is gone")
    if error.errno in _NOT_READABLE:
        return RenderFailed(
            code="not-readable", reason=f"{errno_name(error)}: procwatch may not read the file"
        )
    if error.errno in _CHANGED:
        return RenderFailed(code="changed", reason="the path no longer names a regular file")
    return RenderFailed(code="environment", reason=f"{errno_name(error)}: {error.strerror} while opening")


def errno_name(error: OSError) -> str:
    """Return the symbolic name of the error number, such as ENOSPC."""
    return errno.errorcode.get(error.errno or 0, "error")
