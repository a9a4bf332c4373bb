"""Layers that a label map does not tell apart: fat and muscle of soft tissue, diploe of bone.

Fat lies below the skin, around the eyes and in thin sheets between muscles; the diploe is what lies
deeper than the two compact tables of the skull. How thick each is varies smoothly over the head.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from brainldm.simulate.fields import smooth_field
from brainldm.simulate.labelmap import LabelMap
from brainldm.simulate.tissues import place

FAT_MM, FAT_VARIES_MM = 6.5, 1.5
"""From the skin's surface to the muscle below the fat."""
ORBIT_MM = 18.0
"""From an eye to the end of the fat around it."""
SHEET = 0.13
"""The share of a field's deviation to either side of zero within which there is a sheet of fat."""
TABLE_MM = 2.0
"""The thickness of compact bone above and below the diploe."""
FIELD_MM = 12.0
"""Over which the thickness of fat varies."""


def split_layers(labels: LabelMap) -> NDArray[np.uint8]:
    """The tissues of a label map with fat and diploe, uint8, (X, Y, Z).

    The same for the same map: the fields are drawn by its name.
    """
    tissues = labels.tissues.copy()
    generator = torch.Generator().manual_seed(zlib.crc32(labels.name.encode()))
    x, y, z = tissues.shape
    noise = smooth_field(1, (x, y, z), 1.0, FIELD_MM, generator)[0].numpy()
    depth = _depth(_filled(tissues > 0))
    soft = tissues == place(507)
    eyes = tissues == place(506)
    fat = (depth < FAT_MM + FAT_VARIES_MM * noise) | (np.abs(noise) < SHEET)
    if eyes.any():
        fat |= _depth(~eyes) < ORBIT_MM
    tissues[soft & fat] = place(507, "fat")
    bone = tissues == place(515)
    tissues[bone & (_depth(bone) > TABLE_MM)] = place(515, "diploe")
    return tissues


def _filled(head: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A head without its air ways and sinuses, which ends below at the edge of the map."""
    floor = np.pad(head, ((0, 0), (0, 0), (1, 0)), constant_values=False)
    floor[:, :, 0] = ndimage.binary_fill_holes(head[:, :, 0])
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(floor)[:, :, 1:]
    return filled


def _depth(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Voxels, about mm, to the edge of a mask; the edge of the map below is none."""
    padded = np.pad(mask, ((0, 0), (0, 0), (16, 0)), mode="edge")
    depth: NDArray[np.float32] = ndimage.distance_transform_edt(padded)[:, :, 16:]
    return depth.astype(np.float32)
