"""Synthetic T1-weighted brain MRI of a chosen sex, age, ventricular and brain volume.

The public names are loaded when they are first used, so that importing brainldm is quick and
does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from brainldm._version import __version__
from brainldm.threads import set_defaults

if TYPE_CHECKING:
    from brainldm.conditions import Conditions
    from brainldm.image.volume import Volume
    from brainldm.pipeline.brain import BrainLDM

set_defaults()  # which torch reads when it is imported

__all__ = ["BrainLDM", "Conditions", "Volume", "__version__"]

_HOMES = {
    "BrainLDM": "brainldm.pipeline.brain",
    "Conditions": "brainldm.conditions",
    "Volume": "brainldm.image.volume",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
