"""Whether a scan shows a whole head: not skull-stripped, defaced or cropped.

Whatever is not there was set to air or lies outside the field of view. The figures beside the
constants were measured on simulated and generated heads and a real one, whole and incomplete.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from scipy import ndimage

from brainldm.image.volume import Volume
from brainldm.register.images import working_copy
from brainldm.register.rays import along, directions, ends, last
from brainldm.register.reference import Reference
from brainldm.register.rigid import coarse

BRIGHT = 0.15
"""Of a working copy's scale: what is no air."""
LEAST_BONE = 0.65
"""Of rays from the brain upwards, those that meet bone: 0.88 or more in most whole heads, 0.61 in
some whose marrow is bright."""
LEAST_BEYOND = 0.05
"""Of what is far outside the brain, what is bright: 0.5 in whole heads, 0.3 in defaced, or 0."""
ENOUGH_BEYOND = 0.4
"""Of the same, from which on a head is not stripped, whatever its bone looks like."""
LEAST_FACE = 0.4
"""Of the template's face, what is bright: 0.55 or more in whole heads, 0.3 in defaced ones."""
LEAST_BRAIN = 0.95
"""Of the template's brain, what is there: 1 in whole heads."""
MOST_CUT = 0.1
"""Of rays from the brain upwards, those that leave the field of view within the head."""
THICK_MM = 3.0
"""Voxels that are larger blur bone and scalp into one."""
RAYS = 400
SKULL_MM, SCALP_MM = 14, 8
"""How deep below the skin bone ends, and where the scalp does, at most and in mm."""


@dataclass(frozen=True)
class Wholeness:
    """How much of a head is there, each from 0 to 1; what the field of view excludes is None.

    Args:
        bone: of rays upwards, those that meet scalp, bone and brain; None of thick slices too.
        beyond: of what is far outside the brain, what is bright.
        face: of the face, what is bright.
        brain: of the brain, what is bright and within the field of view.
        cut: of rays upwards, those that leave the field of view within the head.
    """

    bone: float | None
    beyond: float | None
    face: float | None
    brain: float
    cut: float

    @property
    def stripped(self) -> bool:
        """There is nothing around the brain."""
        if self.beyond is not None and self.beyond < LEAST_BEYOND:
            return True
        if self.bone is None or (self.beyond is not None and self.beyond >= ENOUGH_BEYOND):
            return False
        # Where a part of the brain is cut away, so is the bone over it.
        return self.bone < LEAST_BONE and self.brain >= LEAST_BRAIN

    @property
    def faults(self) -> tuple[str, ...]:
        """What a model of whole heads should not learn from, a few words each."""
        faults = ["is skull-stripped"] if self.stripped else []
        if self.brain < LEAST_BRAIN:
            faults.append(f"is cropped: {1 - self.brain:.0%} of the brain is not there")
        return tuple(faults)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know of a head that is used."""
        remarks = [*self.faults]
        if not self.stripped and self.face is None:
            remarks.append("has no face within its field of view")
        elif not self.stripped and self.face is not None and self.face < LEAST_FACE:
            remarks.append("is defaced")
        if self.brain >= LEAST_BRAIN and self.cut > MOST_CUT:
            remarks.append("is cropped: its crown goes on beyond the field of view")
        return tuple(remarks)


def wholeness(head: Volume, reference: Reference) -> Wholeness:
    """Look at a head that lies in MNI152 space, on any grid."""
    template, skull = coarse(reference)
    _, y, z = template.grid.points()
    beyond = (skull > 12) & (template.array > 0.3) & (z > -60)
    face, brain = beyond & (y > 35) & (z < -15), skull < -6
    bright = working_copy(head, spacing=4).resample(template.grid).array > BRIGHT
    seen = template.grid.within(head.grid)
    bone, cut = _upwards(head)
    # Fluid in the ventricles is dark: there is brain around it.
    there = ndimage.binary_closing(bright, iterations=3) & seen
    return Wholeness(
        bone=bone,
        beyond=_share(bright, beyond, seen),
        face=_share(bright, face, seen),
        brain=float(there[brain].mean()),
        cut=cut,
    )


def _share(
    bright: Bool[Array, "x y z"], where: Bool[Array, "x y z"], seen: Bool[Array, "x y z"]
) -> float | None:
    return float(bright[where & seen].mean()) if seen[where].mean() > 0.3 else None


def _upwards(head: Volume) -> tuple[float | None, float]:
    """Of rays from the brain's centre upwards: those with bone, and those cut within the head."""
    small = working_copy(head)
    rays = directions(RAYS)
    profiles = along(rays, small.array, small.grid)
    bright = ndimage.uniform_filter1d(profiles, 3, axis=1) > BRIGHT
    met, cut = [], 0
    for profile, skin, end in zip(
        profiles, last(bright).astype(int), ends(rays, head.grid), strict=True
    ):
        if skin >= end - 2:
            cut += 1
        elif skin:
            met.append(_has_bone(profile[: skin + 1][::-1]))
    shown = len(met) > RAYS / 10 and max(head.grid.spacing) <= THICK_MM
    return (float(np.mean(met)) if shown else None), cut / RAYS


def _has_bone(inwards: Float[Array, " n"]) -> bool:
    """Whether there is something dark between two that are bright, from the skin inwards."""
    scalp = int(inwards[: SCALP_MM + 1].argmax())
    bone = scalp + int(inwards[scalp : scalp + SKULL_MM].argmin())
    brain = inwards[bone : SCALP_MM + SKULL_MM + 1]
    inside = float(brain.max()) if brain.size else 0.0
    return bool(inwards[bone] < 0.4 * min(float(inwards[scalp]), inside))
