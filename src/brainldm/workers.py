"""Processes that share the work over many images."""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from threading import Thread


def pool_of(jobs: int) -> ProcessPoolExecutor:
    """Processes of one thread each, not forked: torch and ITK have threads."""
    return ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )


def _start_worker() -> None:
    """Processes are what runs in parallel, and one thread sums in one order.

    A process also ends when the one that started it was killed, and does not wait for more work.
    """
    Thread(target=_end_with_parent, daemon=True).start()
    for name in ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[name] = "1"
    if "torch" in sys.modules:  # imported with the script that started this
        sys.modules["torch"].set_num_threads(1)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
