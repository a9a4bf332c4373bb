"""Synthetic T1-weighted brain MRI of a chosen sex, age, ventricular and brain volume.

The public names are loaded when they are first used, so that importing brainldm is quick and
does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainldm.conditions import Conditions
    from brainldm.pipeline import BrainLDM
    from brainldm.volume import Volume

__version__ = "0.1.0"
__all__ = ["BrainLDM", "Conditions", "Volume", "__version__"]

_HOMES = {
    "BrainLDM": "brainldm.pipeline",
    "Conditions": "brainldm.conditions",
    "Volume": "brainldm.volume",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
