"""A cohort made by the workers of a Ray cluster, which may come and go.

A worker is an actor with a GPU of its own, or with a group of cores. Each has a batch in work and
one that waits, so that the plan is read no faster than volumes are made. The batches of a worker
that is lost go to others, and another worker takes its place when there is room for one.
"""

from __future__ import annotations

import socket
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from brainldm.cohort.cluster import Cluster, plain
from brainldm.cohort.maker import Facts, Made, Maker, Making
from brainldm.cohort.parts import Batch
from brainldm.errors import BrainLDMError, StorageError, UsageError
from brainldm.pipeline.brain import BrainLDM
from brainldm.pipeline.choice import Model
from brainldm.threads import use_threads

AHEAD = 2
"""Batches that a worker has at a time."""
TRIES = 4
"""Workers that a batch may cost before the cohort stops."""
PATIENCE = 300.0
"""Seconds to wait for a worker where there is none."""


class _Worker:
    """What runs in an actor. It loads the model when it is first asked, so that what goes wrong
    comes back as it was raised.
    """

    def __init__(self, model: Model, threads: int | None) -> None:
        if threads:
            use_threads(threads)
        self._model = model
        self._pipeline: BrainLDM | None = None

    def facts(self) -> Facts:
        self._pipeline = self._pipeline or BrainLDM.load(self._model)
        return Facts.of(self._pipeline)

    def begin(self, making: Making, settled: Facts) -> None:
        if not making.folder.is_begun:
            raise StorageError(
                f"The worker on {socket.gethostname()} does not see {making.folder.out}. Expected "
                "a folder on a file system that all machines of the cluster share."
            )
        _agreed([settled, self.facts()])
        assert self._pipeline is not None
        self._maker = Maker(self._pipeline, making)

    def make(self, batch: Batch) -> list[Made]:
        return list(self._maker.make([batch]))


@dataclass(eq=False)
class _Handle:
    """An actor, and the batches that it has."""

    actor: Any
    batches: dict[Any, Batch] = field(default_factory=dict)


class OnRay:
    """Makes volumes on a Ray cluster.

    Args:
        model: that makes them; each worker loads it once.
        address: "local" starts Ray on this machine; else a cluster's, such as auto or HOST:6379.
        cores: of each worker; None takes up to `CORES` where there is no GPU, and one beside one.

    Raises:
        UsageError: no such cluster, no worker could be started, or they do not agree.
    """

    def __init__(self, model: Model, address: str, cores: int | None) -> None:
        self._cluster = Cluster(address)
        self._ray = self._cluster.ray
        try:
            self._places, self._start = self._cluster.workers(_Worker, model.device, cores, model)
            self._workers = [_Handle(self._start()) for _ in range(self._places)]
            self.facts = self._settle()
        except BaseException:
            self.close()
            raise

    def _settle(self) -> Facts:
        """What the workers have in common that start in time; others are asked when they start."""
        refs = {worker.actor.facts.remote(): worker for worker in self._workers}
        ready, _ = self._ray.wait(list(refs), num_returns=len(refs), timeout=PATIENCE)
        found: list[Facts] = []
        failure: Exception = TimeoutError(f"none started within {PATIENCE:.0f} s")
        for ref in ready:
            try:
                found.append(self._ray.get(ref))
            except Exception as error:  # its machine was lost, or what any worker would meet
                failure = error
                self._workers.remove(refs[ref])
        if not found:
            raise _plain(failure, "No worker could be started") from failure
        return _agreed(found)

    def make(self, making: Making, batches: Iterable[Batch]) -> Iterator[Made]:
        """Make volumes, each given back once it is whole on the disk, in no order.

        Raises:
            BrainLDMError: what a worker met that another would meet as well, or no worker is left.
        """
        source, again = iter(batches), deque[Batch]()
        starting = {w.actor.begin.remote(making, self.facts): w for w in self._workers}
        working: list[_Handle] = []
        losses: Counter[int] = Counter()
        while True:
            for worker in working:
                while len(worker.batches) < AHEAD:
                    batch = again.popleft() if again else next(source, None)
                    if batch is None:
                        break
                    worker.batches[worker.actor.make.remote(batch)] = batch
            owners = {ref: worker for worker in working for ref in worker.batches}
            if working and not owners:
                return
            refs = [*owners, *starting]
            ready, _ = self._ray.wait(refs, timeout=None if working else PATIENCE)
            if not ready:
                raise UsageError(
                    f"No worker of the Ray cluster started within {PATIENCE:.0f} s. What was made "
                    "is kept; the same command resumes the cohort."
                )
            (ref,) = ready
            beginner = starting.pop(ref, None)
            handle = beginner or owners[ref]
            try:
                result = self._ray.get(ref)
            except self._cluster.lost as error:
                lost = list(handle.batches.values())
                losses.update(batch.rows[0].index for batch in lost[:1])
                losses.update([-1] if beginner else [])
                if losses and max(losses.values()) >= TRIES * (self._places if beginner else 1):
                    raise _plain(error, "Workers were lost one after another") from error
                again.extend(lost)
                handle.batches.clear()
                working = [worker for worker in working if worker is not handle]
                other = _Handle(self._start())
                starting[other.actor.begin.remote(making, self.facts)] = other
                continue
            except self._ray.exceptions.RayTaskError as error:
                raise _plain(error, "A worker failed") from error
            if beginner:
                working.append(handle)
                continue
            handle.batches.pop(ref)
            losses.pop(-1, None)
            yield from result

    def close(self) -> None:
        """Let the workers go."""
        self._cluster.close()


def _plain(error: Exception, what: str) -> BrainLDMError:
    then = (
        "What was made is kept; the same command resumes the cohort. A worker that is killed for "
        "lack of memory needs --memory low, or more cores than now, so that fewer run."
    )
    return plain(error, what, then)


def _agreed(facts: list[Facts]) -> Facts:
    """What all workers have; batches suit the smallest of them."""
    first = facts[0]
    for other in facts:
        if (other.hash, other.dtype, other.version) != (first.hash, first.dtype, first.version):
            raise UsageError(
                f"The workers do not agree: {first} and {other}. Expected one model, one precision "
                "and one version of brainldm on all machines; name the precision with --dtype."
            )
    return min(facts, key=lambda each: each.batch)
