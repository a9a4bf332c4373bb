"""Progress bars on standard error, with the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from brainldm.cli import voice

LINE_EVERY = 60.0
"""Seconds."""


def transfers() -> AbstractContextManager[Callable[[int, int, str], None]]:
    """A bar for each file of `brainldm.checkpoint.download.download`."""
    return _named(DownloadColumn())


def parts() -> AbstractContextManager[Callable[[int, int, str], None]]:
    """A bar for each part of `brainldm.evaluate.run.Evaluation`."""
    return _named(MofNCompleteColumn())


@contextmanager
def _named(count: ProgressColumn) -> Iterator[Callable[[int, int, str], None]]:
    with _bars(count) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(done: int, total: int, name: str) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name)
            bars.update(tasks[name], total=total, completed=done)

        yield progress


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """One bar over a number of things."""
    with _bars(MofNCompleteColumn()) as bars:
        tasks: list[TaskID] = []  # none before there is something to count

        def progress(done: int, total: int) -> None:
            if not tasks:
                tasks.append(bars.add_task(what))
            bars.update(tasks[0], total=total, completed=done)

        yield progress


@contextmanager
def steps(name: str) -> Iterator[Callable[[int, int, Mapping[str, float]], None]]:
    """A bar of the steps of a training, with the loss; a line a minute where there is no terminal,
    as in the log of a batch system.
    """
    with _bars(MofNCompleteColumn(), TextColumn("{task.fields[loss]}")) as bars:
        console = bars.console
        tasks: list[TaskID] = []
        told = time.monotonic()

        def progress(done: int, total: int, losses: Mapping[str, float]) -> None:
            nonlocal told
            if not tasks:  # what was done by an earlier run does not count for the time left
                tasks.append(bars.add_task(name, total=total, completed=done, loss=""))
            first = next(iter(losses.values()), None)
            loss = "" if first is None else f"loss {first:.4g}"
            bars.update(tasks[0], completed=done, loss=loss)
            if not console.is_terminal and time.monotonic() - told > LINE_EVERY:
                told = time.monotonic()
                left = _left(bars, tasks[0])
                console.print(f"{name} {done}/{total}  {loss}  {left}".rstrip(), soft_wrap=True)

        yield progress


@contextmanager
def volumes() -> Iterator[Callable[[int, int, str], None]]:
    """A bar for each phase of a cohort, with the rate; without a terminal, a line a minute."""
    with _bars(MofNCompleteColumn(), TextColumn("{task.fields[rate]}")) as bars:
        console = bars.console
        tasks: dict[str, TaskID] = {}
        begun: dict[str, tuple[int, float]] = {}
        told = time.monotonic()

        def progress(done: int, total: int, name: str) -> None:
            nonlocal told
            now = time.monotonic()
            if name not in tasks:  # what was done by an earlier run does not count for the rate
                tasks[name] = bars.add_task(name, total=total, completed=done, rate="")
                begun[name] = (done, now)
            before, start = begun[name]
            rate = f"{60 * (done - before) / (now - start):.1f} a minute" if done > before else ""
            bars.update(tasks[name], completed=done, rate=rate)
            if not console.is_terminal and now - told > LINE_EVERY:
                told = now
                console.print(f"{name} {done}/{total}  {rate}  {_left(bars, tasks[name])}")

        yield progress


def _bars(*counts: ProgressColumn) -> Progress:
    """Bars with what is counted, and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *counts,
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True, quiet=voice.quiet),
    )


def _left(bars: Progress, task: TaskID) -> str:
    """The time left, in words; nothing while nobody can tell."""
    left = bars.tasks[task].time_remaining
    return "" if left is None else f"{timedelta(seconds=round(left))} left"
