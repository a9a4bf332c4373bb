"""Where the head of a label map lies in MNI152 space: a rotation and a translation, no scaling.

Grey and white matter are brought onto the template's own maps by a similarity (7 parameters), least
squares; its scale is then left out about the middle of the brain, so that a head keeps its size.
A rigid fit would trade a difference in size for a wrong angle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, optimize
from torch import Tensor
from torch.nn import functional as F

from brainldm.errors import DataError, require
from brainldm.simulate.labelmap import LabelMap
from brainldm.simulate.tissues import TISSUES, of_kind

WHITE = ("white", "cerebellar_white", "lesion", "brain_stem", "ventral_diencephalon", "pallidum")
"""Materials that the template's map has for white matter; the brain's others are grey."""
STAGES = ((2.5, 3), (1.2, 2))
"""Blurring, and the spacing of the points, in voxels of about 2 mm, from coarse to fine."""
REACH_MM = 50.0
"""A translation that counts as much as a rotation by 1 radian."""
MIN_CORRELATION = 0.6
"""Between the maps of a head in place and the template's; those of whole heads have 0.8 to 0.95."""


@dataclass(frozen=True)
class TissueMaps:
    """Grey and white matter, (2, X, Y, Z), where `affine` says."""

    maps: NDArray[np.float32]
    affine: NDArray[np.float64]

    @classmethod
    def halved(cls, maps: NDArray[np.float32], affine: NDArray[np.float64]) -> TissueMaps:
        """The means of every two voxels along each axis: 1 mm is more than an angle needs."""
        pooled = F.avg_pool3d(torch.from_numpy(maps)[None], 2)[0].numpy()
        moved = affine @ np.diag([2.0, 2.0, 2.0, 1.0])
        moved[:3, 3] += affine[:3, :3] @ np.full(3, 0.5)
        return cls(pooled, moved)

    @property
    def centre(self) -> NDArray[np.float64]:
        """The middle of the brain in mm."""
        middle = ndimage.center_of_mass(self.maps.sum(axis=0))
        return np.asarray(nib.affines.apply_affine(self.affine, middle), dtype=np.float64)

    def blurred(self, sigma: float) -> NDArray[np.float32]:
        """The maps smoothed with a Gaussian, in voxels."""
        return np.stack([ndimage.gaussian_filter(each, sigma) for each in self.maps])


@cache
def template_maps() -> TissueMaps:
    """Those of the MNI152 template that nilearn ships.

    Raises:
        MissingExtraError: nilearn is not installed.
    """
    require("prepare", "Simulating heads", "nilearn")
    from nilearn import datasets

    images = (
        datasets.load_mni152_gm_template(resolution=1),
        datasets.load_mni152_wm_template(resolution=1),
    )
    maps = np.stack([np.asarray(image.dataobj, dtype=np.float32) for image in images])
    return TissueMaps.halved(maps, images[0].affine)


def tissue_maps(labels: LabelMap) -> TissueMaps:
    """Those of a label map."""
    brain = of_kind("brain")
    white = brain & np.array([tissue.material in WHITE for tissue in TISSUES])
    maps = np.stack([each[labels.tissues].astype(np.float32) for each in (brain & ~white, white)])
    return TissueMaps.halved(maps, labels.affine)


def align(labels: LabelMap) -> NDArray[np.float64]:
    """From MNI152 space to the label map's world, (4, 4), rigid.

    Raises:
        DataError: no pose was found in which the brain resembles the template's.
        MissingExtraError: nilearn is not installed.
    """
    template, moving = template_maps(), tissue_maps(labels)
    pose = np.zeros(7)
    for sigma, step in STAGES:
        match = _Match(template, moving, sigma, step)
        pose = optimize.minimize(
            match.loss, pose, jac=True, method="L-BFGS-B", options={"maxiter": 60}
        ).x
    alike = match.correlation(pose)
    if alike < MIN_CORRELATION:
        raise DataError(
            f"The label map {labels.name} cannot be brought to MNI152 space: its brain's "
            f"correlation with the template's is {alike:.2f}, expected at least "
            f"{MIN_CORRELATION}. Check in a viewer that its header tells how it lies."
        )
    pose[6] = 0
    matrix = np.eye(4)
    turn, shift = _linear(torch.from_numpy(pose))
    matrix[:3, :3] = turn.numpy()
    matrix[:3, 3] = moving.centre + shift.numpy() - turn.numpy() @ template.centre
    return matrix


def _linear(pose: Tensor) -> tuple[Tensor, Tensor]:
    """The matrix (rotation vector, log scale) and the translation of 7 parameters."""
    x, y, z = pose[:3]
    zero = torch.zeros_like(x)
    generator = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3)
    return torch.matrix_exp(generator) * torch.exp(pose[6]), pose[3:6] * REACH_MM


class _Match:
    """How well one brain's maps lie on another's at one resolution."""

    def __init__(self, fixed: TissueMaps, moving: TissueMaps, sigma: float, step: int) -> None:
        thin = (slice(None), *[slice(None, None, step)] * 3)
        target = fixed.blurred(sigma)[thin]
        near = ndimage.binary_dilation(target.sum(axis=0) > 0.05, iterations=2)
        voxels = np.argwhere(near) * step
        points = nib.affines.apply_affine(fixed.affine, voxels) - fixed.centre
        to_voxels = np.linalg.inv(moving.affine)
        self.points = torch.from_numpy(points)
        self.target = torch.from_numpy(target[:, near])
        self.maps = torch.from_numpy(moving.blurred(sigma))[None]
        self.centre = torch.from_numpy(moving.centre)
        self.turn = torch.from_numpy(to_voxels[:3, :3])
        self.origin = torch.from_numpy(to_voxels[:3, 3])

    def loss(self, pose: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """The mean squared difference, and its gradient."""
        parameters = torch.tensor(pose, requires_grad=True)
        difference = (self._read(parameters) - self.target).square().mean()
        difference.backward()  # type: ignore[no-untyped-call]
        assert parameters.grad is not None
        return difference.item(), parameters.grad.double().numpy()

    def correlation(self, pose: NDArray[np.float64]) -> float:
        """Of the two brains' maps."""
        both = torch.stack([self._read(torch.from_numpy(pose)).flatten(), self.target.flatten()])
        return float(torch.corrcoef(both)[0, 1])

    def _read(self, pose: Tensor) -> Tensor:
        matrix, shift = _linear(pose)
        world = self.points @ matrix.T + self.centre + shift
        voxels = world @ self.turn.T + self.origin
        sides = torch.tensor(self.maps.shape[2:], dtype=torch.float64)
        unit = (2 * voxels / (sides - 1) - 1).flip(-1).float()
        return F.grid_sample(self.maps, unit[None, None, None], align_corners=True)[0, :, 0, 0]
