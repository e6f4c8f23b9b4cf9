"""What must hold between the keys of a configuration: folders apart from each other, names that exist.

The rules read the raw data, so that they speak even where a neighbouring key is mistaken: all mistakes at once.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from procwatch.imaging.recipe import BUILTIN_RECIPES
from procwatch.settings.document import Mistake
from procwatch.settings.mistakes import did_you_mean
from procwatch.settings.paths import Folders, absolute, inbox_folders, is_inside

if TYPE_CHECKING:
    from procwatch.settings.locate import Path

_OUTPUT_FOLDERS = ("outbox", "archive", "failed")
_Inboxes = list[tuple[int, Folders]]


def rule_mistakes(data: Mapping[str, Any], base: str, state_dir: str) -> list[Mistake]:
    """Return every broken rule. `base` is the folder of the file, `state_dir` the state folder when none is named."""
    tables = data.get("inbox")
    mistakes: list[Mistake] = []
    inboxes: _Inboxes = []
    for index, table in enumerate(tables if isinstance(tables, list) else []):
        if not isinstance(table, dict):
            continue
        mistakes += _unknown_recipe(index, table, data.get("recipe"))
        texts = _texts(table)
        unknown_users = list(_unknown_users(index, texts, base))
        mistakes += unknown_users
        if "path" in texts and not unknown_users:
            inboxes.append((index, inbox_folders(base=base, **texts)))
    mistakes += _same_names(inboxes)
    mistakes += _nested_inboxes(inboxes)
    mistakes += _outputs_in_inboxes(inboxes, tables)
    mistakes += _ours_in_inboxes(inboxes, data, base, state_dir)
    return mistakes


def _texts(table: Mapping[str, Any]) -> Any:
    """Return what can be made sense of; the schema reports the rest."""
    given = {key: table.get(key) for key in ("path", "name", *_OUTPUT_FOLDERS)}
    return {
        key: value for key, value in given.items() if isinstance(value, str) and value and "\0" not in value
    }


def _unknown_users(index: int, texts: Mapping[str, str], base: str) -> Iterator[Mistake]:
    for key in ("path", *_OUTPUT_FOLDERS):
        try:
            absolute(texts.get(key, ""), base)
        except ValueError as error:
            yield Mistake(path=("inbox", index, key), message=str(error))


def _unknown_recipe(index: int, table: Mapping[str, Any], recipes: object) -> Iterator[Mistake]:
    known = sorted({*BUILTIN_RECIPES, *(recipes if isinstance(recipes, dict) else ())})
    wanted = table.get("recipe")
    if isinstance(wanted, str) and wanted not in known:
        guess = did_you_mean(wanted, known)
        yield Mistake(
            path=("inbox", index, "recipe"),
            message=f'there is no recipe "{wanted}"{guess}; known: {", ".join(known)}',
        )


def _same_names(inboxes: _Inboxes) -> Iterator[Mistake]:
    first: dict[str, int] = {}
    for index, folders in inboxes:
        earlier = first.setdefault(folders.name, index)
        if earlier != index:
            yield Mistake(
                path=("inbox", index, "name"),
                message=f'inbox#{earlier + 1} has the name "{folders.name}" too; give each its own `name`',
            )


def _nested_inboxes(inboxes: _Inboxes) -> Iterator[Mistake]:
    for (earlier, one), (index, other) in itertools.combinations(inboxes, 2):
        path: Path = ("inbox", index, "path")
        if is_inside(one.path, other.path) and is_inside(other.path, one.path):
            yield Mistake(path=path, message=f"inbox#{earlier + 1} watches {one.path} too")
        elif is_inside(other.path, one.path):
            yield Mistake(
                path=path, message=f"{other.path} lies inside inbox#{earlier + 1}, {one.path}; move it out"
            )
        elif is_inside(one.path, other.path):
            yield Mistake(
                path=path, message=f"inbox#{earlier + 1}, {one.path}, lies inside {other.path}; move it out"
            )


def _outputs_in_inboxes(inboxes: _Inboxes, tables: Any) -> Iterator[Mistake]:
    for index, folders in inboxes:
        written = tables[index]
        for key in _OUTPUT_FOLDERS:
            folder = getattr(folders, key)
            for watched_index, watched in inboxes:
                nested = watched_index != index and is_inside(folders.path, watched.path)
                if nested and key not in written:
                    continue  # reported as nested already; the default moves with the inbox
                if is_inside(folder, watched.path):
                    where = "this inbox" if watched_index == index else f"inbox#{watched_index + 1}"
                    yield Mistake(
                        path=("inbox", index, key),
                        message=f"{folder} lies inside the watched folder of {where}, {watched.path};"
                        f" what is written there would be processed again; choose a folder outside",
                    )


def _ours_in_inboxes(
    inboxes: _Inboxes, data: Mapping[str, Any], base: str, state_dir: str
) -> Iterator[Mistake]:
    """The state folder and the log file change all the time, so an inbox that holds them never rests."""
    for path, given, what in (
        (("state", "dir"), _text(data, "state", "dir") or state_dir, "the state folder"),
        (("log", "file"), _text(data, "log", "file"), "the log file"),
    ):
        try:
            ours = absolute(given, base) if given else None
        except ValueError as error:
            yield Mistake(path=path, message=str(error))
            continue
        for index, folders in inboxes:
            if ours and is_inside(ours, folders.path):
                yield Mistake(
                    path=path,
                    message=f"{what} {ours} lies inside inbox#{index + 1}, {folders.path}; choose a place outside",
                )


def _text(data: Mapping[str, Any], table: str, key: str) -> str | None:
    section = data.get(table)
    value = section.get(key) if isinstance(section, dict) else None
    return value if isinstance(value, str) and "\0" not in value else None
