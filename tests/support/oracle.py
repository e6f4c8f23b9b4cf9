"""What must be true of the folders after any history, computed without any code of the product."""

import hashlib
import json
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from tests.support.logs import ERROR_CODES
from tests.support.places import Places

STAGING = ".procwatch-staging"
Place = Literal["inbox", "archive", "failed"]
#: The outputs of the built-in recipe `web`, and the box that each fits.
WEB = {"web": 2048, "thumb": 400}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def files_below(folder: Path) -> list[Path]:
    """Return every regular file below a folder, staging excepted."""
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != STAGING]
        found += [Path(where, name) for name in names]
    return sorted(found)


@dataclass(frozen=True, kw_only=True)
class Oracle:
    """Remembers what was dropped and says whether the folders account for all of it."""

    places: Places
    outputs: dict[str, int] = field(default_factory=lambda: dict(WEB))
    dropped: dict[str, str] = field(default_factory=dict)  # sha256 → relative path

    def expect(self, path: str, data: bytes) -> bytes:
        """Remember one dropped file; its content must differ from all others. Returns the content."""
        key = digest(data)
        assert key not in self.dropped, f"{path} has the bytes of {self.dropped[key]}"
        self.dropped[key] = path
        return data

    def where(self) -> dict[str, Place]:
        """Return path → the one place where its content is; fail when it is in none or in two."""
        seen: dict[str, list[Place]] = {key: [] for key in self.dropped}
        roots: dict[Place, Path] = {
            "inbox": self.places.inbox,
            "archive": self.places.archive,
            "failed": self.places.failed,
        }
        for place, root in roots.items():
            for file in files_below(root):
                if place == "failed" and file.name.endswith(".error.json"):
                    continue
                key = digest(file.read_bytes())
                assert key in seen, f"{file} was never dropped"
                seen[key].append(place)
        wrong = {self.dropped[key]: places for key, places in seen.items() if len(places) != 1}
        assert not wrong, f"not in exactly one place: {wrong}"
        return {self.dropped[key]: places[0] for key, places in seen.items()}

    def eventually(self, timeout_s: float = 20.0, **expected: int) -> None:
        """Wait until `check` passes: an original is moved only when `settle` has passed since its last change."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self.check(**expected)
            except (AssertionError, OSError):  # files are on their way
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def check(self, **expected: int) -> dict[str, Place]:
        """Fail unless everything dropped is accounted for; `expected` counts the places, such as archive=3."""
        found = self.where()
        counts: Counter[str] = Counter(found.values())
        for place, count in expected.items():
            assert counts[place] == count, f"{place}: {counts[place]} instead of {count}, {found}"
        for path, place in found.items():
            if place == "archive":
                self.renditions(path)
            elif place == "failed":
                self.error_file(path)
        rendered = [path for path, place in found.items() if place == "archive"]
        visible = files_below(self.places.outbox)
        if not counts[
            "inbox"
        ]:  # of what is still there, outputs may be published and the original not yet moved
            assert len(visible) == len(rendered) * len(self.outputs), f"{len(visible)} outputs: {visible}"
        self.check_staging()
        return found

    def renditions(self, path: str) -> dict[str, Path]:
        """Return output → file of one archived input; fail when one is missing, doubled, broken or too big."""
        relative = Path(path)
        folder = self.places.outbox / relative.parent
        found = {}
        for output, side in self.outputs.items():
            prefix = f"{relative.stem}-{output}."
            files = [file for file in folder.iterdir() if file.name.startswith(prefix)]
            assert len(files) == 1, f"{path}: {len(files)} files for {output}: {files}"
            with Image.open(files[0]) as image:
                image.load()
                assert max(image.size) <= side, f"{files[0]} is {image.size}"
            found[output] = files[0]
        return found

    def error_file(self, path: str) -> dict[str, Any]:
        """Return what NAME.error.json says of one failed input."""
        file = self.places.failed / f"{path}.error.json"
        assert file.is_file(), f"no {file} beside {sorted(file.parent.iterdir())}"
        return read_error(file)

    def check_staging(self) -> None:
        """Fail when staging holds anything but empty slot folders."""
        for where, folders, names in os.walk(self.places.outbox / STAGING):
            depth = len(Path(where).relative_to(self.places.outbox / STAGING).parts)
            assert not names, f"left in staging: {where} {names}"
            assert depth == 0 or not folders, f"left in staging: {where} {folders}"


def read_error(file: Path) -> dict[str, Any]:
    """Return an error file; fail unless it has a documented code, a reason and an attempt."""
    error: dict[str, Any] = json.loads(file.read_text())
    assert error["code"] in ERROR_CODES, error
    assert error["reason"], error
    assert error["attempt"] is None or error["attempt"] >= 0, error
    return error
