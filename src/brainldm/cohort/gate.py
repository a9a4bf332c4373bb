"""The quality gate: whether a volume shows a head, and the one that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainldm.cohort.scalp import scalp_faults
from brainldm.cohort.settings import Checks
from brainldm.errors import DataError, UsageError
from brainldm.image.volume import Volume
from brainldm.segment.measures import VOLUMES
from brainldm.segment.segmenter import (
    Segmenter,
    check_segmentation,
    identity_of,
    segmenter,
)

TOLERANCE = {"ventricular_volume_ml": 15.0, "brain_volume_ml": 120.0}
"""mL; three times the root mean square difference of the demo model (docs/results.md)."""
BRIGHT = 0.1
"""Of the intensity scale [0, 1]: above it is no air."""
FILLED = (0.1, 0.75)
"""The share of the field of view that a head fills."""
WHOLE = 0.9
"""The least share of what is bright that hangs together."""
OPEN = 0.15
"""The largest share of the field's sides, but the lower one, that a head reaches."""
OFF_CENTRE_MM = 40.0
"""How far a head's middle can be from that of the field of view."""


@dataclass(frozen=True, kw_only=True)
class Checking:
    """How volumes are to be checked and measured.

    Args:
        on_failure: what the gate does: "redraw", "flag" or "off".
        measure: how volumes are measured, as `segmenter` takes it.
        tolerance: condition to mL, in place of `TOLERANCE`.
    """

    on_failure: Literal["off", "flag", "redraw"] = "off"
    measure: str = "none"
    tolerance: Mapping[str, float] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse what cannot be done.

        Raises:
            UsageError: no such segmentation, or a tolerance of what is not measured or checked.
            MissingExtraError: what measures is not installed.
        """
        check_segmentation(self.measure)
        unknown = self.tolerance.keys() - TOLERANCE.keys()
        if unknown:
            raise UsageError(
                f"There is no tolerance of {', '.join(sorted(unknown))}: expected "
                f"{' or '.join(TOLERANCE)}, which are measured."
            )
        if self.tolerance and (self.measure == "none" or self.on_failure == "off"):
            raise UsageError(
                "A tolerance was given, but nothing is measured or checked: expected --measure and "
                "--gate with it."
            )

    def describe(self) -> Checks:
        """For the record."""
        if self.measure == "none":
            return Checks(on_failure=self.on_failure)
        return Checks(
            on_failure=self.on_failure,
            measures=VOLUMES,
            segmentation=identity_of(self.measure),
            tolerance=None if self.on_failure == "off" else {**TOLERANCE, **self.tolerance},
        )

    def gate(self) -> Gate:
        """The gate itself."""
        return Gate(self.on_failure, segmenter(self.measure), {**TOLERANCE, **self.tolerance})


@dataclass(frozen=True)
class Gate:
    """How volumes are checked as they are made.

    Args:
        on_failure: "redraw" with another seed, "flag" and keep, or "off".
        segmenter: measures volumes; None measures nothing.
        tolerance: condition to how far the measure may lie from what was asked for, in mL.
    """

    on_failure: Literal["off", "flag", "redraw"] = "off"
    segmenter: Segmenter | None = None
    tolerance: Mapping[str, float] = field(default_factory=lambda: dict(TOLERANCE))

    def measure(self, volume: Volume) -> dict[str, float]:
        """Condition to mL; nothing where the segmenter does not know the volume for a head."""
        if self.segmenter is None:
            return {}
        try:
            found = self.segmenter.measure(volume).volumes
        except DataError:
            return {}
        return {name: round(float(v), 3) for name, v in zip(VOLUMES, found, strict=True)}

    def faults(
        self, volume: Volume, values: Mapping[str, str | float], measured: Mapping[str, float]
    ) -> tuple[str, ...]:
        """What is wrong with a volume, a few words each; nothing if the gate is off.

        Args:
            volume: with intensities in [0, 1].
            values: what was asked for, in units.
            measured: what `measure` gave.
        """
        if self.on_failure == "off":
            return ()
        faults = list(_no_head(volume))
        if self.segmenter and not measured:
            faults.append("not measured: the segmenter does not know it for a whole head")
        for name, found in measured.items():
            asked, most = values.get(name), self.tolerance[name]
            if asked is not None and not abs(found - float(asked)) <= most:
                faults.append(f"{name} measured {found:.4g}, asked {float(asked):.4g}")
        return tuple(faults)


def _no_head(volume: Volume) -> list[str]:
    bright = volume.array > BRIGHT
    share = float(bright.mean())
    if not FILLED[0] <= share <= FILLED[1]:
        return [f"no head: {share:.0%} of the field is bright"]
    parts, count = ndimage.label(bright)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    faults = []
    if sizes.max() < WHOLE * sizes.sum():
        faults.append(f"no head: its largest part is {sizes.max() / sizes.sum():.0%} of it")
    middle = np.array(ndimage.center_of_mass(bright)) - (np.array(bright.shape) - 1) / 2
    away = float(np.linalg.norm(volume.affine[:3, :3] @ middle))
    if away > OFF_CENTRE_MM:
        faults.append(f"head {away:.0f} mm off the middle")
    around = float(np.mean([face.mean() for face in _faces(bright, volume)]))
    if around > OPEN:
        faults.append(f"no head: {around:.0%} of the field's sides are bright")
    return faults or scalp_faults(volume)


def _faces(bright: NDArray[np.bool_], volume: Volume) -> list[NDArray[Any]]:
    """The sides of the field of view but the lower one, where the neck is cut."""
    image = nib.Nifti1Image(bright.astype(np.uint8), volume.affine)
    array = np.asarray(nib.as_closest_canonical(image).dataobj)
    return [array[0], array[-1], array[:, 0], array[:, -1], array[:, :, -1]]
