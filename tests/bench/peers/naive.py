"""A hot folder as a first script has it: watchdog and Pillow: naive.py INBOX OUTBOX RECIPE [pool].

Each file is rendered where its event comes in, as tutorials do. With `pool`, what has come in goes to
ProcessPoolExecutor.map, as a second script might do.
"""

import os
import queue
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from PIL import Image, ImageOps
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

RECIPES: dict[str, list[tuple[str, int, str, dict[str, Any]]]] = {
    "thumb": [("thumb", 320, "jpg", {"quality": 80})],
    "web": [
        ("web", 1600, "jpg", {"quality": 82, "progressive": True}),
        ("small", 400, "webp", {"quality": 80}),
    ],
}


def render(path: str, outbox: str, recipe: str) -> None:
    stem = os.path.splitext(os.path.basename(path))[0]
    for name, side, extension, options in RECIPES[recipe]:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
            image.thumbnail((side, side), Image.Resampling.LANCZOS)
            image.save(os.path.join(outbox, f"{stem}-{name}.{extension}"), **options)
    print(f"done {os.path.basename(path)}", flush=True)


class Handler(FileSystemEventHandler):
    def __init__(self) -> None:
        self.found: queue.SimpleQueue[str] = queue.SimpleQueue()

    def on_created(self, event: FileSystemEvent) -> None:
        self.found.put(os.fsdecode(event.src_path))

    def on_moved(self, event: FileSystemEvent) -> None:
        self.found.put(os.fsdecode(event.dest_path))


def main(inbox: str, outbox: str, recipe: str, pool: str = "") -> None:
    handler, observer = Handler(), Observer()
    observer.schedule(handler, inbox)
    observer.start()
    print("ready", flush=True)
    while not pool:
        render(handler.found.get(), outbox, recipe)
    while True:
        time.sleep(0.2)
        batch = [handler.found.get() for _ in range(handler.found.qsize())]
        if batch:
            with ProcessPoolExecutor(2) as fresh:
                list(fresh.map(partial(render, outbox=outbox, recipe=recipe), batch))


if __name__ == "__main__":
    main(*sys.argv[1:])
