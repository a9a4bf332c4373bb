"""A Ray cluster: the way there, and the room that it has for workers."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from brainldm.errors import BrainLDMError, UsageError, require

CORES = 8
"""The most that a worker without a GPU takes unless told otherwise."""
CONNECT = 10.0
"""Seconds to reach a cluster."""


class Cluster:
    """A cluster that is reached.

    Args:
        address: "local" starts Ray on this machine; else a cluster's, such as auto or HOST:6379.

    Raises:
        UsageError: there is no such cluster.
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, address: str) -> None:
        # Ray reports its use to its makers unless told not to.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        require("cohort", "Work on many machines", "ray")
        import ray

        self.ray: Any = ray
        errors: Any = ray.exceptions
        self.lost = (errors.RayActorError, errors.WorkerCrashedError, errors.NodeDiedError)
        """Errors that say that a worker is no more."""
        try:
            host, colon, port = address.removeprefix("ray://").rpartition(":")
            if colon:  # Ray itself waits for minutes
                socket.create_connection((host, int(port)), CONNECT).close()
            self.ray.init(
                address=address,
                log_to_driver=False,
                logging_level="ERROR",
                **({"include_dashboard": False} if address == "local" else {}),
            )
        except Exception as error:  # of many kinds: no such host, another version of Ray
            raise UsageError(
                f"Cannot reach a Ray cluster at {address!r}: {error}. Expected local, auto, or the "
                "HOST:PORT that `ray start --head` prints, with the same versions of Ray and "
                "Python."
            ) from error

    def workers(
        self, kind: type, device: str, cores: int | None, *arguments: Any, at_once: int = 1
    ) -> tuple[int, Callable[[], Any]]:
        """How many workers there is room for, and what starts one.

        Args:
            kind: of the worker: called with `arguments`, and the threads that it is to take (None
                beside a GPU).
            device: "auto", "cpu" or "cuda".
            cores: of each; None takes up to `CORES` where there is no GPU, and one beside one.
            arguments: of each.
            at_once: calls that a worker answers at a time, in threads of its own.

        Raises:
            UsageError: there is no room for one.
        """
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        gpus = int(sum(node.get("GPU", 0) for node in nodes))
        on_gpu = gpus > 0 and device in ("auto", "cuda")
        most = int(max((node.get("CPU", 0) for node in nodes), default=0))
        each = cores or (1 if on_gpu else max(1, min(CORES, most)))
        rooms = [int(node.get("CPU", 0)) // each for node in nodes]
        if on_gpu:
            rooms = [
                min(room, int(node.get("GPU", 0))) for room, node in zip(rooms, nodes, strict=True)
            ]
        if not sum(rooms):
            raise UsageError(
                f"The Ray cluster has no room for a worker of {each} cores: its largest machine "
                f"has {most}. Choose --cores-per-worker {most} or fewer."
            )
        actor = self.ray.remote(kind).options(
            num_cpus=each, num_gpus=int(on_gpu), max_restarts=0, max_concurrency=at_once
        )
        return sum(rooms), lambda: actor.remote(*arguments, None if on_gpu else each)

    def close(self) -> None:
        """Let the workers go."""
        self.ray.shutdown()


def plain(error: Exception, what: str, then: str) -> BrainLDMError:
    """An error of a worker, as it was raised there if a user caused it.

    Args:
        error: as Ray raised it.
        what: went wrong, if it was nothing that a user caused.
        then: what to do.
    """
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, BrainLDMError):
        return type(cause)(*cause.args)
    return UsageError(f"{what}: {cause}. {then}")
