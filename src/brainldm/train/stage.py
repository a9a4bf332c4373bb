"""What the training loop asks of a stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from torch import Tensor, nn

from brainldm.train.feed import Batch, Samples
from brainldm.train.phases import Course


@dataclass(frozen=True)
class Findings:
    """What a validation found: figures by name, and pictures."""

    figures: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, Image.Image] = field(default_factory=dict)


class Stage(ABC):
    """Networks that learn, one after another at each step, and from what.

    Args:
        networks: by name, the model first.
        samples: to learn from.
        course: the settings at each step.
    """

    def __init__(
        self, networks: dict[str, nn.Module], samples: Samples, course: Course[Any]
    ) -> None:
        self.networks, self.samples, self.course = networks, samples, course
        self.blend = 1.0
        """How far from the model's first weights to the trained ones the result lies."""

    @abstractmethod
    def loss(
        self, name: str, networks: Mapping[str, nn.Module], batch: Batch, step: int
    ) -> dict[str, Tensor]:
        """What the network `name` is to make small: "loss", and parts of it to report.

        Args:
            name: of `networks`.
            networks: as the loop wrapped them.
            batch: on the device; what a later network needs of an earlier one may be put into it.
            step: from 0.
        """

    def learns(self, name: str, step: int) -> bool:
        """Whether a network learns at a step."""
        return True

    def learning_rate(self, name: str, step: int) -> float:
        """The highest of a phase, of a network."""
        rate: float = self.course.at(step).settings.training.learning_rate
        return rate

    def gentle(self, name: str) -> Iterable[nn.Parameter]:
        """Parameters that learn at a tenth of the rate, and do not count for the norm to which
        gradients are clipped.
        """
        return ()

    def validate(self, network: nn.Module, step: int) -> Findings:
        """Look at the averaged model, with what it was not trained on."""
        return Findings()
