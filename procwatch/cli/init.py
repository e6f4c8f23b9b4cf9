"""`procwatch init`: write an annotated procwatch.toml that means the same as no configuration at all."""

import os
import secrets
import shlex
from typing import TYPE_CHECKING

from procwatch.errors import EXIT_OK, UsageError
from procwatch.settings.paths import one_line

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  procwatch init ~/pictures   write ~/pictures/procwatch.toml; `procwatch run ~/pictures` uses it from then on
  procwatch init              the same, in the current folder
  procwatch init --force      begin again: replace the file that is there"""

_CONFIG_NAME = "procwatch.toml"


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """Add the folder and --force."""
    parser.add_argument("dir", metavar="DIR", nargs="?", default=".", help="where to write; default: here")
    parser.add_argument("--force", action="store_true", help="replace a procwatch.toml that is there")


def run(args: "argparse.Namespace") -> int:
    """Write the file and make the inbox, so that `procwatch run DIR` can follow at once."""
    directory: str = args.dir
    target = os.path.join(directory, _CONFIG_NAME)
    try:
        os.makedirs(os.path.join(directory, "inbox"), exist_ok=True)
        _write(target, annotated_default(), replace=args.force)
    except FileExistsError as error:
        if error.filename != target:
            raise UsageError(f"{one_line(error.filename)} is in the way: it is no folder") from error
        raise UsageError(f"{one_line(target)} exists already", hint="--force replaces it") from error
    except OSError as error:
        raise UsageError(f"cannot write {one_line(target)}: {error.strerror}") from error
    print(f"wrote {one_line(target)}")
    print(f"next: procwatch run {one_line(shlex.quote(directory))}")
    return EXIT_OK


def annotated_default() -> bytes:
    """Return config/procwatch.toml: inside an installed package, or from the checkout that we run in."""
    import importlib.resources

    packaged = importlib.resources.files("procwatch.cli").joinpath("data", _CONFIG_NAME)
    if packaged.is_file():
        return packaged.read_bytes()
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with open(os.path.join(checkout, "config", _CONFIG_NAME), "rb") as file:
        return file.read()


def _write(target: str, content: bytes, *, replace: bool) -> None:
    """Make the whole file appear at once; without `replace` an existing one stays and FileExistsError is raised."""
    staged = f"{target}.{secrets.token_hex(4)}.tmp"
    try:
        with open(staged, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(staged, target)
        else:
            _link(staged, target)
    finally:
        if os.path.lexists(staged):
            os.unlink(staged)


def _link(staged: str, target: str) -> None:
    try:
        os.link(staged, target)
    except FileExistsError as error:
        raise FileExistsError(error.errno, error.strerror, target) from error
    except OSError:  # a file system without hard links
        with open(target, "xb") as file, open(staged, "rb") as source:
            file.write(source.read())
