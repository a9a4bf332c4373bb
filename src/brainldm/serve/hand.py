"""What does jobs: a model in this process, or one on another machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from brainldm.serve.schema import Head, Job
from brainldm.workers import Progress

Find = Callable[[str], Head]
"""A head by its id; a KeyError if there is none."""
Show = Callable[[bytes], None]
"""Called with a look at what is being denoised (PNG)."""


class StoppedError(Exception):
    """A job was told to end: cancelled, out of time, or the server ends."""


class LostError(Exception):
    """What did a job is no more: its process was killed, or its machine is gone."""


@dataclass(frozen=True)
class Facts:
    """A model that is loaded, and where."""

    hash: str
    device: str
    dtype: str


class Hand(Protocol):
    """Does one job at a time."""

    def facts(self) -> Facts:
        """What it works with; errors as `BrainLDM.load`."""

    def warm_up(self) -> None:
        """Get ready, so that the first job takes as long as the next."""

    def do(self, job: Job, find: Find, progress: Progress, show: Show) -> tuple[Head, ...]:
        """Do a job: the heads that it made, or learned of.

        Args:
            job: what is asked for.
            find: a head.
            progress: called as progress(done, total, phase); it may raise a StoppedError.
            show: called with pictures on the way.

        Raises:
            BrainLDMError: what cannot be done as it was asked for.
            LostError: it has to be done again.
        """
