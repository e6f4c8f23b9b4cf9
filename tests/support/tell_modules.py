"""A worker function that does its task for real and then tells what the process has imported."""

import sys

from procwatch.model import Rendered, RenderResult, RenderTask
from procwatch.worker import entry


def run(sequence: int, task: RenderTask) -> tuple[RenderResult, int]:
    entry.run(sequence, task)
    notes = dict.fromkeys(sys.modules, "")
    return Rendered(renditions=(), width=0, height=0, format="", frames=0, notes=notes), 0
