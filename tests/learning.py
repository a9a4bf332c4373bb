"""A stage that is quick to train, and runs of both stages on a small data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brainldm.train.accelerated import accelerated
from brainldm.train.draws import Draw
from brainldm.train.feed import Batch, Sample, Samples
from brainldm.train.fit import Trained, fit
from brainldm.train.monitor import Monitor, Progress
from brainldm.train.phases import Course
from brainldm.train.presets import load_settings
from brainldm.train.settings import AutoencoderSettings, DiffusionSettings
from brainldm.train.stage import Stage
from brainldm.train.train_autoencoder import TrainAutoencoder
from brainldm.train.train_diffusion import TrainDiffusion

QUIET = ("run.tracker=none", "run.validate_every=100")
LINE = (
    *("training.steps=60", "training.batch_size=8", "training.learning_rate=0.05"),
    *("training.warmup=5", "training.ema_decay=0.9", "run.save_every=10", *QUIET),
)


class Interrupted(Exception):
    pass


class Sums(Samples):
    """Numbers, and their sum."""

    def __call__(self, draw: Draw) -> Sample:
        x = torch.randn(3, generator=draw.generator("x"))
        return {"x": x, "y": x.sum(0, keepdim=True)}

    def subject(self, draw: Draw) -> str:
        return f"sub-{draw.index(12):02d}"


class Line(Stage):
    """Learns that y is the sum of x; `spoil` may change the loss of a step."""

    def __init__(
        self,
        *changes: str,
        spoil: Callable[[int, Tensor], Tensor] = lambda step, loss: loss,
        width: int = 3,
        samples: Samples | None = None,
    ) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = nn.Linear(width, 1)
        course = Course(load_settings("tiny", AutoencoderSettings, [*LINE, *changes]))
        super().__init__({"line": network}, samples or Sums(), course)
        self.spoil = spoil

    def loss(
        self, name: str, networks: Mapping[str, nn.Module], batch: Batch, step: int
    ) -> dict[str, Tensor]:
        loss = (networks[name](batch["x"]) - batch["y"]).square().mean()
        return {"loss": self.spoil(step, loss)}


def train(stage: Stage, state: Path, progress: Progress | None = None) -> Trained:
    """Train any stage on the CPU."""
    with accelerated(stage.course.settings.training, "cpu") as accelerator:
        return fit(stage, accelerator, state, Monitor(accelerator, progress))


def same(a: Any, b: Any) -> bool:
    """Whether two trees are equal bitwise."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b


def read(state: Path) -> Any:
    """What a state holds."""
    return torch.load(state, weights_only=True)


def interrupt_at(stop: int) -> Progress:
    """An interruption after a step."""

    def progress(done: int, total: int, losses: Mapping[str, float]) -> None:
        if done == stop:
            raise Interrupted

    return progress


def first_settings(*changes: str) -> AutoencoderSettings:
    """Of stage 1, with a discriminator that begins at step 4."""
    adversarial = "loss.adversarial={weight: 0.1, start: 4, layers: 1, channels: 4}"
    rate = "loss.adversarial.learning_rate=1e-3"
    return load_settings("tiny", AutoencoderSettings, [adversarial, rate, *QUIET, *changes])


def train_first(data: Path, out: Path, *changes: str, progress: Progress | None = None) -> Path:
    """A run of stage 1."""
    return TrainAutoencoder(data=data, settings=first_settings(*changes), out=out).run(progress)


def train_second(
    data: Path, out: Path, first: Path, *changes: str, progress: Progress | None = None
) -> Path:
    """A run of stage 2."""
    settings = load_settings("tiny", DiffusionSettings, [*QUIET, *changes])
    command = TrainDiffusion(data=data, settings=settings, out=out, autoencoder=first)
    return command.run(progress)
