"""What data sets have of BIDS in common."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

VERSION = "1.10.0"
"""Of the specification."""
SPACE = "MNI152NLin2009aSym"
"""The name of the space that our images lie in."""

LONGEST_LABEL = 150
"""Letters and digits of a participant: a file's name has 255 bytes at most, some of ours."""


def label_of(name: str) -> str:
    """Letters and digits that name a participant as `name` does; empty where it has none of ASCII.

    Letters beyond ASCII stand as their code point, so that different names have different labels:
    mU00FCller.
    """
    if not re.search(r"[A-Za-z0-9]", name):
        return ""
    return "".join(map(_letter, unicodedata.normalize("NFC", name)))


def _letter(letter: str) -> str:
    if letter.isascii():
        return letter if letter.isalnum() else ""
    return f"U{ord(letter):04X}" if letter.isalnum() or unicodedata.combining(letter) else ""


def t1w(folder: Path, label: str) -> tuple[Path, Path]:
    """The image of a participant and its sidecar; the label is without "sub-"."""
    anat = folder / f"sub-{label}" / "anat"
    stem = f"sub-{label}_space-{SPACE}_T1w"
    return anat / f"{stem}.nii.gz", anat / f"{stem}.json"


def dseg(folder: Path, label: str) -> Path:
    """The labels of a participant's image."""
    image, _ = t1w(folder, label)
    return image.with_name(image.name.replace("_T1w.", "_dseg."))
