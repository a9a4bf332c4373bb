"""The MNI152 head that simulated ones are deformed from.

The brain is that of the MNI152 2009a nonlinear template and its tissue maps, which nilearn ships in
its package. Those end at the brain: the skull, the scalp, the face and the neck are drawn here with
simple shapes, so that a simulated image has a whole head in it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from brainldm.errors import StorageError
from brainldm.files import write_folder

Map = NDArray[np.floating]
INNER_SKULL_GAP = 2.0
"""Millimetres between the template's brain mask and its inner skull."""


@dataclass(frozen=True)
class Template:
    """Maps on a 1 mm grid in MNI152 space; tensors are (C, X, Y, Z).

    Args:
        origin: the position of voxel (0, 0, 0) in millimetres, (3,).
        brain: grey matter, white matter, ventricles (fractions), and what a T1-weighted image has
            beyond a mixture of the three tissues.
        ventricle: the signed distance to the lateral ventricles (negative inside) and the direction
            away from them, in millimetres.
        head: signed distances in millimetres to the inner skull and to the surface of the face and
            neck (both negative inside), and the T1-weighted intensity of face and neck.
        intracranial_ml: the volume within the inner skull.
    """

    origin: Float[Tensor, " 3"]
    brain: Float[Tensor, "4 x y z"]
    ventricle: Float[Tensor, "4 x y z"]
    head: Float[Tensor, "3 x y z"]
    intracranial_ml: float

    def write(self, folder: Path) -> None:
        """Write the maps for other processes, unless one of them was quicker.

        Raises:
            StorageError: the folder cannot be written.
        """
        with write_folder(folder, keep=True) as aside:
            for field in fields(self):
                np.save(aside / f"{field.name}.npy", np.asarray(getattr(self, field.name)))

    @classmethod
    def read(cls, folder: Path) -> Template:
        """Read what `write` wrote, without copying it into memory before it is used.

        Raises:
            StorageError: it is damaged.
        """
        try:
            maps = {
                field.name: np.load(folder / f"{field.name}.npy", mmap_mode="c")
                for field in fields(cls)
            }
            intracranial_ml = float(maps.pop("intracranial_ml"))
            tensors = {name: torch.from_numpy(array) for name, array in maps.items()}
            return cls(**tensors, intracranial_ml=intracranial_ml)
        except (OSError, ValueError, EOFError, TypeError) as error:
            raise StorageError(
                f"Cannot read the template in {folder}: {error}. Delete this folder; it is made "
                "again."
            ) from error


def draw_template() -> Template:
    """Draw the template from nilearn's maps; takes a quarter of a minute."""
    from nilearn import datasets

    t1_image = datasets.load_mni152_template(resolution=1)
    t1, grey, white = (
        np.asarray(image.dataobj, dtype=np.float32)
        for image in (
            t1_image,
            datasets.load_mni152_gm_template(resolution=1),
            datasets.load_mni152_wm_template(resolution=1),
        )
    )
    mask = t1 > 0
    grey, white = grey * mask, white * mask
    csf = np.clip(1 - grey - white, 0, 1) * mask
    origin = t1_image.affine[:3, 3].astype(np.float32)
    x, y, z = _coordinates(t1.shape, origin)

    inside = _inner_skull(mask)
    lateral = _lateral_ventricles(csf, origin)
    distance = _signed_distance(lateral)
    direction = np.stack(np.gradient(ndimage.gaussian_filter(distance, 0.7)))
    direction /= np.maximum(np.linalg.norm(direction, axis=0), 0.3)
    surface, intensity = _face_and_neck(x, y, z)
    skull = ndimage.gaussian_filter(_signed_distance(inside), 1.0)
    return Template(
        origin=torch.from_numpy(origin),
        brain=_stack(grey, white, csf * (distance < 3), _residual(t1, grey, white, csf)),
        ventricle=_stack(distance, *direction),
        head=_stack(skull, surface, intensity),
        intracranial_ml=float((skull < 0).sum()) / 1000,
    )


def _stack(*maps: Map) -> Tensor:
    return torch.from_numpy(np.stack(maps).astype(np.float32))


def _coordinates(shape: tuple[int, ...], origin: Map) -> tuple[Map, Map, Map]:
    x, y, z = (o + np.arange(side, dtype=np.float32) for o, side in zip(origin, shape, strict=True))
    return x[:, None, None], y[None, :, None], z[None, None, :]


def _signed_distance(mask: NDArray[np.bool_]) -> Map:
    """Millimetres to the edge of a mask on a 1 mm grid, negative inside."""
    distance: Map = ndimage.distance_transform_edt(~mask).astype(np.float32)
    near = _around(mask, 1)
    distance[near] -= ndimage.distance_transform_edt(mask[near]).astype(np.float32)
    return distance


def _around(mask: NDArray[np.bool_], margin: int) -> tuple[slice, ...]:
    """The box of a mask, and some voxels more at each side; beyond it nothing need be computed."""
    [box] = ndimage.find_objects(mask.astype(np.uint8))
    return tuple(slice(max(0, side.start - margin), side.stop + margin) for side in box)


def _inner_skull(brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The brain mask with its clefts closed, and a gap around it."""
    padded = np.pad(brain, 20)
    near = _around(padded, 14)
    grown = ndimage.distance_transform_edt(~padded[near]) < 12
    closed = np.zeros_like(padded)
    closed[near] = ndimage.distance_transform_edt(grown) > 12 - INNER_SKULL_GAP
    return closed[20:-20, 20:-20, 20:-20]


def _lateral_ventricles(csf: Map, origin: Map) -> NDArray[np.bool_]:
    """The two bodies of fluid beside the midline; at half fluid no cistern touches them."""
    labels, _ = ndimage.label(csf > 0.5)
    seeds = {int(labels[tuple(np.array([x, -20, 20]) - origin.astype(int))]) for x in (-8, 8)}
    return np.isin(labels, list(seeds - {0}))


def _residual(t1: Map, grey: Map, white: Map, csf: Map) -> Map:
    """What the template has beyond its tissues: deep nuclei, vessels, myelin."""
    mask = t1 > 0
    tissues = np.stack([grey[mask], white[mask], csf[mask]], axis=1)
    mixture, *_ = np.linalg.lstsq(tissues, t1[mask], rcond=None)
    result = np.zeros_like(t1)
    result[mask] = np.clip(t1[mask] - tissues @ mixture, -0.15, 0.15)
    smoothed: Map = ndimage.gaussian_filter(result, 0.5)
    return smoothed


def _ellipsoid(
    x: Map, y: Map, z: Map, centre: tuple[float, float, float], radii: tuple[float, float, float]
) -> Map:
    """About the signed distance to an ellipsoid's surface in millimetres, negative inside."""
    offsets = [(c - m) / r for c, m, r in zip((x, y, z), centre, radii, strict=True)]
    norm = np.sqrt(sum(o**2 for o in offsets))
    result: Map = (norm - 1) * min(radii)
    return result


def _face_and_neck(x: Map, y: Map, z: Map) -> tuple[Map, Map]:
    """Signed distance to the skin, and the intensities below it, with simple shapes.

    Fat is bright, muscle intermediate; bone, teeth and air are dark (T1-weighted).
    """

    def shape(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Map:
        return _ellipsoid(x, y, z, centre, radii)

    side = np.abs(x)

    def pair(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Map:
        return _ellipsoid(side, y, z, centre, radii)

    surface = np.minimum.reduce(
        [
            shape((0, 28, -45), (64, 52, 66)),  # face
            shape((0, 76, -40), (15, 18, 30)),  # nose
            shape((0, -35, -80), (66, 70, 62)),  # neck
        ]
    )
    surface = ndimage.gaussian_filter(surface, 3).astype(np.float32)
    head = np.full(surface.shape, 0.45, dtype=np.float32)  # muscle

    def paint(distance: Map, value: float) -> None:
        weight = np.clip(0.5 - distance / 2, 0, 1)
        head[:] = head * (1 - weight) + value * weight

    ripple = np.sin(x / 4.1 + y / 9.7) * np.sin(z / 4.7 - y / 8.3)
    head += 0.07 * ripple  # bundles of muscle
    paint(np.abs(shape((0, -20, -70), (48, 44, 60))) - 1.5, 0.7)  # fat between muscles
    paint(np.abs(shape((0, 30, -60), (46, 34, 50))) - 1.5, 0.7)
    paint(pair((52, 30, -48), (12, 22, 24)), 0.72)  # cheek
    paint(pair((46, 6, -66), (7, 12, 26)), 0.08)  # mandible
    paint(pair((46, 6, -66), (3, 8, 22)), 0.55)  # its marrow
    paint(pair((60, 24, -22), (6, 26, 6)), 0.08)  # zygomatic arch
    paint(shape((0, 46, -40), (30, 36, 32)), 0.12)  # bone of the mid-face
    paint(pair((26, 46, -48), (13, 16, 14)), 0.02)  # maxillary sinus
    paint(shape((0, 56, -42), (9, 34, 20)), 0.03)  # nasal cavity
    paint(np.maximum(shape((0, 56, -42), (9, 34, 20)), side - 1.2), 0.4)  # septum
    paint(pair((6, 50, -50), (3, 22, 3.5)), 0.4)  # turbinates
    paint(pair((6, 50, -39), (2.5, 18, 3)), 0.4)
    paint(shape((0, 14, -36), (14, 12, 10)), 0.03)  # sphenoid sinus
    paint(shape((0, 68, -12), (16, 5, 9)), 0.03)  # frontal sinus
    paint(shape((0, 10, -62), (12, 14, 14)), 0.02)  # airway
    paint(shape((0, -8, -50), (18, 18, 22)), 0.15)  # clivus
    paint(shape((0, -8, -50), (12, 11, 16)), 0.55)  # its marrow
    paint(pair((38, -12, -42), (24, 12, 12)), 0.1)  # petrous bone
    paint(pair((52, -32, -44), (10, 14, 16)), 0.08)  # mastoid cells
    paint(pair((33, 46, -34), (20, 24, 18)), 0.1)  # wall of the orbit
    paint(pair((33, 48, -34), (17.5, 24, 16)), 0.78)  # fat of the orbit
    paint(pair((33, 34, -28), (2.5, 18, 2.5)), 0.4)  # muscles of the eye
    paint(pair((33, 34, -40), (2.5, 18, 2.5)), 0.4)
    paint(pair((42, 36, -34), (2, 18, 3.5)), 0.4)
    paint(pair((24, 36, -34), (2, 18, 3.5)), 0.4)
    paint(pair((31, 34, -34), (2, 20, 2)), 0.45)  # optic nerve
    paint(pair((33, 58, -34), (12.5, 12.5, 12.5)), 0.35)  # eyeball
    paint(pair((33, 58, -34), (11.5, 11.5, 11.5)), 0.18)
    paint(pair((33, 67, -34), (4.5, 2.5, 4.5)), 0.5)  # lens
    paint(-3.5 - surface, 0.75)  # fat below the skin
    paint(-1.0 - surface, 0.5)  # skin
    return surface, ndimage.gaussian_filter(head, 0.6).astype(np.float32)
