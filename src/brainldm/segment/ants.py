"""Measuring what a table lacks: ventricular fluid, and the brain normalised for head size.

The reference head is deformed onto the subject's (affine, then SyN: Avants et al. 2008). That gives
priors for a segmentation into fluid, grey and white matter (Atropos: Avants et al. 2011), the
region where fluid is ventricular, and the size of the head. Volumes are then sums of fractions: a
voxel between fluid and tissue counts by its intensity, as a mixture of the two (Zhang et al. 2001).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray as Array
from scipy import ndimage

from brainldm.image.volume import Volume
from brainldm.register.images import correct_bias, import_ants, to_ants, working_copy
from brainldm.register.kept import load_reference
from brainldm.register.reference import Map, Reference
from brainldm.segment.measures import Measures

REACH_MM = 4.0
"""How far from the template's ventricles, deformed onto the subject's, fluid is ventricular."""

SKULL_MM = 3.0
"""How far the person's inner skull may be from the template's, deformed onto the person's."""

LEAST_CONTRAST = 0.8
"""Bone over fluid, above which an image does not show where the skull begins."""


@dataclass(frozen=True)
class Ants:
    """Measures with ANTs; a minute or two a head."""

    identity: str = "ants"
    errors: Mapping[str, float] = field(default_factory=dict)

    def measure(self, volume: Volume) -> Measures:
        """Measure a head that lies in MNI152 space, on any grid.

        Raises:
            MissingExtraError: ANTs is not installed.
        """
        return _measure(volume, load_reference())


def _measure(volume: Volume, reference: Reference) -> Measures:
    ants = import_ants()
    head = correct_bias(volume.resample(reference.grid))
    with tempfile.TemporaryDirectory() as folder:
        maps = _deformed_maps(ants, head, reference, Path(folder))
    fluid, grey, white = _intensities(ants, head, maps)
    inside = _within_skull(head.array, maps.skull, fluid)
    # The tissue that a voxel's fluid borders on: grey or white, as the priors have it around here.
    share = ndimage.gaussian_filter(maps.white, 2) / np.maximum(
        ndimage.gaussian_filter(maps.grey + maps.white, 2), 1e-3
    )
    tissue = grey + (white - grey) * np.clip(share, 0, 1)
    # Below 0 it is the noise of fluid, which cancels in the sum over as much of it as a head has.
    fraction = np.clip((head.array - fluid) / (tissue - fluid), -0.3, 1) * inside
    ventricular = inside & (maps.ventricle < REACH_MM) & (maps.ventricle <= maps.other_fluid)
    scaling = reference.intracranial_ml / (np.count_nonzero(inside) / 1000)
    return Measures(
        ventricular_volume_ml=float((1 - fraction.clip(0))[ventricular].sum()) / 1000,
        brain_volume_ml=float(fraction.sum() / 1000 * scaling),
        head_scaling=scaling,
    )


@dataclass(frozen=True)
class _Maps:
    """The reference's maps on the subject's grid of 1 mm; distances are in mm of the template."""

    grey: Map
    white: Map
    ventricle: Map
    other_fluid: Map
    skull: Map


def _deformed_maps(ants: Any, head: Volume, reference: Reference, folder: Path) -> _Maps:
    fixed, moving = working_copy(head), working_copy(reference.volume("head"))
    near = Volume((reference.to_skull(fixed.grid) < 12).astype(np.float32), fixed.affine)
    images = [to_ants(ants, image) for image in (fixed, moving)]
    affine = ants.registration(
        *images,
        "Affine",
        initial_transform="Identity",
        outprefix=str(folder / "affine"),
        mask=to_ants(ants, near),
        aff_random_sampling_rate=0.5,
        aff_iterations=(200, 100, 50),
        aff_shrink_factors=(4, 2, 1),
        aff_smoothing_sigmas=(2, 1, 0),
        singleprecision=False,
    )["fwdtransforms"]
    deformation = ants.registration(
        *images,
        "SyNOnly",
        initial_transform=affine,
        outprefix=str(folder / "syn"),
        mask=to_ants(ants, near),
        syn_metric="mattes",
        syn_sampling=32,
        reg_iterations=(60, 40, 20),
    )["fwdtransforms"]
    target = to_ants(ants, head)

    def pull(array: Map) -> Map:
        image = to_ants(ants, Volume(array, reference.grid.matrix))
        result: Map = ants.apply_transforms(
            target, image, transformlist=deformation, interpolator="linear"
        ).numpy()
        return result

    fluid = (1 - reference.grey - reference.white > 0.5) & (reference.skull < -1)
    other = fluid & (reference.ventricle > REACH_MM)
    distance = ndimage.distance_transform_edt(~other).astype(np.float32)
    return _Maps(
        pull(reference.grey),
        pull(reference.white),
        pull(reference.ventricle - 20) + 20,  # beyond the edge: far away
        pull(distance - 20) + 20,
        pull(reference.skull - 20) + 20,
    )


def _within_skull(head: Map, skull: Map, fluid: float) -> Bool[Array, "x y z"]:
    """What is within the person's own inner skull, (X, Y, Z).

    Near the deformed one, fluid is brighter than bone: what is on fluid's side of the middle of the
    two, and connected with what lies deeper, is inside. Where bone is no darker than fluid, the
    deformed one has to do.

    Args:
        head: intensities, (X, Y, Z).
        skull: distance to the deformed inner skull in mm, negative inside.
        fluid: the intensity of pure fluid.
    """
    shells = (head[(skull >= mm) & (skull < mm + 1)] for mm in range(int(SKULL_MM) + 1))
    # Low percentiles: its inner layer is thin, and blurred with what is on either side.
    bone = min(float(np.percentile(shell, 10)) for shell in shells if shell.size)
    deformed: Bool[Array, "x y z"] = skull < 0
    if bone > LEAST_CONTRAST * fluid:
        return deformed
    core = skull < -SKULL_MM
    bright = core | ((skull < SKULL_MM) & (head > (fluid + bone) / 2))
    bright = core | ndimage.binary_opening(bright)
    inside: Bool[Array, "x y z"] = ndimage.binary_propagation(core, mask=bright)
    inside |= ndimage.binary_closing(inside)
    return inside


def _intensities(ants: Any, head: Volume, maps: _Maps) -> tuple[float, float, float]:
    """The typical intensity of pure fluid, grey matter and white matter."""
    inside = maps.skull < 0
    [edges] = ndimage.find_objects(inside.astype(np.uint8))
    box = tuple(slice(edge.start, edge.stop, 2) for edge in edges)  # every other voxel suffices
    grey, white, image = maps.grey[box], maps.white[box], head.array[box]
    fluid = np.clip(1 - grey - white, 0, 1)

    def boxed(array: Map) -> Any:
        return to_ants(ants, Volume(array, head.affine))  # the same shift for all of them

    found = ants.atropos(
        a=boxed(image),
        x=boxed(inside[box].astype(np.float32)),
        i=[boxed(prior) for prior in (fluid, grey, white)],
        m="[0.1,1x1x1]",
        c="[3,0]",
        priorweight=0.25,
    )
    labels = found["segmentation"].numpy()
    medians = []
    for label, prior in enumerate((fluid, grey, white), 1):
        pure = ndimage.binary_erosion(labels == label) & (prior > 0.5)
        if label == 1:
            pure &= maps.ventricle[box] < 0
        medians.append(float(np.median(image[pure if pure.sum() > 50 else labels == label])))
    return medians[0], medians[1], medians[2]
