"""The daemon's side of the workers' sandbox: what they may touch, and the folders that must be there before them."""

import contextlib
import os
from functools import partial

from procwatch.errors import ConfigError
from procwatch.fdopen import open_beneath
from procwatch.model import STAGING, InboxSpec, slot_folder
from procwatch.settings.values import Settings
from procwatch.worker import sandbox


def plan_sandbox(settings: Settings) -> sandbox.Plan:
    """Return what the workers of these settings may touch."""
    return sandbox.Plan(
        mode=settings.pool.sandbox,
        inboxes=tuple(dict.fromkeys(spec.path for spec in settings.inboxes)),
        staging=tuple(dict.fromkeys(f"{spec.outbox}/{STAGING}" for spec in settings.inboxes)),
    )


def refuse_without_sandbox(settings: Settings) -> None:
    """Raise ConfigError where `sandbox = "require"` asks for what this machine does not have."""
    if settings.pool.sandbox != "require":
        return
    missing = sandbox.missing(plan_sandbox(settings))
    if missing:
        raise ConfigError(
            f'pool.sandbox is "require", but this machine cannot lock workers up: no {", no ".join(missing)}',
            hint='needs Linux 5.13 or later with Landlock in /sys/kernel/security/lsm, on x86_64 or arm64; "prefer" '
            "does what is possible; in a container or unit, its filter may forbid the landlock_ and seccomp calls",
        )


def staging_maker(settings: Settings) -> "partial[None]":
    """Return what makes the staging folders of a slot: a worker's rules are bound to them when it starts."""
    return partial(_make_staging, settings.inboxes)


def _make_staging(inboxes: tuple[InboxSpec, ...], slot: int) -> None:
    for outbox in dict.fromkeys(spec.outbox for spec in inboxes):
        with contextlib.suppress(
            OSError
        ):  # an outbox that is not there, or full, is told about when a job needs it
            _make_slot_folder(outbox, slot)


def _make_slot_folder(outbox: str, slot: int) -> None:
    """Make OUTBOX/STAGING/slot-K; a link in the place of STAGING is not followed, others may write to an outbox."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(os.path.join(outbox, STAGING), 0o700)
    staging = open_beneath(outbox, STAGING, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        name = os.path.basename(slot_folder("", slot))
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=staging)
    finally:
        os.close(staging)
