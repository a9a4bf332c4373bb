"""What data sets have of BIDS in common."""

from __future__ import annotations

from pathlib import Path

VERSION = "1.10.0"
"""Of the specification."""
SPACE = "MNI152NLin2009aSym"
"""The name of the space that our images lie in."""


def t1w(folder: Path, label: str) -> tuple[Path, Path]:
    """The image of a participant and its sidecar; the label is without "sub-"."""
    anat = folder / f"sub-{label}" / "anat"
    stem = f"sub-{label}_space-{SPACE}_T1w"
    return anat / f"{stem}.nii.gz", anat / f"{stem}.json"
