"""Renders mutants in a process of its own, and prints what became of them as JSON.

    python -m tests.support.fuzz FIRST COUNT [CORPUS]

A process of its own, because a decoder that crashes takes it along: then the last line printed names the mutant.
Every second of CPU time that one mutant takes beyond the limit ends the process as well.
"""

import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from procwatch.errors import ImageError
from procwatch.imaging.recipe import DEFAULT_FORMATS, Output, Recipe
from procwatch.imaging.render import render, warm_up
from procwatch.model import Limits
from procwatch.testing import make_image
from tests.support.formats import all_formats
from tests.support.mutator import mutant
from tests.support.pictures import fit

RECIPE: Final = Recipe(name="fuzz", outputs=(Output(name="small", steps=(fit(24),)),))
LIMITS: Final = Limits(max_pixels=2_000_000, max_frames=50, max_bytes=4 * 1024**2)
_MEMORY_BYTES: Final = 2 * 1024**3
#: Longer than this, for at most two megapixels, is a hang.
_LONGEST_S: Final = 10.0
_SEED_BYTES: Final = 60_000  # larger files only slow it down


def seeds(corpus: Path | None) -> dict[str, bytes]:
    """Return small pictures of every enabled format and kind, and what the corpus has that is small enough."""
    found = all_formats(40, 30)
    found["jpeg-exif.bin"] = make_image(40, 30, orientation=8)
    if corpus is not None:
        for file in sorted(
            [*corpus.glob("hostile/*"), *corpus.glob("formats/*"), *corpus.glob("orientation/*")]
        ):
            if file.stat().st_size <= _SEED_BYTES:
                found[file.name] = file.read_bytes()
        for file in sorted(corpus.glob("formats/*.heic")):
            found[file.name] = file.read_bytes()[:_SEED_BYTES]
    return found


def run(first: int, count: int, corpus: Path | None) -> dict[str, Any]:
    """Render the mutants and count: codes, what Pillow had raised, what was not foreseen."""
    codes: Counter[str] = Counter()
    raised: dict[str, Counter[str]] = {}
    unforeseen: list[str] = []
    longest_s, of = 0.0, seeds(corpus)
    warm_up((RECIPE,))
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # fsync costs nothing there
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        source, staging = os.path.join(folder, "source"), os.path.join(folder, "staging")
        os.mkdir(staging)
        for number in range(first, first + count):
            name, data = mutant(number, of)
            _note(number, name)
            began_s = time.perf_counter()
            with open(source, "wb") as file:
                file.write(data)
            code, cause = attempt(source, staging)
            longest_s = max(longest_s, time.perf_counter() - began_s)
            codes[code] += 1
            raised.setdefault(cause, Counter())[code] += 1
            if code == "internal-error" or code.startswith("!"):
                unforeseen.append(f"{number} {name}: {code} {cause}")
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "codes": dict(codes.most_common()),
        "raised": {cause: dict(of_cause.most_common()) for cause, of_cause in sorted(raised.items())},
        "unforeseen": unforeseen,
        "longest_s": round(longest_s, 3),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_rss_mib": usage.ru_maxrss // 1024,
        "seeds": len(of),
    }


def attempt(path: str, staging: str) -> tuple[str, str]:
    """Render one file. Return the code, and the name of the exception behind it.

    A real file: on bad offsets it raises other errors than a BytesIO.
    """
    signal.setitimer(signal.ITIMER_REAL, _LONGEST_S)
    try:
        with open(path, "rb") as source:
            render(source, RECIPE, LIMITS, staging)
    except ImageError as error:
        cause = error.__cause__ or error.__context__
        return error.code, type(cause).__name__ if cause is not None else "procwatch"
    except Exception as error:  # noqa: BLE001 (this is what is looked for)
        return f"!{type(error).__name__}", str(error)[:200]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for name in os.listdir(staging):
            os.unlink(os.path.join(staging, name))
    return "rendered", ""


def _note(number: int, name: str) -> None:
    """Keep the number of the mutant where it survives a crash: the last line of stderr."""
    with contextlib.suppress(OSError):
        os.pwrite(2, f"mutant {number:>12} of {name:<40}\n".encode(), 0)


def main() -> None:
    first, count = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    assert set(RECIPE.formats) == set(DEFAULT_FORMATS)
    print(json.dumps(run(first, count, Path(sys.argv[3]) if len(sys.argv) > 3 else None)))


if __name__ == "__main__":
    main()
