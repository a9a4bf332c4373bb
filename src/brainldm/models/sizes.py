"""Which sizes a network takes."""

from __future__ import annotations

from collections.abc import Sequence

from brainldm.errors import DataError


def check_sides(sides: Sequence[int], factor: int, what: str) -> None:
    """Refuse a grid that halving does not bring to whole voxels.

    Args:
        sides: X, Y, Z.
        factor: of which each must be a multiple.
        what: is of that size, as the subject of the message.

    Raises:
        DataError: names the nearest smaller and larger size.
    """
    if all(side > 0 and side % factor == 0 for side in sides):
        return
    smaller = tuple(max(side // factor, 1) * factor for side in sides)
    larger = tuple(max(-(-side // factor), 1) * factor for side in sides)
    raise DataError(
        f"{what} has the size {tuple(sides)}: expected sides that are multiples of {factor}. The "
        f"nearest sizes that work are {smaller} and {larger}."
    )
