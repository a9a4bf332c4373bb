"""A thick or partial scan made fine: the scan is the measurement, the model the prior.

What a scanner sees of a finer volume is a linear operator (`brainldm.unires.projection`). Noise is
walked down, and at each step the estimate of the clean head is decoded, changed by as little as
makes it agree with the scan, and encoded again (Zhu et al. 2023, 2305.08995; in a latent space Song
et al. 2023, 2307.08123). Where the scan measured something, it has the last word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Float
from numpy import ndarray as Array
from torch import Tensor

from brainldm.dataset.sidecar import MNI152
from brainldm.edit.counterfactual import metadata
from brainldm.edit.inverted import STEPS, Inverted, picture, walk_down
from brainldm.edit.known import Known
from brainldm.edit.original import Original
from brainldm.errors import UsageError
from brainldm.image.fit import scaled_from
from brainldm.image.volume import Volume
from brainldm.pipeline.brain import BrainLDM
from brainldm.sampling.noise import NoiseSource
from brainldm.sampling.solvers import DDIM, Estimate
from brainldm.unires.conjugate import conjugate_gradients
from brainldm.unires.profile import NEARLY
from brainldm.unires.projection import Projection
from brainldm.unires.scan import Scan
from brainldm.workers import Progress

SKIPPED = 1 / 3
"""Of the steps, at the noisy end: the scan itself says what a head looks like from afar."""
MOSTLY = 0.9
"""Of the grid, that a scan must see for that; one that is fine as well is refused."""
DAMPING, ITERATIONS = 0.3, 20
"""What a change costs, over what a disagreement does; and of the search for the smallest. With
slices that are a little finer than the grid in their plane, no image agrees: 0.01 makes stripes."""
ROUNDS = 5
"""Of agreeing and clipping by turns; what is clipped then hardly disagrees."""
WITHIN = 0.99
"""Of what a voxel of the scan sees, that the grid must hold for it to count."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """What a scan says of a head on a model's grid.

    Args:
        projection: from the grid to the scan.
        seen: the scan's intensities, on the model's scale, (I, J, K).
        counts: 1 where they count, (I, J, K).
    """

    projection: Projection
    seen: Float[Tensor, "i j k"]
    counts: Float[Tensor, "i j k"]

    @classmethod
    def of(cls, original: Original, image: Volume) -> Measurement:
        """Of a scan.

        Args:
            original: the scan.
            image: the same on the model's grid, as `Original.on` gives it.

        Raises:
            UsageError: the scan is as fine as the grid, and sees nearly all of it.
            DataError: it does not touch the grid.
        """
        scan, grid = original.volume, image.grid
        # No image on the grid agrees with what is finer.
        paired = Scan(scan.array, scan.grid).paired(min(grid.spacing))
        projection = Projection.of(paired.grid, grid, original.motion)
        low, high = scaled_from(image)
        # No image in [0, 1] agrees with what is brighter: the scale ends at a percentile.
        seen = torch.from_numpy((paired.array - low) / (high - low)).float().clamp(0, 1)
        counts = (projection(torch.ones(grid.shape)) > WITHIN).float()
        found = cls(projection, seen, counts)
        if max(scan.grid.spacing) <= NEARLY * max(grid.spacing) and found.share > MOSTLY:
            raise UsageError(
                f"The scan, {scan.grid}, is as fine as the model's grid, {grid}, and sees "
                f"{found.share:.0%} of it: expected thick slices, or a part of a head. There is "
                "nothing to add."
            )
        return found

    @cached_property
    def weight(self) -> Float[Tensor, "x y z"]:
        """How much the scan sees of each of the grid's voxels."""
        everywhere = torch.ones(self.projection.volume.shape)
        return self.projection.adjoint(self.counts * self.projection(everywhere))

    @property
    def share(self) -> float:
        """Of the grid's voxels, that the scan sees."""
        return float((self.weight > 0).float().mean())

    def agreeing(self, image: Float[Tensor, "x y z"]) -> Float[Tensor, "x y z"]:
        """A near image that agrees better with the scan."""
        back = self.projection.adjoint
        missing = back(self.counts * (self.seen - self.projection(image)))
        damping = DAMPING * float(self.weight.max())
        change = torch.zeros_like(image)
        conjugate_gradients(
            lambda x: back(self.counts * self.projection(x)) + damping * x,
            missing,
            change,
            self.weight + damping,
            most=ITERATIONS,
        )
        return image + change

    def bounded(self, image: Float[Tensor, "x y z"]) -> Float[Tensor, "x y z"]:
        """An image near to one that agrees, with intensities in [0, 1]."""
        for _ in range(ROUNDS):
            image = self.agreeing(image).clamp(0, 1)
        return image

    def disagreement(self, image: Float[Tensor, "x y z"]) -> float:
        """The root mean square of what is left between an image and the scan."""
        off = self.counts * (self.seen - self.projection(image))
        return float((off.square().sum() / self.counts.sum()).sqrt())


@dataclass(frozen=True, eq=False)
class Agreeing(DDIM):
    """DDIM whose estimates agree with a measurement.

    Args:
        agreeing: from the estimate of a clean latent, (B, C, X, Y, Z), to one that agrees.
    """

    agreeing: Callable[[Tensor], Tensor] = field(default=lambda x0: x0)

    def correct(self, history: Sequence[Estimate]) -> Estimate:
        """The latest estimate, and the noise that is then in the latent."""
        last = history[-1]
        x0 = self.agreeing(last.x0)
        return replace(last, x0=x0, epsilon=(last.z - last.level.alpha * x0) / last.level.sigma)


@torch.inference_mode()
def super_resolve(
    model: BrainLDM,
    original: Original,
    known: Known,
    seeds: Sequence[int],
    *,
    steps: int = STEPS,
    extrapolate: bool = False,
    progress: Progress | None = None,
) -> tuple[Volume, Inverted, Iterator[Volume]]:
    """Make a scan as fine as a model, once for each seed.

    Args:
        model: that knows what lies between the slices.
        original: the scan.
        known: of the person.
        seeds: of the noise.
        steps: of the walk.
        extrapolate: accept conditions outside the model's ranges.
        progress: called after each step.

    Returns:
        The scan on the model's grid, interpolated; the first result as the model has it, which says
        how far to trust them; and the results.

    Raises:
        BrainLDMError: as `Measurement.of` and `Inverted.of`.
    """
    people = [known.conditions] * len(seeds)
    model.ranges.normalise(people, extrapolate)  # refused before anything is computed
    image = original.on(model.grid)
    measurement = Measurement.of(original, image)
    skip = int(SKIPPED * steps) if measurement.share > MOSTLY else 0
    level = model.schedule.level(model.schedule.timesteps(steps, DDIM().spacing)[skip])
    fresh = NoiseSource(seeds).draw(model.config.latent.shape).to(model.device)
    start = level.alpha * model.encode(image) + level.sigma * fresh if skip else fresh
    latents = walk_down(
        model,
        people,
        start,
        steps=steps,
        extrapolate=extrapolate,
        solver=Agreeing(agreeing=lambda x0: _agreeing(model, measurement, x0)),
        skip=skip,
        progress=progress,
    )
    decoded = (torch.from_numpy(picture(model, latent[None])) for latent in latents)
    results = [measurement.bounded(image).numpy() for image in decoded]
    first = Volume(results[0], model.affine, scaled=True)
    inverted = Inverted.of(
        model, original, known, steps=steps, extrapolate=extrapolate, image=first
    )
    return image, inverted, _volumes(inverted, measurement, results, seeds)


def _agreeing(model: BrainLDM, measurement: Measurement, x0: Tensor) -> Tensor:
    """Latents whose images agree; what encoding a decoded image changes is left out of it."""
    changed = []
    for latent in x0:
        before = torch.from_numpy(picture(model, latent[None]))
        after = measurement.agreeing(before).clamp(0, 1)
        a, b = (
            model.encode(Volume(each.numpy(), model.affine, scaled=True))
            for each in (before, after)
        )
        changed.append(latent[None] + (b - a).to(latent))
    return torch.cat(changed)


def _volumes(
    inverted: Inverted,
    measurement: Measurement,
    images: Sequence[Float[Array, "x y z"]],
    seeds: Sequence[int],
) -> Iterator[Volume]:
    for image, seed in zip(images, seeds, strict=True):
        left = measurement.disagreement(torch.from_numpy(image))
        found = {"like": "model", "seed": seed, "disagreement": round(left, 4)}
        said = metadata(inverted, "super-resolution", inverted.known.conditions, found, MNI152)
        yield Volume(image, inverted.model.affine, said, scaled=True)
