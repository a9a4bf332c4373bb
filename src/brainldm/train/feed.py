"""What is learned from at each step: samples, read a little ahead, become batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from brainldm.errors import UsageError
from brainldm.train.draws import Draw

AHEAD = 2
"""Steps whose samples are read before they are needed."""

Sample = dict[str, Tensor]
"""Tensors on the CPU, without a batch axis."""
Batch = dict[str, Tensor]
"""The same with one, on the device."""


class Samples(ABC):
    """What a stage learns from."""

    @abstractmethod
    def __call__(self, draw: Draw) -> Sample:
        """One sample. Runs in a thread."""

    @abstractmethod
    def subject(self, draw: Draw) -> str:
        """Whose sample that is."""


@dataclass(frozen=True)
class Share:
    """What one of several processes takes of each step.

    Args:
        process: its number, from 0.
        of: how many there are.
        micro: samples at a time; None for all of a step.
    """

    process: int
    of: int
    micro: int | None

    def draws(self, seed: int, step: int, size: int) -> list[list[Draw]]:
        """Its part of a batch of `size`, in parts to take at a time.

        Raises:
            UsageError: the processes cannot share the batch, or the parts do not fill a share.
        """
        share, rest = divmod(size, self.of)
        if rest:
            raise UsageError(
                f"A batch of {size} cannot be shared by {self.of} processes: expected a multiple. "
                "Start another number of processes, or change training.batch_size (and with it the "
                "result)."
            )
        micro = self.micro or share
        if share % micro:
            raise UsageError(
                f"The {share} samples of a process cannot be taken {micro} at a time: expected a "
                "divisor. Change run.micro_batch."
            )
        first = self.process * share
        return [
            [Draw(seed, step, first + start + i, size) for i in range(micro)]
            for start in range(0, share, micro)
        ]


def feed(
    samples: Samples, steps: Iterable[Sequence[Sequence[Draw]]], workers: int, device: torch.device
) -> Iterator[list[Batch]]:
    """The batches of each step, whose samples threads read ahead.

    Args:
        samples: to learn from.
        steps: the draws of each batch of each step.
        workers: threads.
        device: of the batches.
    """
    # One thread each: the teams of two of OpenMP's pools would keep each other from the cores.
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    pending: deque[list[list[Future[Sample]]]] = deque()
    try:
        for draws in steps:
            pending.append([[pool.submit(samples, draw) for draw in each] for each in draws])
            if len(pending) > AHEAD:
                yield [_stack(futures, device) for futures in pending.popleft()]
        while pending:
            yield [_stack(futures, device) for futures in pending.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def _stack(futures: Sequence[Future[Sample]], device: torch.device) -> Batch:
    samples = [future.result() for future in futures]
    return {key: torch.stack([each[key] for each in samples]).to(device) for key in samples[0]}
