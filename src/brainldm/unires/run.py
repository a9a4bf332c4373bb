"""From files of a person's scans to volumes, their sidecars and a page.

files -> scans -> registered to the first -> one volume a contrast on one grid -> files
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brainldm._version import __version__
from brainldm.checkpoint import load_config
from brainldm.dataset.bids import SPACE
from brainldm.dataset.sidecar import OURS
from brainldm.errors import UsageError, require
from brainldm.files import refuse_existing, to_json, write_together
from brainldm.image.grid import Grid
from brainldm.image.nifti import nifti_bytes
from brainldm.image.reading import image_sha256
from brainldm.image.volume import Volume
from brainldm.unires.align import LOWEST_SCORE, Moved, align
from brainldm.unires.atlas import t1_weighted, to_atlas
from brainldm.unires.memory import check_memory, estimate_bytes
from brainldm.unires.page import unires_page
from brainldm.unires.profile import NEARLY, across
from brainldm.unires.reading import contrast_of, read_scans
from brainldm.unires.scan import Scan
from brainldm.unires.solve import REGULARISATION, Solution, solve, start
from brainldm.unires.space import mean_grid
from brainldm.workers import Progress

PAGE = "unires.html"
VOXEL_MM = (0.3, 8.0)


@dataclass(frozen=True)
class Made:
    """What was written.

    Args:
        images: the NIfTI of each contrast.
        page: before and after.
        iterations: of the solution.
    """

    images: tuple[Path, ...]
    page: Path
    iterations: int


def make_volumes(
    files: Sequence[Path],
    out: Path,
    *,
    contrasts: Sequence[str] = (),
    thicknesses: Sequence[float] = (),
    model: str | None = None,
    voxel_size: float = 1.0,
    regularisation: float = REGULARISATION,
    lowest_score: float = LOWEST_SCORE,
    device: torch.device | str = "cpu",
    overwrite: bool = False,
    say: Callable[[str], None] = lambda note: None,
    progress: Progress = lambda done, total, what: None,
) -> Made:
    """Make one volume a contrast of a person's scans.

    Args:
        files: of one person, in any number of contrasts, orientations and voxel sizes.
        out: the folder for the volumes, their sidecars and the page.
        contrasts: as `read_scans`; and so the next.
        thicknesses: of slices in mm.
        model: bring the volumes to MNI152 space and to this model's grid: "published" (need not be
            downloaded), "demo" or a directory; None leaves them where the first scan is.
        voxel_size: in mm, without a model.
        regularisation: how smooth the volumes are to be.
        lowest_score: as `align`.
        device: to compute on.
        overwrite: replace files that exist.
        say: called with what is going to be done.
        progress: called as progress(done, total, "registration", "projections" or "iterations").

    Raises:
        UsageError: what cannot be done as it is asked for; files that exist.
        StorageError: a file cannot be read or written.
        DataError: a file is no scan of a head, or not all are of one.
    """
    check_options(voxel_size, regularisation)
    names = tuple(dict.fromkeys(contrasts or map(contrast_of, files)))
    images = tuple(out / f"{name}.nii.gz" for name in names)
    written = [*images, *(out / f"{name}.json" for name in names), out / PAGE]
    if not overwrite:
        refuse_existing(written)
    config = None if model is None else load_config(model)
    scans = read_scans(files, contrasts, thicknesses)
    if config is not None:
        t1_weighted(scans)
        require("prepare", "Bringing scans to MNI152 space", "ants", "nilearn")
    say(plan(scans, voxel_size))
    scans, moves = align(scans, progress, lowest_score=lowest_score)
    if config is None:
        grid, alike = mean_grid([scan.placed for scan in scans], voxel_size), None
    else:
        grid = Grid.of(config.shape, config.affine)
        scans, alike = to_atlas(scans)
    needed = estimate_bytes(scans, grid)
    say(f"Volumes of {grid}; about {needed / 1e9:.1f} GB of memory.")
    check_memory(needed)
    solution = solve(scans, grid, regularisation=regularisation, device=device, progress=progress)
    used = describe_scans(files, scans, moves)
    contents = {
        out / f"{name}.json": to_json(sidecar(name, used, solution, alike)) for name in names
    }
    volumes = solution.volumes.items()
    contents |= {
        out / f"{name}.nii.gz": nifti_bytes(
            each.array, each.affine, space="scanner" if config is None else "mni"
        )
        for name, each in volumes
    }
    contents[out / PAGE] = _page(scans, moves, solution, grid)
    write_together(contents)
    return Made(images, out / PAGE, len(solution.course))


def check_options(voxel_size: float, regularisation: float) -> None:
    """Refuse numbers that make no sense.

    Raises:
        UsageError: they do not.
    """
    low, high = VOXEL_MM
    if not low <= voxel_size <= high:
        raise UsageError(
            f"Voxels of {voxel_size:g} mm: expected a size from {low:g} to {high:g} mm."
        )
    if not (regularisation > 0 and math.isfinite(regularisation)):
        raise UsageError(f"regularisation is {regularisation:g}: expected more than 0, such as 4.")


def plan(scans: Sequence[Scan], voxel_size: float) -> str:
    """What is going to be done, in words."""
    counts = Counter(scan.contrast for scan in scans)
    each = ", ".join(f"{name} ({n} scans)" if n > 1 else name for name, n in counts.items())
    thick = max(max(scan.grid.spacing) for scan in scans) > NEARLY * voxel_size
    what = "super-resolution" if thick else "denoising"
    if len(scans) == 1:
        return (
            f"One scan, {each}: {what} of it alone, with no other to learn from and nothing to "
            "register. More contrasts or repeats of the person make it better."
        )
    return f"{what.capitalize()} of {each}, registered to {Path(scans[0].name).name}."


def describe_scans(
    files: Sequence[Path], scans: Sequence[Scan], moves: Sequence[Moved]
) -> list[dict[str, Any]]:
    """What a record says of the scans that volumes were made of."""
    return [
        {
            "name": file.name,
            "sha256": image_sha256(file),
            "contrast": scan.contrast,
            "noise_sd": scan.noise.deviation,
            "contrast_between_head_and_air": scan.noise.contrast,
            "slice_thickness_mm": scan.thickness or scan.grid.spacing[across(scan.grid)],
            "registration": {"matrix": np.asarray(scan.motion).tolist(), **asdict(moved)},
        }
        for file, scan, moved in zip(files, scans, moves, strict=True)
    ]


def sidecar(
    name: str, used: Sequence[Mapping[str, Any]], solution: Solution, alike: float | None
) -> dict[str, Any]:
    """The JSON file beside a volume.

    Args:
        name: of its contrast.
        used: from `describe_scans`.
        solution: that it is of.
        alike: similarity to the template, in its space.
    """
    return {
        "Description": "Volume found from scans of one person by joint total variation (UniRes); "
        "what is finer than the scans is likely, not measured",
        "Units": "arbitrary",
        "Sources": [each["name"] for each in used if each["contrast"] == name],
        OURS: {
            "version": __version__,
            "unires": {
                "scans": used,
                "space": "first scan" if alike is None else SPACE,
                "similarity_to_template": alike,
                "regularisation": solution.weights,
                "objective": [step.objective for step in solution.course],
                "scale": [step.scale for step in solution.course],
                "conjugate_gradients": [step.solves for step in solution.course],
            },
        },
    }


def _page(scans: Sequence[Scan], moves: Sequence[Moved], solution: Solution, grid: Grid) -> bytes:
    before = {
        name: Volume(start([s for s in scans if s.contrast == name], grid), grid.matrix)
        for name in solution.volumes
    }
    said = [
        {
            "name": Path(scan.name).name,
            "contrast": scan.contrast,
            "voxels": " x ".join(f"{size:.3g}" for size in scan.grid.spacing),
            "slices": f"{scan.thickness or scan.grid.spacing[across(scan.grid)]:.3g}",
            "noise": f"{scan.noise.deviation:.3g}",
            "moved": f"{moved.millimetres:.1f}",
            "turned": f"{moved.degrees:.1f}",
            "score": f"{moved.score:.2f}",
        }
        for scan, moved in zip(scans, moves, strict=True)
    ]
    facts = {
        "grid": str(grid),
        "iterations": len(solution.course),
        "regularisation": ", ".join(f"{n} {w:.3g}" for n, w in solution.weights.items()),
        "version": f"brainldm {__version__}",
    }
    objective = [step.objective for step in solution.course]
    return unires_page(before, solution.volumes, said, facts, objective)
