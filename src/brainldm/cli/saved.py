"""The last line of a command that saves images: every file, and how to look at one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from brainldm.image.volume import output_paths


def saved(images: Sequence[Path]) -> str:
    """What was saved for images that `Volume.save` wrote, of the same kinds.

    Args:
        images: their NIfTI, in one folder.
    """
    first, last = images[0], images[-1]
    there = [path for path in output_paths(first) if path.exists()]
    stem = output_paths(first)[1].stem
    ends = [path.name.removeprefix(stem) for path in there]
    kinds = ", ".join(ends[:-1]) + " and " * (len(ends) > 1) + ends[-1]
    folder = first.parent.resolve()
    what = f"{stem}{kinds}" if len(ends) == 1 else f"{stem} ({kinds})"
    if len(images) > 1:
        what = f"{len(images)} heads, {stem} to {output_paths(last)[1].stem} (each {kinds}),"
    picture = output_paths(first)[2]
    look = (
        f"look at {picture.name}"
        if picture.exists()
        else f"open {first.name} in a viewer such as FSLeyes, or draw it with --preview"
    )
    return f"Saved {what} in {folder}; {look}"
