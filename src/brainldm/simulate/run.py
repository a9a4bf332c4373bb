"""Simulating many heads: in parallel, resumable, each the same whoever makes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from brainldm.checkpoint.fetch import cache_dir
from brainldm.config import published_config
from brainldm.dataset.derivative import open_derivative
from brainldm.errors import UsageError
from brainldm.files import remove_partial
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.simulate.anatomy import FINE_MM, box_grid
from brainldm.simulate.contrast import CONTRASTS, Contrast
from brainldm.simulate.dataset import Files, Settings, write_head, write_tables
from brainldm.simulate.head import picture
from brainldm.simulate.priors import Priors, read_priors
from brainldm.simulate.scanner import as_scanned
from brainldm.simulate.sources import find_sources, load_anatomy, prepare_sources
from brainldm.simulate.subject import Ranges, draw_subject
from brainldm.workers import Progress, as_finished

COARSEST_MM = 8.0


@dataclass(frozen=True)
class Task:
    """A head to make.

    Args:
        label: of the subject, without "sub-".
        seed: of the head.
        twin: it is the twin of the subject of that seed.
        name: of its anatomy.
        anatomy: the anatomy's file.
    """

    label: str
    seed: int
    twin: bool
    name: str
    anatomy: Path


@dataclass(frozen=True)
class Summary:
    """What came of it.

    Args:
        heads: in the data set.
        made: of them, now.
        redrawn: pairs of volumes that an anatomy could not reach, and that were drawn again.
    """

    heads: int
    made: int
    redrawn: int


def simulate_data_set(
    out: Path,
    number: int,
    *,
    label_maps: Path | None = None,
    only: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    contrast: Contrast = "t1w",
    voxel_size: float = 2.0,
    seed: int = 0,
    twins: bool = False,
    ranges: Ranges | None = None,
    scanned: bool = False,
    jobs: int = 1,
    cache: Path | None = None,
    progress: Progress = lambda done, total, what: None,
) -> Summary:
    """Simulate heads that a data set does not have yet; a head follows from its seed.

    Args:
        out: the data set.
        number: of subjects; their seeds are `seed`, `seed` + 1, ...
        label_maps: folder of the anatomies; None takes the template's.
        only: names of anatomies to take; all if empty.
        leave_out: names of anatomies not to take, to keep them for testing.
        contrast: of the images.
        voxel_size: in mm; the field of view is the published model's.
        seed: of the first subject.
        twins: make each subject a second time, with other volumes.
        ranges: of the volumes.
        scanned: write images as a scanner gives them, in any pose, to try `brainldm prepare` on.
        jobs: processes, about 1.5 GB each.
        cache: where anatomies are kept; `cache_dir()` if None.
        progress: called as progress(done, total, "anatomies" or "heads").

    Raises:
        UsageError: what cannot be done as it is asked for.
        DataError: a label map that no head can be made of.
        StorageError: a file cannot be read or written.
    """
    if contrast not in CONTRASTS:
        raise UsageError(f"No contrast is {contrast!r}: expected {', '.join(CONTRASTS)}.")
    if number < 1 or seed < 0:
        raise UsageError(
            f"Expected at least one head, and a seed of 0 or more, got {number}, {seed}."
        )
    sources = find_sources(label_maps, only, leave_out)
    grid = _scanner_grid(voxel_size) if scanned else grid_of(voxel_size)
    settings = Settings(contrast, grid, ranges or Ranges(), tuple(s.name for s in sources), scanned)
    priors = read_priors(label_maps) if label_maps else None
    with open_derivative(
        out, "Simulated heads", "brainldm simulate", settings.to_json(), ("prepare.json",)
    ):
        anatomies = prepare_sources(
            sources,
            (cache or cache_dir()) / "anatomies",
            jobs,
            lambda done, total: progress(done, total, "anatomies"),
        )
        tasks = [
            Task(_label(each, twin), each, twin, name, anatomies[name])
            for each in range(seed, seed + number)
            for name in [sources[each % len(sources)].name]
            for twin in ((False, True) if twins else (False,))
        ]
        missing = [task for task in tasks if not Files.of(out, task.label, settings).there]
        redrawn = 0
        progress(len(tasks) - len(missing), len(tasks), "heads")
        for done, count in enumerate(_made(out, missing, settings, priors, jobs), 1):
            redrawn += count
            progress(len(tasks) - len(missing) + done, len(tasks), "heads")
        return Summary(write_tables(out, settings), len(missing), redrawn)


def grid_of(voxel_size: float) -> Grid:
    """The published model's field of view in voxels of a size in mm.

    Raises:
        UsageError: the field of view is not a whole number of such voxels, or they are finer than
            the anatomies or too coarse to show one.
    """
    published = published_config()
    grid = Grid.of(published.shape, published.affine)
    sides = " x ".join(map(str, grid.shape))
    whole = all(abs(side / voxel_size - round(side / voxel_size)) < 1e-6 for side in grid.shape)
    if not (FINE_MM <= voxel_size <= COARSEST_MM and whole):
        raise UsageError(
            f"Voxels of {voxel_size:g} mm do not fit the field of view of {sides} mm: expected a "
            f"size from {FINE_MM:g} to {COARSEST_MM:g} mm that divides its sides, such as 1 or 2."
        )
    return Grid.of(
        [round(side / voxel_size) for side in grid.shape], grid.coarser(voxel_size).matrix
    )


def _scanner_grid(voxel_size: float) -> Grid:
    """A field of view from the neck to the crown, in voxels of a size in mm."""
    box = box_grid(1.0)
    if not FINE_MM <= voxel_size <= COARSEST_MM:
        raise UsageError(
            f"Voxels of {voxel_size:g} mm: expected a size from {FINE_MM:g} to {COARSEST_MM:g} mm."
        )
    return box.coarser(voxel_size)


def _label(seed: int, twin: bool) -> str:
    return f"{seed:06d}{'twin' if twin else ''}"


def _made(
    out: Path, tasks: Sequence[Task], settings: Settings, priors: Priors | None, jobs: int
) -> Iterator[int]:
    """Make heads, and tell how many pairs of volumes were drawn again for each."""
    # Heads of one anatomy follow each other, so that it is seldom read.
    in_order = sorted(tasks, key=lambda task: (task.name, task.label))
    everything = [(out, task, settings, priors) for task in in_order]
    for _, redrawn in as_finished(_make, everything, jobs):
        yield redrawn


def _make(out: Path, task: Task, settings: Settings, priors: Priors | None) -> int:
    files = Files.of(out, task.label, settings)
    if files.image.parent.is_dir():
        remove_partial(files.image.parent)
    anatomy = load_anatomy(task.anatomy, task.name)
    subject = draw_subject(anatomy, task.seed, settings.ranges, twin=task.twin)
    head = picture(subject, settings.grid, settings.contrast, priors)
    image = Volume(head.image.numpy(), settings.grid.matrix)
    if settings.scanned:
        image = as_scanned(head, settings.grid, task.seed)
    write_head(files, head, _label(task.seed, False), settings, image)
    return subject.redrawn
