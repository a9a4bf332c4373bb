"""What the segmenter learns from: parts of heads, as some scanner might show them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from brainldm.segment.structures import SIDE_OF_TISSUE, STRUCTURE_OF_TISSUE
from brainldm.simulate.priors import Priors
from brainldm.simulate.tissues import MIRROR
from brainldm.train.draws import Draw
from brainldm.train.feed import Sample, Samples
from brainldm.train.label_pool import Head
from brainldm.train.phases import Course
from brainldm.train.pretend import draw_colours, draw_view, renumbered, scan, undress
from brainldm.train.segmenter_settings import SegmenterSettings

Load = Callable[[int], Head]
"""The n-th head."""


class SegmenterSamples(Samples):
    """Parts of heads to learn from.

    Args:
        load: of a head.
        names: of all heads, for messages.
        priors: of the label maps' intensities.
        course: settings of the stage.
        device: where images are made.
    """

    def __init__(
        self,
        load: Load,
        names: Sequence[str],
        priors: Priors | None,
        course: Course[SegmenterSettings],
        device: torch.device,
    ) -> None:
        self.load, self.names, self.priors, self.course = load, names, priors, course
        self.device = device

    def __call__(self, draw: Draw) -> Sample:
        """`image` (1, X, Y, Z); `structures` and `sides` (X, Y, Z), as in `STRUCTURES`."""
        settings = self.course.at(draw.step).settings
        rng = np.random.default_rng(draw.number("scan"))
        head, scans = self.load(self._which(draw)), settings.scans
        tissues = draw_view(head, settings.crop, scans, rng, self.device)
        if scans.flip and rng.random() < 0.5:
            tissues = renumbered(tissues.flip(0), MIRROR)
        tissues, counts = undress(tissues, head.counts, scans, rng)
        image = scan(tissues, counts, draw_colours(scans, self.priors, rng), scans, rng)
        return {"image": image[None], **targets(tissues)}

    def subject(self, draw: Draw) -> str:
        """Whose head that is."""
        return self.names[self._which(draw)]

    def _which(self, draw: Draw) -> int:
        return draw.index(len(self.names))


def targets(tissues: UInt8[Tensor, "x y z"]) -> Sample:
    """What the network is to say of tissues: places in `STRUCTURES`, and sides."""
    return {
        "structures": renumbered(tissues, STRUCTURE_OF_TISSUE),
        "sides": renumbered(tissues, SIDE_OF_TISSUE),
    }
