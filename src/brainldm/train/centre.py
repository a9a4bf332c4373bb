"""How far the heads of a model lie from those of a data set on the mean.

What a network gets wrong alike in all heads cancels in none: a set of them lies apart from real
heads as a whole. Means of latents tell, and a model can learn from itself where it should lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from torch import Tensor

from brainldm.pipeline.brain import BrainLDM
from brainldm.pipeline.choice import Model, Sampling
from brainldm.pipeline.request import Request
from brainldm.train.latents import Encoded, open_array, write_array

SEED = 2_000_000
"""The first: far from where people begin, so that they judge the result on other heads."""
WIDTH = 1.0
"""Of the Gaussian that takes chance out of the difference, in voxels of the latent: it is a mean of
a few hundred heads, and what a network gets wrong alike in all of them is smooth."""


def off_centre(
    model: Model, encoded: Encoded, learn: Sequence[int], number: int, file: Path
) -> Float[Tensor, "c x y z"]:
    """The mean latent of heads of a data set, less that of heads generated for the same people.

    Args:
        model: generates, at its default setting.
        encoded: all heads of the data set.
        learn: numbers of those to compare with; again from the first if there are fewer of them.
        number: of heads to generate.
        file: where the difference is kept once it is known.

    Raises:
        StorageError: a file that cannot be written, or that holds something else.
        BrainLDMError: as `BrainLDM.load`.
    """
    if file.exists():
        return torch.from_numpy(np.array(open_array(file)))
    heads = [learn[i % len(learn)] for i in range(number)]
    brain = BrainLDM.load(model)
    requests = [Request(encoded.context[h].numpy(), {}, SEED + i) for i, h in enumerate(heads)]
    total = torch.zeros(brain.config.latent.shape, dtype=torch.float64)
    for sample, head in zip(brain.sample(requests, Sampling()), heads, strict=True):
        seen = encoded.latents[head].double().mean(0) * encoded.scale  # over its orientations
        total += seen - sample.latent.double().cpu()
    smooth = [gaussian_filter(each, WIDTH, mode="nearest") for each in (total / number).numpy()]
    difference = np.stack(smooth).astype(np.float32)
    write_array(file, difference)
    return torch.from_numpy(difference)
