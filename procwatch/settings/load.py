"""Find the configuration that a command line means, and read it: from a TOML file, or from a bare folder."""

import os

from procwatch.errors import UsageError
from procwatch.model import InboxSpec, Limits
from procwatch.settings.cpu import usable_cpus
from procwatch.settings.memory import memory_budget, usable_memory, worker_memory
from procwatch.settings.paths import one_line
from procwatch.settings.values import LogSpec, PoolSpec, Settings

CONFIG_NAME = "procwatch.toml"
SYSTEM_CONFIG = "/etc/procwatch/procwatch.toml"
STATE_NAME = ".procwatch"


def zero_config(directory: str) -> Settings:
    """Return the settings of a folder without a configuration file: everything lies inside `directory`."""
    from procwatch.imaging.recipe import BUILTIN_RECIPES

    home = os.path.abspath(directory)
    state_dir = os.path.join(home, STATE_NAME)
    inbox = InboxSpec(
        name="inbox",
        path=os.path.join(home, "inbox"),
        outbox=os.path.join(home, "outbox"),
        archive=os.path.join(home, "archive"),
        failed=os.path.join(home, "failed"),
        recipe="web",
    )
    return Settings(
        source=None,
        state_dir=state_dir,
        inboxes=(inbox,),
        recipes=dict(BUILTIN_RECIPES),
        pool=default_pool(),
        limits=Limits(),
        log=LogSpec(file=os.path.join(state_dir, "procwatch.log")),
    )


def default_pool() -> PoolSpec:
    """Return the pool that fits this machine."""
    workers, memory_bytes = usable_cpus(), memory_budget(usable_memory())
    return PoolSpec(
        workers=workers,
        memory_bytes=memory_bytes,
        worker_memory_bytes=worker_memory(memory_bytes, workers),
    )


def load(path: str) -> Settings:
    """Read a TOML file. Raises ConfigError that lists every mistake in it, one a line."""
    from procwatch.settings.build import read_settings  # pydantic: only when there is a file to validate

    return read_settings(os.path.abspath(path))


def resolve(config: str | None, directory: str | None, *, command: str = "") -> Settings:
    """Return the settings that a command line means.

    A file is used as it is. A folder is used through its own `procwatch.toml` when it has one, else as zero-config.
    Without either: `./procwatch.toml`, which must be ours or root's, then `/etc/procwatch/procwatch.toml`.
    `command` is the one that was typed, for the hint. Raises UsageError or ConfigError.
    """
    if config is not None and directory is not None:
        raise UsageError("a configuration file and a folder were both given", hint="give one of them")
    if config is not None:
        return load(config)
    if directory is not None:
        if os.path.isfile(directory):
            shown = one_line(directory)
            raise UsageError(f"{shown} is a file, not a folder", hint=f"did you mean -c {shown} ?")
        own = os.path.join(directory, CONFIG_NAME)
        return load(own) if os.path.lexists(own) else zero_config(directory)
    if os.path.lexists(CONFIG_NAME):
        from procwatch.settings.trust import require_own

        require_own(".")
        return load(CONFIG_NAME)
    if os.path.lexists(SYSTEM_CONFIG):
        return load(SYSTEM_CONFIG)
    typed = f"procwatch {command}" if command else "the command with"
    raise UsageError(
        f"no folder was given, and there is no ./{CONFIG_NAME} and no {SYSTEM_CONFIG}",
        hint=f"{typed} DIR, -d DIR or -c FILE says what is meant; procwatch init DIR writes a configuration",
    )
