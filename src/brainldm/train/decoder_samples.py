"""A decoder's samples: latents, of the encoder or made anew, and the images they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from brainldm.train.draws import Draw
from brainldm.train.feed import Sample, Samples
from brainldm.train.head_samples import Load
from brainldm.train.latents import Latents
from brainldm.train.phases import Course
from brainldm.train.settings import DecoderSettings


@dataclass(frozen=True, eq=False)
class Pairs:
    """Heads and their latents, which are not scaled.

    Args:
        load: of a head.
        clean: as the encoder gives them.
        remade: as the model makes them.
        factor: between image and latent.
    """

    load: Load
    clean: Latents
    remade: Latents
    factor: int


class DecoderSamples(Samples):
    """Heads to learn from.

    Args:
        pairs: of all heads.
        learn: numbers of the heads to learn from.
        names: of all heads, for messages.
        course: settings of the stage.
    """

    def __init__(
        self,
        pairs: Pairs,
        learn: Sequence[int],
        names: Sequence[str],
        course: Course[DecoderSettings],
    ) -> None:
        self.pairs, self.learn, self.names, self.course = pairs, learn, names, course

    def __call__(self, draw: Draw) -> Sample:
        """`image` (1, X, Y, Z) and its `latent` (C, x, y, z), or the same part of both, and what
        slices are drawn from.
        """
        settings, pairs = self.course.at(draw.step).settings, self.pairs
        head, orientation = self._which(draw)
        anew = torch.rand((), generator=draw.generator("remade")).item() < settings.remade
        latent = (pairs.remade if anew else pairs.clean)[head][orientation]
        image = pairs.load(head)
        if orientation:
            image = image.flip(1)
        if settings.crop:
            generator = draw.generator("crop")
            for axis, side in enumerate(settings.crop, start=1):
                cells = side // pairs.factor
                last = latent.shape[axis] - cells
                start = int(torch.randint(last + 1, (), generator=generator))
                latent = latent.narrow(axis, start, cells)
                image = image.narrow(axis, start * pairs.factor, side)
        return {
            "slices": torch.tensor(draw.number("slices")),
            "latent": latent.contiguous(),
            "image": image.contiguous(),
        }

    def subject(self, draw: Draw) -> str:
        """Whose head that is."""
        return self.names[self._which(draw)[0]]

    def _which(self, draw: Draw) -> tuple[int, int]:
        """A head, and its orientation."""
        count = len(self.learn)
        orientation, place = divmod(draw.index(count * self.pairs.clean.orientations), count)
        return self.learn[place], orientation
