"""A worker function that does its task for real and then tells what the process has imported."""

import sys
from dataclasses import replace

from procwatch.model import Rendered, RenderResult, RenderTask
from procwatch.worker import entry


def run(sequence: int, task: RenderTask) -> tuple[RenderResult, int]:
    entry.run(sequence, task)
    notes = dict.fromkeys(sys.modules, "")
    return Rendered(renditions=(), width=0, height=0, format="", frames=0, notes=notes), 0


def run_telling_what_is_new(sequence: int, task: RenderTask) -> tuple[RenderResult, int]:
    """Do the task; the notes name what was imported for it, after the first task of the worker began."""
    before = set(sys.modules) | {"procwatch.worker.task"}
    result, used_bytes = entry.run(sequence, task)
    if isinstance(result, Rendered):
        result = replace(result, notes=dict.fromkeys(set(sys.modules) - before, ""))
    return result, used_bytes
