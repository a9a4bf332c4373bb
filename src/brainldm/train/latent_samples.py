"""Stage 2's samples: latents, the noise to put on them, and the conditions."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from brainldm.train.draws import Draw
from brainldm.train.feed import Sample, Samples
from brainldm.train.latents import Encoded
from brainldm.train.phases import Course
from brainldm.train.settings import DiffusionSettings

NULL_CONTEXT = -1.0
"""What all conditions are for a head of no conditions in particular: outside their [0, 1]."""


class LatentSamples(Samples):
    """Latents under noise of all levels.

    Args:
        encoded: all heads.
        learn: numbers of the heads to learn from.
        pairs: of them, where the settings ask for pairs.
        names: of all heads, for messages.
        course: settings of the stage.
        device: where noise is drawn.
    """

    def __init__(
        self,
        encoded: Encoded,
        learn: Sequence[int],
        pairs: Sequence[tuple[int, ...]],
        names: Sequence[str],
        course: Course[DiffusionSettings],
        device: torch.device,
    ) -> None:
        self.encoded, self.names, self.course, self.device = encoded, names, course, device
        self.alone, self.pairs = [(head,) for head in learn], pairs

    def __call__(self, draw: Draw) -> Sample:
        """`z0`, `noise` (G, C, X, Y, Z), `t` (G,) and `context` (G, V) of G heads together."""
        settings = self.course.at(draw.step).settings
        heads, orientation = self._which(draw)
        # Evenly over the schedule within a step, so that the loss varies less.
        offset = torch.rand((), generator=draw.generator("time"), dtype=torch.float64).item()
        u = (draw.position + offset) / draw.of
        t = int(u**settings.timestep_power * settings.schedule.num_train_timesteps)
        context = self.encoded.context[list(heads)]
        dropped = torch.rand((), generator=draw.generator("dropout")).item()
        if dropped < settings.condition_dropout:
            context = torch.full_like(context, NULL_CONTEXT)
        z0 = torch.stack([self.encoded.z0(head, orientation) for head in heads]).to(self.device)
        generator = draw.generator("noise", self.device)
        noise = torch.randn(z0.shape[1:], generator=generator, device=self.device)
        return {
            "z0": z0,
            "noise": noise.expand_as(z0),
            "t": torch.full((len(heads),), t),
            "context": context,
        }

    def subject(self, draw: Draw) -> str:
        """Whose latent that is."""
        return self.names[self._which(draw)[0][0]]

    def _which(self, draw: Draw) -> tuple[tuple[int, ...], int]:
        """Heads, and the orientation of them."""
        together = self.pairs if self.course.at(draw.step).settings.pairs else self.alone
        orientations = self.encoded.latents.orientations
        orientation, place = divmod(draw.index(len(together) * orientations), len(together))
        return together[place], orientation
