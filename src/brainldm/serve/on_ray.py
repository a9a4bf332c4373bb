"""Jobs done by the workers of a Ray cluster, each with the model in an actor of its own.

An actor reads and writes the library's folder, as all machines see it. It does a job in one
thread; in another it says how far it is, and hears that the job is to end.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from brainldm.cohort.cluster import Cluster, plain
from brainldm.errors import StorageError
from brainldm.files.filling import LOCK
from brainldm.pipeline.brain import BrainLDM
from brainldm.pipeline.choice import Model
from brainldm.segment.network import Network
from brainldm.serve.hand import Facts, Find, LostError, Show, StoppedError
from brainldm.serve.heads import Library
from brainldm.serve.limits import Limits
from brainldm.serve.schema import Head, Job
from brainldm.serve.work import Work
from brainldm.threads import use_threads
from brainldm.workers import Progress

POLL = 0.2
"""Seconds after which a worker is asked how far it is."""
PATIENCE = 300.0
"""Seconds in which a worker has to end a job that was cancelled."""
AGAIN = "Look at the cluster (`ray status`), and start the server again."


@dataclass(frozen=True)
class Equipment:
    """What a worker needs; travels between machines."""

    model: Model
    shelf: Library
    limits: Limits
    network: Network

    def work(self) -> Work:
        """With the model loaded; errors as `BrainLDM.load`, or a folder that is not seen here."""
        folder = self.shelf.folder
        if not (folder / LOCK).exists():
            raise StorageError(
                f"The worker on {socket.gethostname()} does not see {folder}. Expected a folder on "
                "a file system that all machines of the cluster share."
            )
        model = BrainLDM.load(self.model)
        return Work(model, self.model, self.shelf, self.limits, self.network)


class _JobWorker:
    """What runs in an actor. It loads the model when it is first asked, so that what goes wrong
    comes back as it was raised.
    """

    def __init__(self, equipment: Equipment, threads: int | None) -> None:
        if threads:
            use_threads(threads)
        self._equipment = equipment
        self._stop = threading.Event()
        self._seen: tuple[int, int, str, bytes | None] = (0, 0, "", None)

    @cached_property
    def _work(self) -> Work:
        return self._equipment.work()

    def facts(self) -> Facts:
        return self._work.facts()

    def warm_up(self) -> None:
        self._work.warm_up()

    def do(self, job: Job, heads: dict[str, Head]) -> tuple[Head, ...]:
        self._stop.clear()
        self._seen = (0, 0, "", None)

        def progress(done: int, total: int, phase: str) -> None:
            self._seen = (done, total, phase, self._seen[3])
            if self._stop.is_set():
                raise StoppedError

        def show(picture: bytes) -> None:
            self._seen = (*self._seen[:3], picture)

        return self._work.do(job, heads.__getitem__, progress, show)

    def seen(self) -> tuple[int, int, str, bytes | None]:
        return self._seen

    def stop(self) -> None:
        self._stop.set()


class RayHand:
    """Does jobs in an actor, and starts another one where that is lost.

    Args:
        cluster: that is reached.
        start: starts an actor.
    """

    def __init__(self, cluster: Cluster, start: Callable[[], Any]) -> None:
        self._cluster, self._ray, self._start = cluster, cluster.ray, start
        self._actor = start()

    def facts(self) -> Facts:
        """Of the model in the actor."""
        facts: Facts = self._settled(self._actor.facts.remote())
        return facts

    def warm_up(self) -> None:
        """Have the actor make a head."""
        self._settled(self._actor.warm_up.remote())

    def do(self, job: Job, find: Find, progress: Progress, show: Show) -> tuple[Head, ...]:
        """Have the actor do a job; see `Hand`."""
        asked = job.request.get("head")
        try:
            heads = {asked: find(asked)} if asked else {}
        except KeyError:
            heads = {}  # the work says so
        try:
            return self._followed(self._actor.do.remote(job, heads), progress, show)
        except self._cluster.lost as error:
            self._actor = self._start()
            raise LostError(
                f"The worker that did this was lost, as others were before: {error}. One that is "
                "killed for lack of memory needs --memory low, or more cores, so that fewer run."
            ) from error

    def _followed(self, ref: Any, progress: Progress, show: Show) -> tuple[Head, ...]:
        while True:
            ready, _ = self._ray.wait([ref], timeout=POLL)
            if ready:
                found: tuple[Head, ...] = self._get(ref)
                return found
            done, total, phase, picture = self._ray.get(self._actor.seen.remote())
            if picture:
                show(picture)
            try:
                progress(done, total, phase)
            except StoppedError:
                self._actor.stop.remote()
                self._ray.wait([ref], timeout=PATIENCE)
                raise

    def _get(self, ref: Any) -> Any:
        try:
            return self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            raise plain(error, "A worker of the Ray cluster failed", AGAIN) from error

    def _settled(self, ref: Any) -> Any:
        try:
            return self._get(ref)
        except self._cluster.lost as error:
            raise plain(error, "A worker of the Ray cluster was lost", AGAIN) from error


def hands_on(cluster: Cluster, cores: int | None, equipment: Equipment) -> Sequence[RayHand]:
    """As many workers as there is room for.

    Raises:
        UsageError: there is room for none.
    """
    device = equipment.model.device
    room, start = cluster.workers(_JobWorker, device, cores, equipment, at_once=2)
    return [RayHand(cluster, start) for _ in range(room)]
