"""What is learned from at each step: samples, read a little ahead, become batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from brainldm.errors import UsageError
from brainldm.train.draws import Draw

AHEAD = 2
"""Steps whose samples are read before they are needed."""

Sample = dict[str, Tensor]
"""Tensors on the CPU, or on the device, without a batch axis."""
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
    alone: dict[str, Any] = {"initializer": torch.set_num_threads, "initargs": (1,)}
    pool = ThreadPoolExecutor(workers, **alone)
    stacker = ThreadPoolExecutor(1, **alone)
    pending: deque[Future[list[Batch]]] = deque()
    try:
        for draws in steps:
            read = [[pool.submit(samples, draw) for draw in each] for each in draws]
            pending.append(stacker.submit(_stack, read, device))
            if len(pending) > AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        stacker.shutdown(cancel_futures=True)


def _stack(read: Sequence[Sequence[Future[Sample]]], device: torch.device) -> list[Batch]:
    batches = []
    for futures in read:
        samples = [future.result() for future in futures]
        whole = {key: torch.stack([each[key] for each in samples]) for key in samples[0]}
        if device.type == "cuda":  # so that it need not wait for what the device computes
            whole = {k: v if v.is_cuda else v.pin_memory() for k, v in whole.items()}
        batches.append({k: tensor.to(device, non_blocking=True) for k, tensor in whole.items()})
    return batches
