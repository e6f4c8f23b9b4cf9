"""From a file to Settings: collect every mistake from schema, rules and recipes, or build the values."""

import os
from typing import TYPE_CHECKING

from pydantic import ValidationError

from procwatch.imaging.recipe import BUILTIN_RECIPES
from procwatch.model import InboxSpec, Limits
from procwatch.settings.cpu import usable_cpus
from procwatch.settings.document import Document, Mistake, read_document, refuse
from procwatch.settings.memory import memory_budget, usable_memory, worker_memory
from procwatch.settings.mistakes import schema_mistakes
from procwatch.settings.paths import absolute, default_state_dir, inbox_folders
from procwatch.settings.recipes import build_recipe, recipe_mistakes
from procwatch.settings.rules import rule_mistakes
from procwatch.settings.schema import ConfigTable, InboxTable
from procwatch.settings.values import HooksSpec, LogSpec, MetricsSpec, PoolSpec, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from procwatch.imaging.recipe import Recipe


def read_settings(path: str) -> Settings:
    """Return the settings of a TOML file, given absolute. Raises ConfigError with every mistake, one a line."""
    document = read_document(path)
    state_dir = default_state_dir(os.environ, uid=os.geteuid())
    mistakes: list[Mistake] = []
    table: ConfigTable | None = None
    try:
        table = ConfigTable.model_validate(document.data)
    except ValidationError as error:
        mistakes += schema_mistakes(error.errors(include_url=False))
    mistakes += rule_mistakes(document.data, document.folder, state_dir)
    mistakes += recipe_mistakes(document.data)
    if mistakes or table is None:
        raise refuse(document, mistakes)
    return _build(document, table, state_dir)


def _build(document: Document, table: ConfigTable, state_dir: str) -> Settings:
    base = document.folder
    own: Mapping[str, Recipe] = {name: build_recipe(name, recipe) for name, recipe in table.recipe.items()}
    pool = table.pool
    workers = pool.workers or usable_cpus()
    memory_bytes = table.limits.memory or memory_budget(usable_memory())
    return Settings(
        source=document.path,
        state_dir=absolute(table.state.dir or state_dir, base),
        inboxes=tuple(_inbox(inbox, base) for inbox in table.inbox),
        recipes={**BUILTIN_RECIPES, **own},
        pool=PoolSpec(
            workers=workers,
            timeout_s=pool.timeout,
            recycle_after_jobs=pool.recycle_after,
            max_rss_growth_bytes=pool.max_rss_growth,
            memory_bytes=memory_bytes,
            worker_memory_bytes=min(
                table.limits.worker_memory or worker_memory(memory_bytes, workers), memory_bytes
            ),
            sandbox=pool.sandbox,
        ),
        limits=Limits(
            max_pixels=table.limits.max_pixels,
            max_bytes=table.limits.max_bytes,
            max_frames=table.limits.max_frames,
            timeout_s=pool.timeout,
        ),
        log=LogSpec(
            file=absolute(table.log.file, base) if table.log.file else None,
            format=table.log.format,
            level=table.log.level,
        ),
        hooks=HooksSpec(
            done=tuple(table.hooks.done),
            failed=tuple(table.hooks.failed),
            drained=tuple(table.hooks.drained),
            timeout_s=table.hooks.timeout,
        ),
        metrics=MetricsSpec(textfile=_textfile(table.metrics.textfile, base), listen=table.metrics.listen),
        stop_timeout_s=table.stop_timeout,
        ledger_keep_s=table.state.keep,
    )


def _textfile(wanted: str, base: str) -> str | None:
    if wanted in {"auto", "off"}:
        return "auto" if wanted == "auto" else None
    return absolute(wanted, base)


def _inbox(table: InboxTable, base: str) -> InboxSpec:
    folders = inbox_folders(
        path=table.path,
        base=base,
        name=table.name,
        outbox=table.outbox,
        archive=table.archive,
        failed=table.failed,
    )
    return InboxSpec(
        name=folders.name,
        path=folders.path,
        outbox=folders.outbox,
        archive=folders.archive,
        failed=folders.failed,
        recipe=table.recipe,
        recursive=table.recursive,
        on_success=table.on_success,
        on_conflict=table.on_conflict,
        settle_s=table.settle,
        incomplete_after_s=table.incomplete_after,
        rescan_s=table.rescan,
        include=tuple(table.include),
        ignore=tuple(table.ignore),
        observer=table.observer,
        output_mode=table.output_mode,
        dir_mode=table.dir_mode,
        archive_keep_s=table.archive_keep,
        failed_keep_s=table.failed_keep,
        min_free_bytes=table.min_free,
    )
