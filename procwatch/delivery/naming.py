"""Names of what procwatch makes: pure decisions, total over any bytes a file system can hold.

Names are relative, "/"-separated and `str` as os.fsdecode gives them (surrogateescape). Whatever comes in, a result
never leaves its folder: no "..", not absolute, no NUL, no component over 255 bytes, nothing that procwatch keeps
for itself. Trailing dots and spaces stay as they are: only Windows minds them, and a changed name surprises.
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from procwatch.model import Staged

PLACEHOLDERS: Final = ("dir", "stem", "ext", "width", "height", "recipe")
ERROR_SUFFIX: Final = ".error.json"
#: Own files and folders inside an outbox start like this; no output may.
RESERVED_PREFIX: Final = ".procwatch"
#: NAME_MAX of ext4, XFS, Btrfs, ZFS and NFS. eCryptfs allows 143, which is not catered for.
MAX_COMPONENT_BYTES: Final = 255
#: -2 … -99, then the job's token: a folder with a hundred equal names gets the token and no longer search.
MAX_NUMBERED: Final = 99
_MAX_EXTENSION_BYTES: Final = 32  # longer than this it is no extension but part of the name
_PLACEHOLDER: Final = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")
_ANY_BRACES: Final = re.compile(r"\{([^{}]*)\}")


def split_name(name: str) -> tuple[str, str]:
    """Return stem and extension with its dot: ("a.tar.gz", ".jpg") of "a.tar.gz.jpg", (".hidden", "") of ".hidden"."""
    return os.path.splitext(name)


def fit(name: str, *, suffix: str | None = None) -> str:
    """Return one component cut to 255 bytes at a character, marked by "~" and 8 hex of its sha256.

    The end that says what the file is (`suffix`, by default the extension) is kept.
    """
    if _size(name) <= MAX_COMPONENT_BYTES:
        return name
    if suffix is None:
        suffix = split_name(name)[1]
        suffix = suffix if _size(suffix) <= _MAX_EXTENSION_BYTES else ""
    mark = "~" + hashlib.sha256(os.fsencode(name)).hexdigest()[:8] + suffix
    return _cut(name, MAX_COMPONENT_BYTES - _size(mark)) + mark


def collision_key(name: str) -> str:
    """Return what two names share when some file system takes them for one: case and Unicode form are folded.

    Canonical caseless matching, Unicode Standard 3.13, D145.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def alternatives(name: str, token: str) -> Iterator[str]:
    """Yield `name`, then name-2 … name-99, then with `token` (of the job id): the first free one is taken."""
    yield name
    for number in range(2, MAX_NUMBERED + 1):
        yield suffixed(name, str(number))
    yield suffixed(name, token)
    for number in range(2, MAX_NUMBERED + 1):
        yield suffixed(name, f"{token}-{number}")


def around_files(name: str, token: str, is_file: Callable[[str], bool]) -> str:
    """Return `name` with "-2", "-3" … on those of its folders whose name `is_file` says is not free for one.

    A file `album` was dropped, and later a folder `album/`: what becomes of that needs a folder of another name.
    """
    *folders, last = name.split("/")
    above = ""
    for folder in folders:
        free = (candidate for candidate in alternatives(folder, token) if not is_file(above + candidate))
        above += next(free, folder) + "/"
    return above + last


def suffixed(name: str, suffix: str) -> str:
    """Return `name` with "-suffix" before its extension, in the same folder; a long stem gives way to it."""
    folder, slash, last = name.rpartition("/")
    stem, extension = split_name(last)
    ending = f"-{suffix}{extension}"
    return folder + slash + fit(stem + ending, suffix=ending)


def error_name(name: str) -> str:
    """Return the name of the error file that lies beside `name`."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + fit(last + ERROR_SUFFIX, suffix=ERROR_SUFFIX)


def template_problems(template: str) -> list[str]:
    """Return what is wrong with a template, each as one sentence; an empty list when it can be used."""
    problems = []
    unknown = [found for found in _ANY_BRACES.findall(template) if found not in PLACEHOLDERS]
    problems += [f"{{{found}}} is no placeholder; there are {_listed()}" for found in unknown]
    if template.startswith("/"):
        problems.append("it must be relative to the outbox")
    if ".." in template.split("/"):
        problems.append('".." would leave the outbox')
    if "\0" in template:
        problems.append("a name cannot hold a NUL")
    if not template.rpartition("/")[2]:
        problems.append("it must end in a file name")
    return problems


def plan_names(
    path: str, renditions: Sequence[Staged], outputs: Mapping[str, str], recipe: str
) -> dict[str, str]:
    """Return output → name relative to the outbox, for the source `path` relative to its inbox.

    `outputs` maps each output to its template. The folder tree is kept: without {dir} a template is below it.
    No two names of one plan collide, not even where case does not count, and none is a folder of another.
    """
    wished: dict[str, str] = {}
    for staged in renditions:
        if staged.output in wished:
            raise ValueError(f"two renditions of one output: {staged.output}")
        wished[staged.output] = expand(outputs[staged.output], path, staged, recipe)
    # A suffix changes only the last component, so the folders are known before any name is.
    taken = {folder for name in (safe_relative(path), *wished.values()) for folder in _folders(name)}
    plan: dict[str, str] = {}
    for output, name in wished.items():
        plan[output] = next(n for n in alternatives(name, output) if collision_key(n) not in taken)
        taken.add(collision_key(plan[output]))
    return plan


def expand(template: str, path: str, staged: Staged, recipe: str) -> str:
    """Return the name that `template` gives one rendition of `path`; safe whatever the parts are."""
    folder, _, last = path.rpartition("/")
    values = {
        "dir": folder,
        "stem": split_name(last)[0],
        "ext": staged.ext,
        "width": str(staged.width),
        "height": str(staged.height),
        "recipe": recipe.replace("/", "_"),
    }
    if "{dir}" not in template:
        template = "{dir}/" + template
    # One pass: a file may itself be named "{dir}.jpg".
    return safe_relative(_PLACEHOLDER.sub(lambda found: values[found[1]], template))


def safe_relative(name: str) -> str:
    """Return `name` as a relative path that cannot leave its folder, every component fitted."""
    parts = [part for part in name.replace("\0", "_").split("/") if part not in ("", ".")]
    return "/".join(fit(_harmless(part)) for part in parts) or "_"


def _harmless(component: str) -> str:
    if component == "..":
        return "__"
    if collision_key(component).startswith(RESERVED_PREFIX):
        return "_" + component
    return component


def _folders(name: str) -> list[str]:
    parts = collision_key(name).split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _size(text: str) -> int:
    return len(os.fsencode(text))


def _cut(text: str, limit_bytes: int) -> str:
    used = 0
    for index, character in enumerate(text):
        used += _size(character)
        if used > limit_bytes:
            return text[:index]
    return text


def _listed() -> str:
    return " ".join(f"{{{name}}}" for name in PLACEHOLDERS)
