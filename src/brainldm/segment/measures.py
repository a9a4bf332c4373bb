"""What is measured on a head."""

from __future__ import annotations

from dataclasses import dataclass

VOLUMES = ("ventricular_volume_ml", "brain_volume_ml")
"""The names of `Measures.volumes`, as conditions and tables have them."""


def error_of(name: str) -> str:
    """What the absolute error of a volume is called among the figures of a segmenter."""
    return f"{name} error"


@dataclass(frozen=True)
class Measures:
    """Of one head.

    Args:
        ventricular_volume_ml: fluid in the lateral ventricles, mL.
        brain_volume_ml: grey and white matter normalised for the size of the head, mL.
        head_scaling: the volume within the template's inner skull over that within the head's, by
            which the brain is normalised; None where that is not measured by itself.
    """

    ventricular_volume_ml: float
    brain_volume_ml: float
    head_scaling: float | None = None

    @property
    def volumes(self) -> tuple[float, float]:
        """Ventricles and brain, mL."""
        return self.ventricular_volume_ml, self.brain_volume_ml
