"""The tissues of a head: their numbers in a label map, what they are made of, what they count as.

Numbers are FreeSurfer's, and from 502 on those of whole-head label maps as Billot et al. 2023
(SynthSeg, arXiv 2107.09559) publish them. Two of those lump together what a T1-weighted image
tells apart: soft tissue (507) is fat or muscle, and bone (515) is compact or diploe. They are split
(`simulate.layers`) into tissues that have the same number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["air", "outside", "fluid", "ventricle", "brain"]
"""What a tissue counts as; fluid is what is neither brain nor lateral ventricle in the skull."""


@dataclass(frozen=True)
class Tissue:
    """One row of the table.

    Args:
        number: in a label map.
        name: as a dseg.tsv has it.
        material: a key of `contrast.MATERIALS`.
        kind: what it counts as.
    """

    number: int
    name: str
    material: str
    kind: Kind


def _pair(left: int, right: int, name: str, material: str, kind: Kind) -> tuple[Tissue, Tissue]:
    return (
        Tissue(left, f"left {name}", material, kind),
        Tissue(right, f"right {name}", material, kind),
    )


TISSUES = (
    Tissue(0, "background", "air", "air"),
    *_pair(2, 41, "cerebral white matter", "white", "brain"),
    *_pair(3, 42, "cerebral cortex", "grey", "brain"),
    *_pair(4, 43, "lateral ventricle", "fluid", "ventricle"),
    *_pair(5, 44, "inferior lateral ventricle", "fluid", "ventricle"),
    *_pair(7, 46, "cerebellar white matter", "cerebellar_white", "brain"),
    *_pair(8, 47, "cerebellar cortex", "cerebellar_grey", "brain"),
    *_pair(10, 49, "thalamus", "thalamus", "brain"),
    *_pair(11, 50, "caudate nucleus", "caudate", "brain"),
    *_pair(12, 51, "putamen", "putamen", "brain"),
    *_pair(13, 52, "pallidum", "pallidum", "brain"),
    *_pair(17, 53, "hippocampus", "grey", "brain"),
    *_pair(18, 54, "amygdala", "grey", "brain"),
    *_pair(26, 58, "accumbens area", "grey", "brain"),
    *_pair(28, 60, "ventral diencephalon", "ventral_diencephalon", "brain"),
    *_pair(25, 57, "white matter lesion", "lesion", "brain"),
    *_pair(30, 62, "vessel of the brain", "small_vessel", "brain"),
    *_pair(136, 163, "choroid plexus of the lateral ventricle", "plexus", "fluid"),
    *_pair(137, 164, "choroid plexus of the inferior lateral ventricle", "plexus", "fluid"),
    Tissue(14, "third ventricle", "fluid", "fluid"),
    Tissue(15, "fourth ventricle", "fluid", "fluid"),
    Tissue(72, "fifth ventricle", "fluid", "fluid"),
    Tissue(16, "brain-stem", "brain_stem", "brain"),
    Tissue(24, "cerebrospinal fluid", "fluid", "fluid"),
    Tissue(85, "optic chiasm", "white", "fluid"),
    Tissue(502, "vessel", "vessel", "outside"),
    Tissue(506, "vitreous body", "vitreous", "outside"),
    Tissue(507, "soft tissue", "muscle", "outside"),
    Tissue(508, "muscle and lens of the eye", "eye_muscle", "outside"),
    Tissue(509, "mucosa", "mucosa", "outside"),
    Tissue(511, "skin", "skin", "outside"),
    Tissue(512, "spinal cord", "spinal_cord", "outside"),
    Tissue(514, "dura and venous sinus", "sinus", "outside"),
    Tissue(515, "bone", "bone", "outside"),
    Tissue(516, "bone marrow", "marrow", "outside"),
    Tissue(530, "optic nerve", "nerve", "outside"),
    Tissue(507, "soft tissue", "fat", "outside"),
    Tissue(515, "bone", "diploe", "outside"),
)
"""In the order by which maps in memory know them: a tissue's place here is its value there."""

NUMBERS = np.array([tissue.number for tissue in TISSUES], dtype=np.int16)
"""From a place to a number."""
SIDES = {"left": "right", "right": "left"}


def place(number: int, material: str | None = None) -> int:
    """Where a tissue stands in the table; the first of its number, or the one of a material."""
    return next(
        i
        for i, tissue in enumerate(TISSUES)
        if tissue.number == number and material in (None, tissue.material)
    )


def of_kind(*kinds: Kind) -> NDArray[np.bool_]:
    """Which tissues count as one of these, (len(TISSUES),)."""
    return np.array([tissue.kind in kinds for tissue in TISSUES])


def of_number(*numbers: int) -> NDArray[np.bool_]:
    """Which tissues have one of these numbers, (len(TISSUES),)."""
    return np.isin(NUMBERS, numbers)


def _mirrored(tissue: Tissue) -> int:
    side, _, rest = tissue.name.partition(" ")
    name = f"{SIDES[side]} {rest}" if side in SIDES else tissue.name
    return next(
        i
        for i, other in enumerate(TISSUES)
        if (other.name, other.material) == (name, tissue.material)
    )


MIRROR = np.array([_mirrored(tissue) for tissue in TISSUES], dtype=np.uint8)
"""From a place to that of the same tissue on the other side."""
