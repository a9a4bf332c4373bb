"""Stage 1's samples: heads, each a little changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from brainldm.train.augment import augment, random_crop
from brainldm.train.draws import Draw
from brainldm.train.feed import Sample, Samples
from brainldm.train.phases import Course
from brainldm.train.settings import AutoencoderSettings

Load = Callable[[int], Float[Tensor, "1 x y z"]]
"""The n-th head, (1, X, Y, Z) in [0, 1]."""


class HeadSamples(Samples):
    """Heads to learn from.

    Args:
        load: of a head.
        learn: numbers of the heads to learn from.
        names: of all heads, for messages.
        course: settings of the stage.
    """

    def __init__(
        self,
        load: Load,
        learn: Sequence[int],
        names: Sequence[str],
        course: Course[AutoencoderSettings],
    ) -> None:
        self.load, self.learn, self.names, self.course = load, learn, names, course

    def __call__(self, draw: Draw) -> Sample:
        """`image` (1, X, Y, Z), or a crop of it; `noise` of its posterior, and what slices are
        drawn from.
        """
        settings = self.course.at(draw.step).settings
        image = self.load(self._which(draw))
        if settings.crop:
            image = random_crop(image, settings.crop, draw.generator("crop"))
        factor, channels = settings.network.factor, settings.network.latent_channels
        latent = (channels, *(side // factor for side in image.shape[1:]))
        return {
            "noise": torch.randn(latent, generator=draw.generator("posterior")),
            "slices": torch.tensor(draw.number("slices")),
            "image": augment(image, settings.augment, draw.generator("augment")),
        }

    def subject(self, draw: Draw) -> str:
        """Whose head that is."""
        return self.names[self._which(draw)]

    def _which(self, draw: Draw) -> int:
        return self.learn[draw.index(len(self.learn))]
