"""A scan as a model has it: the latent, and the noise that gives it back under its conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from brainldm.conditions import Conditions
from brainldm.edit.known import Known
from brainldm.edit.original import Original
from brainldm.errors import DataError
from brainldm.image.volume import Volume
from brainldm.metrics.similarity import psnr
from brainldm.pipeline.brain import BrainLDM
from brainldm.sampling.guidance import denoiser
from brainldm.sampling.inversion import Inversion, invert
from brainldm.sampling.loop import sample
from brainldm.sampling.solvers import DDIM, Solver
from brainldm.workers import Progress

STEPS = 16
"""Of the walk up and of the walk down."""
USUAL_NOISE = 1.25
"""The root mean square of the noise above which a scan is unlike what the model was trained on: it
would be 1."""
USUAL_PSNR = 26.0
"""Of the autoencoder alone, dB, below which the same holds: 28.5 and more for heads of the demo
model's kind, 23.8 for a real one, whose noise does not tell (1.1 to 1.2, and 1.1)."""
UNSOLVED = 0.1
"""Of the noise, what may change at the end of the search."""
FADE_MM = 4.0
"""From the inside of the skull, over which a change that ends there fades in."""
MOST_NOISE = 2.5
"""Above which nothing can be said of it at all: 3.4 for an image of noise."""


@dataclass(frozen=True, eq=False)
class Inverted:
    """What `invert` found.

    Args:
        model: in whose latent space.
        original: the scan.
        known: of the person.
        image: the scan on the model's grid, in [0, 1].
        latent: of it, (1, C, X, Y, Z).
        inversion: the way up from there.
        steps: of it.
    """

    model: BrainLDM
    original: Original
    known: Known
    image: Volume
    latent: Float[Tensor, "1 c i j k"]
    inversion: Inversion
    steps: int

    @classmethod
    @torch.inference_mode()
    def of(
        cls,
        model: BrainLDM,
        original: Original,
        known: Known,
        *,
        steps: int = STEPS,
        extrapolate: bool = False,
        image: Volume | None = None,
        progress: Progress | None = None,
        samples: int = 0,
    ) -> Inverted:
        """Find the noise.

        Args:
            model: which.
            original: the scan.
            known: of the person.
            steps: of the walk.
            extrapolate: accept conditions outside the model's ranges.
            image: on the model's grid, in place of the scan's own there.
            progress: called after each step.
            samples: that will be walked down afterwards, which progress counts too.

        Raises:
            DataError: the image is none on the model's grid, or of a kind that it cannot represent.
            BrainLDMError: conditions or steps that the model cannot take, or values that are not
                finite.
        """
        context = torch.from_numpy(model.ranges.normalise([known.conditions], extrapolate))
        # Refused before the scan is encoded.
        model.schedule.timesteps(steps, DDIM().spacing)
        image = image or original.on(model.grid)
        latent = model.encode(image)

        def on_step(done: int, total: int) -> None:
            if progress:
                progress(done, total * (1 + samples), "denoise")

        inversion = invert(
            denoiser(model.networks.predict, context.to(model.device)),
            latent,
            schedule=model.schedule,
            steps=steps,
            prediction=model.config.schedule.prediction,
            on_step=on_step,
        )
        found = cls(model, original, known, image, latent, inversion, steps)
        if found.noise_rms > MOST_NOISE:
            raise DataError(
                f"The model cannot represent this scan: {found.doubts[0]}. Expected a T1-weighted "
                "head of the kind that it was trained on, in its place in MNI152 space; look at "
                "the scan in a viewer, or take a model of such heads."
            )
        return found

    def walk(
        self,
        people: Sequence[Conditions],
        *,
        noise: Float[Tensor, "b c i j k"] | None = None,
        extrapolate: bool = False,
        solver: Solver | None = None,
        skip: int = 0,
        strength: float = 1.0,
        progress: Progress | None = None,
    ) -> Float[Tensor, "b c i j k"]:
        """Walk down under other conditions, as `walk_down`.

        Args:
            people: conditions of each latent.
            noise: of each; what the way up came by there, for all, if None.
            extrapolate: accept conditions outside the model's ranges.
            solver: in place of plain DDIM.
            skip: steps at the noisy end that are left out.
            strength: by how much larger what differs from the person's own conditions is made.
            progress: called after each step.
        """
        start = self.inversion.path[self.steps - skip][1] if noise is None else noise
        own = torch.from_numpy(self.model.ranges.normalise([self.known.conditions], True))
        return walk_down(
            self.model,
            people,
            start.expand(len(people), -1, -1, -1, -1),
            steps=self.steps,
            extrapolate=extrapolate,
            solver=solver,
            skip=skip,
            strength=strength,
            own=own,
            progress=progress,
        )

    def picture(self, latent: Float[Tensor, "1 c i j k"]) -> Float[np.ndarray, "x y z"]:
        """A latent decoded, in [0, 1]."""
        return picture(self.model, latent)

    @cached_property
    def reconstruction(self) -> Float[np.ndarray, "x y z"]:
        """The scan after the autoencoder alone."""
        return self.picture(self.latent)

    @cached_property
    def within_skull(self) -> Volume | None:
        """1 within the skull, 0 from its inside on; None where the scan cannot be labelled."""
        try:
            found = self.known.segmenter.label(self.image)
        except DataError:
            return None
        if not found.quality.trusted:
            return None
        inside = ndimage.binary_fill_holes(found.image.array > 0)
        depth = ndimage.distance_transform_edt(inside, sampling=self.image.grid.spacing)
        return Volume(np.clip(depth / FADE_MM, 0, 1).astype(np.float32), self.image.affine)

    @property
    def noise(self) -> Float[Tensor, "1 c i j k"]:
        """What gives the scan back under its conditions."""
        return self.inversion.noise

    @property
    def noise_rms(self) -> float:
        """The root mean square of the noise: 1 for a head of the kind that the model knows."""
        return float(self.noise.square().mean().sqrt())

    @property
    def floor_psnr(self) -> float:
        """Of the autoencoder alone against the scan on the model's grid, dB."""
        return psnr(self.reconstruction, self.image.array)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why the result is not to be trusted."""
        found = []
        if self.noise_rms > USUAL_NOISE or self.floor_psnr < USUAL_PSNR:
            found.append(
                f"the model hardly knows such a scan: the noise that gives it back has a root mean "
                f"square of {self.noise_rms:.2f}, and 1 where a scan is of the kind that it was "
                f"trained on; the autoencoder alone reaches {self.floor_psnr:.1f} dB, where "
                f"{USUAL_PSNR:g} or more were expected"
            )
        if self.inversion.residual > UNSOLVED:
            found.append(
                f"the noise was not found: {self.inversion.residual:.1e} of it changed when the "
                "search ended; take more steps"
            )
        return tuple(found)


def picture(model: BrainLDM, latent: Float[Tensor, "1 c i j k"]) -> Float[np.ndarray, "x y z"]:
    """A latent decoded, in [0, 1]."""
    decoded: Float[np.ndarray, "x y z"] = model.decode(latent)[0, 0].clamp(0, 1).cpu().numpy()
    return decoded


@torch.inference_mode()
def walk_down(
    model: BrainLDM,
    people: Sequence[Conditions],
    noise: Float[Tensor, "b c i j k"],
    *,
    steps: int,
    extrapolate: bool = False,
    solver: Solver | None = None,
    skip: int = 0,
    strength: float = 1.0,
    own: Float[Tensor, "1 v"] | float = 0.0,
    progress: Progress | None = None,
) -> Float[Tensor, "b c i j k"]:
    """Walk noise down, as many latents at a time as the model's memory allows.

    Args:
        model: in whose latent space.
        people: conditions of each latent.
        noise: to start from.
        steps: of the walk.
        extrapolate: accept conditions outside the model's ranges.
        solver: in place of plain DDIM.
        skip: steps at the noisy end that are left out.
        strength: by how much larger what differs from the answer to `own` is made.
        own: conditions, normalised.
        progress: called after each step, which counts as many for the walk up.
    """
    contexts = torch.from_numpy(model.ranges.normalise(people, extrapolate)).to(model.device)
    start = noise.to(model.device)
    size, latents = model.networks.batch, []
    for first in range(0, len(people), size):
        rows = slice(first, first + size)
        latents.append(
            sample(
                denoiser(model.networks.predict, contexts[rows], strength, own),
                start[rows],
                schedule=model.schedule,
                solver=solver or DDIM(),
                steps=steps,
                skip=skip,
                prediction=model.config.schedule.prediction,
                on_step=partial(_told, progress, first, len(contexts[rows]), len(people), skip),
            )
        )
    return torch.cat(latents)


def _told(
    progress: Progress | None,
    before: int,
    now: int,
    samples: int,
    skip: int,
    done: int,
    total: int,
    _: Tensor,
) -> None:
    """Steps that are left out count as done."""
    steps = skip + total
    if progress:
        progress(steps * (1 + before) + (skip + done) * now, steps * (1 + samples), "denoise")
