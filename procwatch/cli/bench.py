"""procwatch bench: find out, with your files on your machine, how many workers to set."""

import argparse
import contextlib
import json
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from procwatch.errors import EXIT_OK, ConfigError, UsageError
from procwatch.units import parse_duration

if TYPE_CHECKING:
    from procwatch.imaging.recipe import Recipe
    from procwatch.settings.values import Settings

EXAMPLES = """examples:
  procwatch bench                              pictures made up for it, the recipe web
  procwatch bench ~/photos                     your own: a folder, or files
  procwatch bench ~/photos --seconds 20s       quicker and less exact
  procwatch bench -c my.toml --recipe gallery ~/photos
  procwatch bench --json | jq .verdict.workers

It renders the files one after the other, by threads and by processes, 1 to twice as many as there are CPUs, and says
what the work waits for, how many workers to set, and when more only cost. Outputs are written and synced to a folder
that is removed again; with -c it is made in the first inbox's outbox.
"""

_MAX_FILES: Final = 100
_MIN_SECONDS: Final = 1.0
#: What is measured first, file after file; the rest is for everything else.
_SERIAL_PART: Final = 0.2
_SUFFIXES: Final = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".avif", ".gif", ".tif", ".tiff", ".bmp", ".heic", ".heif")
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="FILES", nargs="*", help="pictures, or folders of them")
    parser.add_argument("-c", "--config", metavar="FILE", help="take the recipes of this configuration")
    parser.add_argument("--recipe", metavar="NAME", help="which recipe (default: the first inbox's, or web)")
    parser.add_argument(
        "--seconds", default="60s", metavar="TIME", help="how long it may take (default: 60s)"
    )
    parser.add_argument("--scratch", metavar="DIR", help="where to write, to measure that disk")
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Measure and print; bounded by --seconds, but for files that alone take longer."""
    from procwatch.bench.measure import Work, measure, measure_serial
    from procwatch.bench.show import show, to_json
    from procwatch.bench.verdict import judge
    from procwatch.model import Limits
    from procwatch.settings.cpu import usable_cpus

    seconds = _seconds(args.seconds)
    began_s = time.monotonic()
    settings = _settings(args.config)
    recipe = choose_recipe(settings, args.recipe)
    cpus = usable_cpus()
    with _scratch(args.scratch, settings) as scratch:
        paths = find_pictures(args.paths) if args.paths else _made_up(scratch)
        limits = settings.limits if settings is not None else Limits()
        work = Work(paths=paths, recipe=recipe, limits=limits, scratch=scratch)
        with _telling() as tell:
            tell("one file after the other")
            serial = measure_serial(work, seconds * _SERIAL_PART)
            left_s = seconds - (time.monotonic() - began_s)
            trials = measure(work, serial, cpus, left_s, tell)
    verdict = judge(serial.stages, trials, cpus)
    if args.json:
        print(
            json.dumps(
                to_json(
                    serial, trials, verdict, recipe=recipe.name, cpus=cpus, scratch=os.path.dirname(scratch)
                )
            )
        )
        return EXIT_OK
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    show(console, serial, trials, verdict, recipe=recipe.name)
    return EXIT_OK


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text if not text.replace(".", "", 1).isdigit() else f"{text}s")
    except ValueError as error:
        raise UsageError(f"--seconds: {error}") from None
    if seconds < _MIN_SECONDS:
        raise UsageError("--seconds: less than a second measures nothing")
    return seconds


def _settings(config: str | None) -> "Settings | None":
    if config is None:
        return None
    from procwatch.settings.load import load

    return load(config)


def choose_recipe(settings: "Settings | None", name: str | None) -> "Recipe":
    """Return the recipe to measure. Raises ConfigError for a name that is not there."""
    from procwatch.imaging.recipe import BUILTIN_RECIPES

    recipes = settings.recipes if settings is not None else BUILTIN_RECIPES
    wanted = name or (settings.inboxes[0].recipe if settings is not None and settings.inboxes else "web")
    if wanted not in recipes:
        hint = f"there are: {', '.join(recipes)}"
        raise ConfigError(
            f"there is no recipe {wanted!a}",
            hint=hint if name is None or settings else f"{hint}; -c names a configuration with more",
        )
    return recipes[wanted]


def find_pictures(paths: Sequence[str]) -> list[str]:
    """Return the files, and of folders what has a picture's suffix; of very many an even choice. Raises UsageError.

    Of a folder, which may be an inbox, neither links are followed nor pipes waited for.
    """
    from procwatch.dispatch.tree import files_below

    found: list[str] = []
    for path in paths:
        if os.path.isdir(path):
            found += sorted(
                os.path.join(path, name)
                for name, status in files_below(path)
                if os.path.splitext(name)[1].lower() in _SUFFIXES and stat.S_ISREG(status.st_mode)
            )
        elif os.path.isfile(path):
            found.append(path)
        else:
            raise UsageError(f"there is no file {path!a}")
    if not found:
        raise UsageError("no pictures there", hint=f"known suffixes: {' '.join(sorted(_SUFFIXES))}")
    step = -(-len(found) // _MAX_FILES)
    return found[::step]


def _made_up(scratch: str) -> Sequence[str]:
    from procwatch.bench.work import make_pictures

    return make_pictures(scratch)


@contextlib.contextmanager
def _scratch(asked: str | None, settings: "Settings | None") -> Iterator[str]:
    """Yield a folder to write into, removed at the end."""
    parent = asked
    if parent is None and settings is not None and settings.inboxes:
        outbox = settings.inboxes[0].outbox
        parent = outbox if os.path.isdir(outbox) else None
    try:
        folder = tempfile.TemporaryDirectory(
            prefix=".procwatch-bench-", dir=parent, ignore_cleanup_errors=True
        )
    except OSError as error:
        raise UsageError(f"cannot write to {parent!a}: {error.strerror}") from None
    with folder as path:
        yield path


class _Tell:
    """Says what is being measured, on a terminal only."""

    def __init__(self) -> None:
        self._shows = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._shows:
            print(f"\r\x1b[Kmeasuring: {text}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shows:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _telling() -> Iterator[_Tell]:
    tell = _Tell()
    try:
        yield tell
    finally:
        tell.clear()
