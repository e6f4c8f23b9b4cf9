"""Reload: read and validate the configuration again, and bring the running service to it without stopping work.

A mistake leaves the old configuration in force. Running jobs keep the recipe with which they were started.
"""

import os
import re
import shlex
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from structlog.typing import FilteringBoundLogger

from procwatch.errors import NoInboxError, ProcwatchError
from procwatch.observe.notify import Notifier
from procwatch.service_sandbox import refuse_without_sandbox
from procwatch.settings.folders import prepare
from procwatch.settings.load import SYSTEM_CONFIG, load
from procwatch.settings.paths import one_line
from procwatch.settings.values import Settings

if TYPE_CHECKING:
    from procwatch.model import InboxSpec

_CHECK: Final = "procwatch check shows the same"


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What differs between two configurations. `kept` are inboxes whose watch goes on untouched."""

    added: tuple["InboxSpec", ...]
    removed: tuple[str, ...]
    replaced: tuple["InboxSpec", ...]  # same name, other folders or rules
    kept: tuple["InboxSpec", ...]
    recipes: tuple[str, ...]  # names of recipes that differ
    parts: tuple[str, ...]  # "pool", "limits", "stop_timeout", …
    needs_restart: tuple[str, ...]  # parts that a running service cannot change


def changes_between(old: Settings, new: Settings) -> Changes:
    """Return what a reload has to do. An inbox that only has another recipe is kept."""
    before = {spec.name: spec for spec in old.inboxes}
    after = {spec.name: spec for spec in new.inboxes}
    same = {name for name in before.keys() & after.keys() if _same_folders(before[name], after[name])}
    recipes = {
        name for name in old.recipes.keys() | new.recipes.keys() if _hash(old, name) != _hash(new, name)
    }
    parts = [
        name
        for name in ("pool", "limits", "hooks", "stop_timeout_s")
        if getattr(old, name) != getattr(new, name)
    ]
    fixed = [name for name in ("state_dir", "log", "metrics") if getattr(old, name) != getattr(new, name)]
    return Changes(
        added=tuple(spec for name, spec in after.items() if name not in before),
        removed=tuple(name for name in before if name not in after),
        replaced=tuple(spec for name, spec in after.items() if name in before and name not in same),
        kept=tuple(spec for name, spec in after.items() if name in same),
        recipes=tuple(sorted(recipes)),
        parts=tuple(name.removesuffix("_s") for name in parts),
        needs_restart=tuple(fixed),
    )


def _same_folders(one: "InboxSpec", other: "InboxSpec") -> bool:
    return replace(one, recipe=other.recipe) == other


def _hash(settings: Settings, name: str) -> str | None:
    recipe = settings.recipes.get(name)
    return None if recipe is None else recipe.hash


class Target(Protocol):
    """The running service, as far as a reload changes it. Called on the loop."""

    settings: Settings

    def add_inbox(self, spec: "InboxSpec", trouble: str = "") -> None: ...
    def retire_inbox(self, name: str, then: Callable[[], None]) -> None: ...
    def set_recipes(self) -> None: ...
    def set_pool(self) -> None: ...
    def set_reporting(self) -> None: ...


class Reloader:
    """Reads the configuration on a thread of its own, then changes the service on the loop."""

    def __init__(
        self, *, target: Target, post: Callable[..., None], notifier: Notifier, log: FilteringBoundLogger
    ) -> None:
        self._target = target
        self._post = post
        self._notifier = notifier
        self._log = log
        self._reading = threading.Lock()  # two requests: the later one reads the later file

    def request(self) -> None:
        """Begin; returns at once. On the loop."""
        self._notifier.reloading()
        source = self._target.settings.source
        threading.Thread(target=self._read, args=(source,), name="reload", daemon=True).start()

    def _read(self, source: str | None) -> None:
        """Thread: read, validate, make folders."""
        if source is None:
            self._reject("procwatch runs on a folder without a configuration file; there is nothing to read")
            return
        with self._reading:
            self._read_file(source)

    def _read_file(self, source: str) -> None:
        try:
            settings = load(source)
            refuse_without_sandbox(settings)
            _, unusable = prepare(settings)
        except ProcwatchError as error:
            # `check` is run by people, who may write what the service may not.
            confined = isinstance(error, NoInboxError) and what_the_unit_needs(source)
            self._reject(*error.message.splitlines(), hint=confined or _CHECK)
        except OSError as error:
            self._reject(f"{source}: {error.strerror or error}")
        except Exception as error:  # noqa: BLE001 (systemd waits for an answer, and so does whoever asked)
            self._reject(f"{source}: {type(error).__name__}: {error}")
        else:
            hint = what_the_unit_needs(source)
            trouble = {spec.name: f"{reason}; {hint}" if hint else reason for spec, reason in unusable}
            self._post(self._apply, settings, trouble)

    def _reject(self, *mistakes: str, hint: str = _CHECK) -> None:
        self._post(self._rejected, list(mistakes), hint)

    def _apply(self, settings: Settings, trouble: Mapping[str, str]) -> None:
        """Loop: bring the service to the new settings."""
        target = self._target
        changes = changes_between(target.settings, settings)
        # What only a restart can change stays as it is, so that the next reload still sees the difference.
        old = target.settings
        target.settings = replace(settings, state_dir=old.state_dir, log=old.log, metrics=old.metrics)
        for name in changes.removed:
            target.retire_inbox(name, _nothing)
        for spec in changes.replaced:
            target.retire_inbox(spec.name, partial(target.add_inbox, spec, trouble.get(spec.name, "")))
        target.set_pool()
        for spec in changes.added:
            target.add_inbox(spec, trouble.get(spec.name, ""))
        target.set_recipes()
        target.set_reporting()
        self._reloaded(changes)

    def _reloaded(self, changes: Changes) -> None:
        settings = self._target.settings
        self._notifier.ready("reloaded")
        replaced = [f"inbox.{spec.name}" for spec in changes.replaced]
        hint = f"takes effect after a restart: {', '.join(changes.needs_restart)}"
        self._log.info(
            "service.reloaded",
            config=settings.source,
            inboxes=[spec.name for spec in settings.inboxes],
            workers=settings.pool.workers,
            added=[spec.name for spec in changes.added],
            removed=list(changes.removed),
            changed=[*(f"recipe.{name}" for name in changes.recipes), *replaced, *changes.parts],
            **({"hint": hint} if changes.needs_restart else {}),
        )

    def _rejected(self, mistakes: list[str], hint: str) -> None:
        self._notifier.ready("the new configuration was rejected")
        count = f"{len(mistakes)} mistake{'' if len(mistakes) == 1 else 's'}"
        self._log.error(
            "config.rejected",
            config=self._target.settings.source,
            reason=f"{count}; the configuration before stays in force",
            mistakes=mistakes,
            hint=hint,
        )


def _nothing() -> None:
    """Nobody waits for a removed inbox."""


def what_the_unit_needs(
    source: str, environ: Mapping[str, str] = os.environ, cgroup: str = "/proc/self/cgroup"
) -> str:
    """Return what to do about a folder that cannot be written, where systemd confines us; "" elsewhere."""
    if "INVOCATION_ID" not in environ:
        return ""
    name = _instance(cgroup)
    command = ["procwatch unit --install", *([f"--name {name}"] if name else [])]
    if source != f"{os.path.dirname(SYSTEM_CONFIG)}/{name or 'procwatch'}.toml":
        command.append(f"-c {one_line(shlex.quote(source))}")
    return f"if the unit does not allow this folder yet: {' '.join(command)}, then restart the service"


def _instance(cgroup: str) -> str:
    """Return NAME where the unit is procwatch@NAME.service, by cgroups(7); "" where it is not, or cannot be told."""
    try:
        with open(cgroup, encoding="ascii", errors="replace") as file:
            found = re.search(r"/procwatch@([A-Za-z0-9_.-]+)\.service$", file.read(), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""
