"""What data sets have of BIDS in common: the names of files and of the people in them."""

from __future__ import annotations

import re
from pathlib import Path

from brainldm.image.volume import nifti_stem

VERSION = "1.10.0"
"""Of the specification."""
SPACE = "MNI152NLin2009aSym"
"""The name of the space that our images lie in."""


def t1w(folder: Path, label: str) -> tuple[Path, Path]:
    """The image of a participant and its sidecar; the label is without "sub-"."""
    anat = folder / f"sub-{label}" / "anat"
    stem = f"sub-{label}_space-{SPACE}_T1w"
    return anat / f"{stem}.nii.gz", anat / f"{stem}.json"


def names_of(image: Path, folder: str = "") -> tuple[str, ...]:
    """What a table may call the person of an image, the likeliest first.

    That is sub-LABEL where the name of the image (or of its folder, if that is given) has it, else
    the image's name without its end and without _T1w.
    """
    stem = nifti_stem(image)
    person = stem.removesuffix("_T1w") or stem
    match = re.match(r"sub-([A-Za-z0-9]+)", folder or stem)
    label = match[1] if match else re.sub(r"[^A-Za-z0-9]", "", person)
    return tuple(dict.fromkeys((f"sub-{label}", label, person, stem)))
