"""`brainldm prepare`: scans of people to a data set that a model is trained on.

source -> subjects: scans and rows of a table -> images in the data set -> its tables and page
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from brainldm.checkpoint import load_config
from brainldm.dataset.scans import Failure
from brainldm.errors import UsageError
from brainldm.image.grid import Grid
from brainldm.prepare.folder import Folder, Settings
from brainldm.prepare.subjects import find_subjects
from brainldm.prepare.work import check_extras, prepare_all
from brainldm.segment.segmenter import check_kind, network_of


@dataclass(frozen=True)
class Summary:
    """The outcome of preparing.

    Args:
        prepared: how many scans are in the data set.
        failures: those that are not, and why.
        notes: what a person should look at.
        layout: how the input was read.
    """

    prepared: int
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    layout: str


def prepare(
    source: Path,
    out: Path,
    *,
    model: str = "published",
    table: Path | None = None,
    sex_codes: Mapping[str, str] | None = None,
    registered: bool = False,
    scaled: bool = False,
    incomplete: bool = False,
    bias_field: bool = False,
    segmentation: str = "network",
    unires: bool = False,
    jobs: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda note: None,
) -> Summary:
    """Bring scans to a model's grid and intensities, as a BIDS derivative with a table.

    A scan that was prepared from the same file with the same settings is not prepared again.

    Args:
        source: as in `find_scans`.
        out: the folder of the data set.
        model: whose grid to use: "published" (need not be downloaded), "demo" or a directory.
        table: of participants (`read_people`); None takes the participants.tsv of a data set.
        sex_codes: codes in the table beside F, M, female and male.
        registered: the images are in MNI152 space already and are only resampled, after a check.
        scaled: intensities are in [0, 1] already and are taken as they are; what brainldm wrote
            itself need not be told.
        incomplete: take skull-stripped and cropped heads too, each with a note.
        bias_field: correct bias fields (N4).
        segmentation: what measures what the table lacks: "network" (the segmenter that ships), the
            folder of one, or "ants".
        unires: make each head of all scans of its person that lie beside the T1-weighted one.
        jobs: processes, about 3 GB each.
        progress: called with the number of scans that are done, and of all.
        say: called with each of `Summary.notes`: those of the table before the first scan is
            prepared, those of scans after the last.

    Raises:
        UsageError: `scaled` with `bias_field` or `unires`; no such segmenter; the output folder
            lies where scans are looked for, or holds something else; a missing extra.
        DataError: no scans, or a table with mistakes.
        StorageError: something cannot be read or written.
        ModelError: no such model.
    """
    if scaled and bias_field:
        raise UsageError(
            "Expected intensities that are scaled already or a bias field to correct, got both: "
            "correcting it changes the scale. Leave out --scaled or --bias-field."
        )
    if scaled and unires:
        raise UsageError(
            "Expected intensities that are scaled already or UniRes, got both: it needs the noise "
            "as the scanner made it. Leave out --scaled or --unires."
        )
    check_kind(segmentation, ("network", "ants"))
    network = None if segmentation == "ants" else network_of(segmentation)
    config = load_config(model)
    grid = Grid.of(config.shape, config.affine)
    settings = Settings(
        config.name, grid, registered, bias_field, scaled, incomplete, network, unires
    )
    folder = Folder(out, settings)
    subjects = find_subjects(source, out, table, sex_codes)
    for note in subjects.notes:
        say(note)
    check_extras(subjects.there, folder.settings)
    with folder.open():
        results = prepare_all(subjects.there, folder, jobs, progress)
        failures = (*subjects.inputs.failures, *results.failures)
        of_scans = [note for each in results.prepared for note in each.notes]
        for note in of_scans:
            say(note)
        notes = (*subjects.notes, *of_scans)
        reasons = {each.subject: each.reason for each in failures}
        folder.finish(subjects, results.prepared, reasons, notes)
    return Summary(len(results.prepared), failures, notes, subjects.inputs.layout)
