"""The thread that does jobs, one after the other, since there is one model on one device."""

from __future__ import annotations

import threading
import time
import traceback
from dataclasses import dataclass, field

import torch
from torch import Tensor

from brainldm.errors import BrainLDMError
from brainldm.pipeline.choice import Sampling
from brainldm.pipeline.request import match_requests
from brainldm.serve.preview import Preview
from brainldm.serve.schema import Job
from brainldm.serve.store import Store
from brainldm.serve.work import Work

IDLE_SECONDS = 0.05
WARM_STEPS = 2


class StoppedError(Exception):
    """A job was told to end: cancelled, out of time, or the server ends."""


@dataclass
class Current:
    """The job that runs.

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
    """Takes jobs from a store and does them.

    Args:
        store: of the jobs.
        work: that does one.
    """

    def __init__(self, store: Store, work: Work) -> None:
        self.store, self.work = store, work
        self._current: Current | None = None
        self._cancelled: set[str] = set()
        self._preview: Preview | None = None
        self._ready, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="brainldm worker", daemon=True)

    def start(self) -> None:
        """Begin, with the jobs that were interrupted first."""
        self.store.requeue()
        self._thread.start()

    def stop(self) -> None:
        """End; a job that runs is left as interrupted, and runs again when the server does."""
        self._ending.set()
        self._thread.join(timeout=30)

    @property
    def ready(self) -> bool:
        """Whether the model has made its first head, so that the next comes at full speed."""
        return self._ready.is_set() and self._thread.is_alive()

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
        current = self._current
        return current.picture if current and current.id == id else None

    def live(self, job: Job) -> Job:
        """A job with how far it is."""
        current = self._current
        if job.state != "running" or current is None or current.id != job.id:
            return job
        names = ("done", "total", "phase", "seconds_left")
        return job.model_copy(update={name: getattr(current, name) for name in names})

    def _run(self) -> None:
        self._warm_up()
        self._ready.set()
        while not self._ending.is_set():
            job = self.store.take()
            if job is None:
                self._ending.wait(IDLE_SECONDS)
            else:
                self._do(job)

    @torch.inference_mode()
    def _warm_up(self) -> None:
        """Make a head that nobody sees: memory is taken, kernels chosen, previews fitted."""
        model = self.work.model
        sampling = Sampling(steps=WARM_STEPS)
        requests = match_requests(model.config, {}, [0], sampling=sampling)
        [sample] = model.sample(requests, sampling)
        volume = sample.develop()
        image = torch.from_numpy(volume.array)
        self._preview = Preview(sample.latent.cpu(), image, volume.grid)

    def _do(self, job: Job) -> None:
        current = self._current = Current(job.id)

        def progress(done: int, total: int, phase: str) -> None:
            gone = time.monotonic() - current.begun
            current.done, current.total, current.phase = done, total, phase
            current.seconds_left = (
                round(gone / done * (total - done), 1) if phase == "denoise" else None
            )
            late = gone > self.work.limits.seconds
            if job.id in self._cancelled or late or self._ending.is_set():
                raise StoppedError

        def watch(latents: Tensor) -> None:
            if self._preview:
                current.picture = self._preview.draw(latents[0])

        try:
            heads = self.work.do(job, self.store.head, progress, watch)
            self.store.end(job.id, "finished", heads=heads)
        except StoppedError:
            self._stopped(current)
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
            self._current = None

    def _stopped(self, current: Current) -> None:
        if current.id in self._cancelled:
            self.store.end(current.id, "cancelled")
        elif not self._ending.is_set():
            limit = self.work.limits.seconds
            self.store.end(
                current.id,
                "failed",
                f"It took more than {limit:g} s: expected less. Ask for fewer steps or heads, or "
                "start the server with a larger --seconds.",
            )
