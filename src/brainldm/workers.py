"""Processes that share the work over many images."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from threading import Thread
from types import ModuleType
from typing import Any, TypeVar

from brainldm.threads import use_threads

Progress = Callable[[int, int, str], None]
"""progress(done, of how many, the name of the phase)."""
Task = TypeVar("Task")
Result = TypeVar("Result")


class _Process(SpawnProcess):
    """A process that does not run the caller's script again.

    What it works on is in this package; a script without a guard (`if __name__ == "__main__"`)
    would begin its own work anew in each process.
    """

    @staticmethod
    def _Popen(process: Any) -> Any:
        script, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
        try:
            return SpawnProcess._Popen(process)
        finally:
            sys.modules["__main__"] = script


class _Spawn(SpawnContext):
    Process = _Process


def pool_of(jobs: int) -> ProcessPoolExecutor:
    """Processes of one thread each, not forked: torch and ITK have threads."""
    return ProcessPoolExecutor(jobs, mp_context=_Spawn(), initializer=_start_worker)


def spread(
    work: Callable[..., Result],
    tasks: Sequence[tuple[Any, ...]],
    jobs: int,
    tell: Callable[[int], None],
) -> list[Result]:
    """The results of tasks, in their order.

    Args:
        work: called with each task as its arguments; what it raises ends all.
        tasks: that travel to processes.
        jobs: processes; 1 works in this one.
        tell: called with the number of tasks that are done.
    """
    outcomes = (
        ((index, work(*task)) for index, task in enumerate(tasks))
        if jobs == 1
        else as_finished(work, tasks, jobs)
    )
    results: dict[int, Result] = {}
    for done, (index, result) in enumerate(outcomes, 1):
        results[index] = result
        tell(done)
    return [results[index] for index in range(len(tasks))]


def as_finished(
    work: Callable[..., Result], tasks: Sequence[tuple[Any, ...]], jobs: int
) -> Iterator[tuple[int, Result]]:
    """Do each task in a process, and give its place and its result as soon as it is done.

    Args:
        work: called with each task as its arguments; what it raises ends all.
        tasks: that travel to processes, which begin with the first.
        jobs: processes at most.
    """
    if not tasks:
        return
    with pool_of(min(jobs, len(tasks))) as pool:
        futures = {pool.submit(work, *task): index for index, task in enumerate(tasks)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def one_by_one(
    work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int
) -> Iterator[tuple[Task, Result | None]]:
    """Do each task in a process of a pool, and give it with its result as soon as it is done.

    A task that dies with its process, as where memory runs out, fails alone: its result is None.
    """
    waiting = dict(enumerate(tasks))
    if not waiting:
        return
    with pool_of(min(jobs, len(tasks))) as pool:
        futures = {pool.submit(work, task): index for index, task in waiting.items()}
        try:
            for future in as_completed(futures):
                result = future.result()
                yield waiting.pop(futures[future]), result
        except BrokenProcessPool:
            pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for task in waiting.values():  # each in a pool of its own, to see which it was
        with pool_of(1) as pool:
            try:
                result = pool.submit(work, task).result()
            except BrokenProcessPool:
                yield task, None
            else:
                yield task, result


def _start_worker() -> None:
    """Processes are what runs in parallel, and one thread sums in one order.

    A process also ends when the one that started it was killed, and does not wait for more work.
    """
    Thread(target=_end_with_parent, daemon=True).start()
    use_threads(1)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
