"""Decide what a systemd unit must let the service see and write, from its configuration and its installation."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from procwatch.errors import UsageError
from procwatch.settings.paths import one_line
from procwatch.settings.values import Settings

#: systemd.exec(5) ProtectHome=: a service sees these empty.
HOMES: Final = ("/home", "/root", "/run/user")
#: A service has its own of these (PrivateTmp=), or they are no place for files at all.
PRIVATE: Final = ("/tmp", "/var/tmp", "/dev", "/proc", "/sys")  # noqa: S108 (names to refuse)
STATE_HOME: Final = "/var/lib/procwatch"
LOG_HOME: Final = "/var/log/procwatch"
#: Folders of the system: never made writable as a whole for the sake of one inbox in them.
_SYSTEM: Final = ("/boot", "/etc", "/run", "/usr", "/var")
#: There before any service is.
_ROOT_DISK: Final = ("/etc", "/usr")
#: -I: no variable of the environment decides which code runs. faulthandler: an abort leaves its stacks in the journal.
_OPTIONS: Final = ("-I", "-X", "faulthandler")
#: systemd waits longer than procwatch does: its finishing lanes and its pool need some time after the jobs.
_STOP_MARGIN_S: Final = 25


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """This installation: its interpreter and every folder that it reads code from, absolute."""

    python: str
    code: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitPlan:
    """What the unit of one configuration has to say. Paths are absolute; none lies inside another of its list."""

    instance: str | None  # procwatch@INSTANCE.service; None is procwatch.service
    command: tuple[str, ...]
    mounts: tuple[str, ...]  # RequiresMountsFor=
    writable: tuple[str, ...]  # ReadWritePaths=
    home_writable: tuple[str, ...]  # BindPaths=, of what ProtectHome= hides
    home_readable: tuple[str, ...]  # BindReadOnlyPaths=, likewise
    stop_timeout_s: int
    notes: tuple[str, ...]  # for the person who installs it

    @property
    def name(self) -> str:
        """Return the full name of the unit."""
        return f"procwatch@{self.instance}.service" if self.instance else "procwatch.service"

    @property
    def state_directory(self) -> str:
        """Return the value of StateDirectory=, relative to /var/lib."""
        return f"procwatch/{self.instance}" if self.instance else "procwatch"


def plan_unit(
    settings: Settings, installation: Installation, instance: str | None, *, refuse: bool = True
) -> UnitPlan:
    """Return the plan. Raises UsageError for what the service could never see, with the way out.

    Without `refuse` that is a note of the plan: to look at a unit harms nobody.
    """
    config = settings.source
    assert config is not None, "a service has a configuration file"
    notes: list[str] = []
    folders = _writable(settings, f"/var/lib/procwatch/{instance}" if instance else STATE_HOME, notes)
    homes = tuple(folder for folder in folders if lies_in(folder, HOMES))
    for problem in _hidden(folders, installation, config, homes, instance):
        if refuse:
            raise problem
        notes.append(f"{problem.message}; {problem.hint}; --install will refuse")
    code = _outermost(folder for folder in installation.code if lies_in(folder, HOMES))
    if code:
        notes.append(
            f"procwatch is installed in {', '.join(map(one_line, code))}; the service sees that read-only."
            " An installation in /opt outlives the account: python3 -m venv /opt/procwatch"
        )
    needed = [*folders, *installation.code, os.path.dirname(config)]
    return UnitPlan(
        instance=instance,
        command=(installation.python, *_OPTIONS, "-m", "procwatch", "run", "-c", config),
        mounts=tuple(folder for folder in _outermost(needed) if not lies_in(folder, _ROOT_DISK)),
        writable=tuple(folder for folder in folders if folder not in homes),
        home_writable=homes,
        home_readable=tuple(folder for folder in code if not lies_in(folder, homes)),
        stop_timeout_s=int(settings.stop_timeout_s) + _STOP_MARGIN_S,
        notes=tuple(notes),
    )


def lies_in(path: str, folders: tuple[str, ...]) -> bool:
    """Whether `path` is one of the folders or below one."""
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def inbox_folders(settings: Settings) -> tuple[str, ...]:
    """Return every folder that the inboxes of a configuration use, each once."""
    return tuple(
        dict.fromkeys(
            folder
            for inbox in settings.inboxes
            for folder in (inbox.path, inbox.outbox, inbox.archive, inbox.failed)
        )
    )


def _writable(settings: Settings, own_state: str, notes: list[str]) -> tuple[str, ...]:
    """Return what must be writable besides what systemd makes for the service."""
    folders: list[str] = []
    for inbox in settings.inboxes:
        used = list(dict.fromkeys((inbox.path, inbox.outbox, inbox.archive, inbox.failed)))
        parents = {os.path.dirname(folder) for folder in used}
        parent = parents.pop()
        if not parents and not _is_broad(parent):
            folders.append(parent)
            continue
        folders += used
        notes.append(
            f'the folders of inbox "{inbox.name}" have no folder of their own around them: the service gets each as a'
            " mount, and originals are copied from one to the other where they could be renamed"
        )
    log_folder = [os.path.dirname(settings.log.file)] if settings.log.file else []
    folders += [
        folder for folder in (settings.state_dir, *log_folder) if not lies_in(folder, (own_state, LOG_HOME))
    ]
    return _outermost(folders)


def _is_broad(folder: str) -> bool:
    """Whether a folder holds more than one purpose, so that a service should not write all of it."""
    depth = folder.count("/") if folder != "/" else 0
    if lies_in(folder, HOMES):
        return depth < (2 if lies_in(folder, ("/root",)) else 3)  # a home itself
    return depth < (3 if lies_in(folder, _SYSTEM) else 2)


def _outermost(folders: Iterable[str]) -> tuple[str, ...]:
    """Return the folders without those that lie in another one, each once, in order."""
    every = list(dict.fromkeys(folders))
    return tuple(f for f in every if not lies_in(f, tuple(other for other in every if other != f)))


def _hidden(
    folders: tuple[str, ...],
    installation: Installation,
    config: str,
    homes: tuple[str, ...],
    instance: str | None,
) -> Iterator[UsageError]:
    """Yield what the service could never see."""
    places = [
        (folder, "the folder", "name one elsewhere, such as below /srv/procwatch") for folder in folders
    ]
    way_out = "install procwatch elsewhere: python3 -m venv /opt/procwatch"
    places += [(folder, "this installation in", way_out) for folder in installation.code]
    places.append((config, "the configuration", "move it to /etc/procwatch"))
    for path, what, way_out in places:
        if lies_in(path, PRIVATE):
            yield UsageError(
                f"{what} {one_line(path)} is hidden from the service, which has its own", hint=way_out
            )
    if lies_in(config, HOMES) and not lies_in(config, homes):
        yield UsageError(
            f"{one_line(config)} is hidden from the service: /home, /root and /run/user look empty to it",
            hint=f"move it to /etc/procwatch/{instance or 'procwatch'}.toml",
        )
