"""Progress bars on standard error, with the time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)


@contextmanager
def phases(calls: int) -> Iterator[Callable[[int, int, str], None]]:
    """A bar for each phase of `BrainLDM.generate`, over a number of calls of it."""
    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = {phase: bars.add_task(phase, total=None) for phase in ("denoise", "decode")}
        advanced = dict.fromkeys(tasks, 0)

        def progress(done: int, total: int, phase: str) -> None:
            task = tasks[phase]
            bars.update(task, total=total * calls, completed=advanced[phase] + done)
            if done == total:
                advanced[phase] += total

        yield progress


@contextmanager
def transfers() -> Iterator[Callable[[int, int, str], None]]:
    """A bar for each file of `brainldm.download.download`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(done: int, total: int, name: str) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name)
            bars.update(tasks[name], total=total, completed=done)

        yield progress
