"""Who is told how training goes: a progress bar, and a tracker such as TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from brainldm.train.stage import Findings

if TYPE_CHECKING:
    from accelerate import Accelerator

Progress = Callable[[int, int, Mapping[str, float]], None]
"""(steps done, of all, losses)."""
Say = Callable[[str], None]
"""Takes a line."""
EVERY = 10
"""Steps over which losses are averaged for the tracker."""


def quiet(line: str) -> None:
    """Say nothing."""


class Monitor:
    """Tells of steps and validations, from the first process only.

    Args:
        accelerator: with its trackers.
        progress: called after each step.
    """

    def __init__(self, accelerator: Accelerator, progress: Progress | None = None) -> None:
        self.accelerator = accelerator
        self.progress = progress if accelerator.is_main_process else None
        self.total = 0
        self.sums: dict[str, list[float]] = {}

    def begin(self, done: int, total: int) -> None:
        """A run begins, or is resumed after `done` steps."""
        self.total = total
        if self.progress:
            self.progress(done, total, {})

    def step(self, done: int, losses: Mapping[str, float]) -> None:
        """A step was taken."""
        for name, value in losses.items():
            self.sums.setdefault(name, []).append(value)
        if done % EVERY == 0 or done == self.total:
            means = {name: sum(values) / len(values) for name, values in self.sums.items()}
            self.accelerator.log(means, step=done)
            self.sums = {}
        if self.progress:
            self.progress(done, self.total, losses)

    def findings(self, done: int, findings: Findings) -> None:
        """A validation was made."""
        self.accelerator.log(dict(findings.figures), step=done)
        if not self.accelerator.is_main_process:
            return
        for tracker in self.accelerator.trackers:
            for name, picture in findings.pictures.items():
                _show(tracker, name, np.asarray(picture.convert("RGB")), done)


def _show(tracker: Any, name: str, picture: np.ndarray[Any, Any], step: int) -> None:
    if tracker.name == "tensorboard":
        tracker.log_images({name: picture[None]}, step=step, dataformats="NHWC")
    elif hasattr(tracker, "log_images"):
        tracker.log_images({name: [picture]}, step=step)
