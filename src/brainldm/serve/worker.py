"""The threads that do jobs, one for each model that is loaded, here or elsewhere."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from brainldm.errors import BrainLDMError
from brainldm.serve.hand import Hand, LostError, StoppedError
from brainldm.serve.schema import Job
from brainldm.serve.store import Store

IDLE_SECONDS = 0.05
LOSSES = 3
"""Hands that a job may cost before it counts as what kills them."""


@dataclass
class Current:
    """A job that runs.

    Args:
        id: of the job.
        begun: when, on the monotonic clock.
        done: of `total`, in the phase `phase`.
        seconds_left: of the denoising, as it was known at the last step.
        picture: PNG of what is being denoised.
    """

    id: str
    begun: float = field(default_factory=time.monotonic)
    done: int = 0
    total: int = 0
    phase: str = ""
    seconds_left: float | None = None
    picture: bytes | None = None


class Worker:
    """Takes jobs from a store and has them done.

    Args:
        store: of the jobs.
        hands: that do one each.
        seconds: that a job may take.
    """

    def __init__(self, store: Store, hands: Sequence[Hand], seconds: float) -> None:
        self.store, self.seconds = store, seconds
        self._current: dict[str, Current] = {}
        self._cancelled: set[str] = set()
        self._lost: Counter[str] = Counter()
        self._ready, self._ending = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=[hand], name="brainldm worker", daemon=True)
            for hand in hands
        ]

    def start(self) -> None:
        """Begin, with the jobs that were interrupted first."""
        self.store.requeue()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; a job that runs is left as interrupted, and runs again when the server does."""
        self._ending.set()
        for thread in self._threads:
            thread.join(timeout=30)

    @property
    def ready(self) -> bool:
        """Whether a model has made its first head, so that the next comes at full speed."""
        return self._ready.is_set() and any(thread.is_alive() for thread in self._threads)

    def cancel(self, id: str) -> bool:
        """Cancel a job; whether it had not ended."""
        if self.store.cancel_queued(id):
            return True
        if self.store.job(id).state == "running":
            self._cancelled.add(id)
            return True
        return False

    def picture(self, id: str) -> bytes | None:
        """A look at the head that a job is denoising (PNG), if there is one yet."""
        current = self._current.get(id)
        return current.picture if current else None

    def live(self, job: Job) -> Job:
        """A job with how far it is."""
        current = self._current.get(job.id)
        if job.state != "running" or current is None:
            return job
        names = ("done", "total", "phase", "seconds_left")
        return job.model_copy(update={name: getattr(current, name) for name in names})

    def _run(self, hand: Hand) -> None:
        hand.warm_up()
        self._ready.set()
        while not self._ending.is_set():
            job = self.store.take()
            if job is None:
                self._ending.wait(IDLE_SECONDS)
            else:
                self._do(job, hand)

    def _do(self, job: Job, hand: Hand) -> None:
        current = self._current[job.id] = Current(job.id)

        def progress(done: int, total: int, phase: str) -> None:
            gone = time.monotonic() - current.begun
            current.done, current.total, current.phase = done, total, phase
            current.seconds_left = (
                round(gone / done * (total - done), 1) if phase == "denoise" and done else None
            )
            late = gone > self.seconds
            if job.id in self._cancelled or late or self._ending.is_set():
                raise StoppedError

        def show(picture: bytes) -> None:
            current.picture = picture

        try:
            heads = hand.do(job, self.store.head, progress, show)
            self.store.end(job.id, "finished", heads=heads)
        except StoppedError:
            self._stopped(current)
        except LostError as error:
            self._again(job, error)
        except BrainLDMError as error:
            self.store.end(job.id, "failed", str(error))
        except Exception as error:  # one bad job never stops the rest
            traceback.print_exc()
            self.store.end(
                job.id,
                "failed",
                f"{type(error).__name__}: {error}. This is a fault of brainldm: please report it, "
                "with what the server printed.",
            )
        finally:
            self._cancelled.discard(job.id)
            if self._current.get(job.id) is current:  # another hand may have the job already
                del self._current[job.id]

    def _again(self, job: Job, error: LostError) -> None:
        self._lost[job.id] += 1
        if self._lost[job.id] < LOSSES:
            self.store.requeue(job.id)
        else:
            self.store.end(job.id, "failed", str(error))

    def _stopped(self, current: Current) -> None:
        if current.id in self._cancelled:
            self.store.end(current.id, "cancelled")
        elif not self._ending.is_set():
            self.store.end(
                current.id,
                "failed",
                f"It took more than {self.seconds:g} s: expected less. Ask for fewer steps or "
                "heads, or start the server with a larger --seconds.",
            )
