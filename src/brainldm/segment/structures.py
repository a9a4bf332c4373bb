"""What a head is divided into: the structures, their numbers, names and colours.

Numbers are FreeSurfer's. The network tells structures apart, and sides: what lies on either side
has one row here and two numbers. What a structure's tissues are in a simulated head, `TISSUES`
says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainldm.simulate.tissues import TISSUES, Kind


@dataclass(frozen=True)
class Structure:
    """One row of the table.

    Args:
        number: in a label image; of the left one, where there are two.
        right: of the right one, or None.
        name: without its side.
        abbreviation: likewise.
        colour: hexadecimal.
        kind: what it counts as.
        tissues: numbers of the tissues that it takes in beside its own.
    """

    number: int
    right: int | None
    name: str
    abbreviation: str
    colour: str
    kind: Kind
    tissues: tuple[int, ...] = ()


STRUCTURES = (
    Structure(0, None, "background", "BG", "#000000", "outside"),
    Structure(2, 41, "cerebral white matter", "WM", "#f2efe6", "brain", (25, 30, 57, 62)),
    Structure(3, 42, "cerebral cortex", "CTX", "#d0586e", "brain"),
    Structure(4, 43, "lateral ventricle", "LV", "#5b3fd6", "ventricle"),
    Structure(5, 44, "inferior lateral ventricle", "ILV", "#b94fe0", "ventricle"),
    Structure(7, 46, "cerebellar white matter", "CbWM", "#d9c38a", "brain"),
    Structure(8, 47, "cerebellar cortex", "CbCTX", "#e0922f", "brain"),
    Structure(10, 49, "thalamus", "TH", "#1f8a4c", "brain"),
    Structure(11, 50, "caudate nucleus", "CAU", "#63b5f2", "brain"),
    Structure(12, 51, "putamen", "PUT", "#e85fb8", "brain"),
    Structure(13, 52, "pallidum", "PAL", "#1d3f9e", "brain"),
    Structure(17, 53, "hippocampus", "HIP", "#e6d43a", "brain"),
    Structure(18, 54, "amygdala", "AMY", "#58e0d2", "brain"),
    Structure(26, 58, "accumbens area", "ACC", "#f28b1e", "brain"),
    Structure(28, 60, "ventral diencephalon", "VDC", "#8a5a2b", "brain"),
    Structure(31, 63, "choroid plexus", "CP", "#19d3f0", "fluid", (136, 137, 163, 164)),
    Structure(14, None, "third ventricle", "3V", "#c8d63a", "fluid"),
    Structure(15, None, "fourth ventricle", "4V", "#2f9e9e", "fluid"),
    Structure(16, None, "brain-stem", "BS", "#7d8fa8", "brain"),
    Structure(24, None, "cerebrospinal fluid", "CSF", "#3f6f8f", "fluid", (72, 85)),
)
"""In the order of the network's scores."""


def _structure_of(number: int) -> int:
    """Where the structure that a tissue belongs to stands in the table; 0 for what is none."""
    return next(
        (
            i
            for i, each in enumerate(STRUCTURES)
            if number in (each.number, each.right, *each.tissues)
        ),
        0,
    )


def _side_of(name: str) -> int:
    return {"left": 1, "right": 2}.get(name.partition(" ")[0], 0)


STRUCTURE_OF_TISSUE = np.array([_structure_of(each.number) for each in TISSUES], dtype=np.uint8)
"""From a place in `TISSUES` to one in `STRUCTURES`."""
SIDE_OF_TISSUE = np.array([_side_of(each.name) for each in TISSUES], dtype=np.uint8)
"""From a place in `TISSUES` to a side: 0 none, 1 left, 2 right."""
NUMBERS = np.array(
    [[each.number, each.right or each.number] for each in STRUCTURES], dtype=np.int16
)
"""The numbers of each structure on the left and on the right, (K, 2)."""


def _by_number(values: NDArray[np.int_]) -> NDArray[np.uint8]:
    found = np.zeros(NUMBERS.max() + 1, dtype=np.uint8)
    found[NUMBERS] = values
    return found


PLACE_OF_NUMBER = _by_number(np.arange(len(STRUCTURES))[:, None])
"""From a number in a label image to a place in `STRUCTURES`."""
SIDE_OF_NUMBER = _by_number(np.array([[1, 2] if each.right else [0, 0] for each in STRUCTURES]))
"""From a number to a side: 0 none, 1 left, 2 right."""


def table() -> Iterator[tuple[int, str, str, str]]:
    """The number, the name, the abbreviation and the colour of every label, by number."""
    rows = {}
    for each in STRUCTURES:
        if each.right is None:
            rows[each.number] = (each.name, each.abbreviation, each.colour)
            continue
        for number, side in ((each.number, "left"), (each.right, "right")):
            short = f"{side[0].upper()}-{each.abbreviation}"
            rows[number] = (f"{side} {each.name}", short, each.colour)
    for number in sorted(rows):
        yield (number, *rows[number])


def column(name: str) -> str:
    """The name of a structure's volume, in tables and records."""
    return f"{name.replace(' ', '_')}_ml"


def of_kind(*kinds: Kind) -> NDArray[np.bool_]:
    """Which structures count as one of these, (K,)."""
    return np.array([each.kind in kinds for each in STRUCTURES])


GROUPS = {
    "lateral ventricles": (4, 5),
    "white matter": (2,),
    "cortex": (3,),
    "deep grey": (10, 11, 12, 13, 17, 18, 26),
    "cerebellum": (7, 8),
    "brain-stem": (16,),
}
"""Structures that are judged together, by their numbers: a mean over those of deep grey matter, the
union of others.
"""
