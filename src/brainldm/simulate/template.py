"""The anatomy to fall back on: the MNI152 head, whose maps nilearn ships.

Its brain is the template's grey and white matter, with the regions that its maps do not name told
apart by where they lie; the skull, scalp, face and neck are drawn (`register.template`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from brainldm.register.kept import load_template
from brainldm.register.template import Template
from brainldm.simulate.anatomy import FINE_MM, Anatomy, box_grid
from brainldm.simulate.fields import read_maps
from brainldm.simulate.tissues import MIRROR, place

NAME = "template"
BONE_MM, TABLE_MM, SCALP_MM, SKIN_MM = 5.5, 1.8, 4.5, 1.2
"""From the inner skull outwards; the diploe lies between two tables."""
TISSUE = 0.62
"""The fraction of grey and white matter from which on a place is of them: its maps are smooth, and
at a half the sulci would be closed."""
FACE = ((0.05, 0), (0.16, 515), (0.3, 506), (0.49, 507), (0.6, 516))
"""The number of what the face is drawn with up to an intensity; fat is brighter."""

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]
Places = NDArray[np.uint8]


def template_anatomy(spacing: float = FINE_MM) -> Anatomy:
    """The MNI152 head as an anatomy; takes a minute, and a quarter of one at 1 mm.

    Args:
        spacing: of its voxels in mm; divides 3 mm.

    Raises:
        MissingExtraError: nilearn is not installed.
    """
    template, grid = load_template(), box_grid(spacing)
    tissues = np.empty(grid.shape, np.uint8)
    points = [
        np.arange(side, dtype=np.float32) * spacing + low
        for side, low in zip(grid.shape, grid.matrix[:3, 3].astype(np.float32), strict=True)
    ]
    for row in range(0, grid.shape[0], 8):
        x, y, z = np.meshgrid(points[0][row : row + 8], *points[1:], indexing="ij")
        tissues[row : row + 8] = _tissues(template, x, y, z)
    return Anatomy.of(NAME, tissues, spacing)


def _tissues(template: Template, x: Map, y: Map, z: Map) -> Places:
    """Places in `TISSUES` at points in mm of MNI152 space."""
    points = torch.from_numpy(np.stack([x, y, z]))
    grey, white, _, _ = read_maps(template.brain, points, template.origin).numpy()
    ventricle = read_maps(template.ventricle[:1], points, template.origin)[0].numpy()
    skull, surface, face = read_maps(template.head, points, template.origin).numpy()
    return np.where(
        skull < 0,
        _within(grey, white, ventricle, x, y, z),
        _around(skull, surface, face, x, z),
    )


def _within(grey: Map, white: Map, ventricle: Map, x: Map, y: Map, z: Map) -> Places:
    """What fills the skull; drawn for the left side, and mirrored for the right one."""
    side, tissue = np.abs(x), grey + white > TISSUE
    tentorium = -17 + 0.4 * np.clip(20 - side, 0, None)
    below = (z < tentorium) & (y < -34)
    stem = (side < 17) & (z < -6) & (y > -46) & (y < -8) & tissue

    def box(low: tuple[int, int, int], high: tuple[int, int, int]) -> Mask:
        pairs = zip((side, y, z), low, high, strict=True)
        mask: Mask = np.logical_and.reduce([(a <= m) & (m <= b) for m, a, b in pairs])
        return mask

    is_grey, is_white = tissue & (grey >= white), tissue & (white > grey)
    drawn = (
        (ventricle < 0.5, 4),
        (is_white & below, 7),
        (is_grey & below, 8),
        (stem & ~below, 16),
        (is_white, 2),
        (is_grey & box((2, -34, -2), (24, -1, 18)), 10),
        (is_grey & box((4, 0, -4), (21, 26, 26)), 11),
        (is_grey & box((15, -22, -10), (33, 20, 13)), 12),
        (is_grey, 3),
    )
    left = _first([(mask, place(number)) for mask, number in drawn], place(24))
    return np.where(x < 0, left, MIRROR[left])


def _around(skull: Map, surface: Map, face: Map, x: Map, z: Map) -> Places:
    """Bone, scalp, face and neck."""
    cap = BONE_MM + SCALP_MM
    drawn_face = _PLACE_OF_FACE[np.searchsorted(_FACE_EDGES, face)]
    temporal = (np.abs(x) > 50) & (z < 10) & (skull < cap - SKIN_MM - 1)
    layers: list[tuple[Mask, int | Places]] = [
        ((skull > TABLE_MM) & (skull < BONE_MM - TABLE_MM), place(515, "diploe")),
        (skull < BONE_MM, place(515)),
        ((surface < 1) & (z < -14), drawn_face),
        (temporal, place(507)),
        (skull < cap - SKIN_MM, place(507, "fat")),
        (skull < cap, place(511)),
        (surface < 1, drawn_face),
    ]
    return _first(layers, 0)


def _first(layers: Sequence[tuple[Mask, int | Places]], rest: int) -> Places:
    """At every point what the first mask that holds there stands for."""
    places: Places = np.select(
        [mask for mask, _ in layers], [np.asarray(what, np.uint8) for _, what in layers], rest
    ).astype(np.uint8)
    return places


_FACE_EDGES = np.array([edge for edge, _ in FACE], dtype=np.float32)
_PLACE_OF_FACE = np.array(
    [*(place(number) for _, number in FACE), place(507, "fat")], dtype=np.uint8
)
