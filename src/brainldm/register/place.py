"""Where a head lies in MNI152 space, and how much of it is there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from brainldm.image.volume import Volume
from brainldm.register.images import moved
from brainldm.register.kept import load_reference
from brainldm.register.rigid import check_place, register
from brainldm.register.whole import Wholeness, wholeness


@dataclass(frozen=True, eq=False)
class Place:
    """Of a head.

    Args:
        motion: from its world to MNI152 space, rigid, (4, 4).
        similarity: with the template, there.
        whole: how much of it is there.
    """

    motion: Float[Array, "4 4"]
    similarity: float
    whole: Wholeness

    @classmethod
    def of(cls, scan: Volume, registered: bool = False) -> Place:
        """Look for a head, or look at one that lies in MNI152 space already.

        Raises:
            DataError: as `register`, or `check_place`.
            MissingExtraError: what registers, or holds the template, is not installed.
        """
        reference = load_reference()
        if registered:
            motion, similarity = np.eye(4), check_place(scan, reference)
        else:
            motion, similarity = register(scan, reference)
        return cls(motion, similarity, wholeness(moved(scan, motion), reference))
