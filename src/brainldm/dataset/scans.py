"""Scans on disk: a BIDS data set, a folder or list of images, or UK Biobank archives."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from brainldm.dataset.bids import LONGEST_LABEL, label_of
from brainldm.errors import DataError, UsageError
from brainldm.files import read_text, walk
from brainldm.image.reading import READABLE, files_of, image_stem

ARCHIVE = re.compile(r"(\d+)_20252_(\d+)_\d+\.zip")
"""UK Biobank's T1-weighted structural images: participant, field, instance, array."""
ARCHIVED_SCAN = "T1/T1.nii.gz"
"""The head in such an archive: corrected for gradient distortion, and defaced."""

LONGEST_PATH = 4096
_KINDS = f"an image ({', '.join(READABLE)}), a text file with one path a line, or a folder"


@dataclass(frozen=True)
class Scan:
    """One image of one person.

    Args:
        subject: a BIDS label: letters and digits, without "sub-".
        path: an image (`READABLE`), or an archive with `ARCHIVED_SCAN` in it.
        names: what a table may call this person.
        instance: UK Biobank's imaging visit; empty elsewhere.
        line: where a list names it; 0 elsewhere.
    """

    subject: str
    path: Path
    names: tuple[str, ...]
    instance: str = ""
    line: int = 0


@dataclass(frozen=True)
class Failure:
    """A scan that could not be used, and why."""

    subject: str
    path: str
    reason: str


@dataclass(frozen=True)
class Inputs:
    """What was found.

    Args:
        scans: one a subject, sorted.
        failures: scans that cannot be used whatever is in them.
        layout: "BIDS", "list", "UK Biobank" or "folder".
        table: the table that the layout itself has.
    """

    scans: tuple[Scan, ...]
    failures: tuple[Failure, ...]
    layout: str
    table: Path | None = None


def find_scans(source: Path, out: Path | None = None) -> Inputs:
    """Find the scans, and tell the layout by what is there.

    Args:
        source: a BIDS data set (folders sub-*, of which the raw images *_T1w are taken), a folder
            with UK Biobank's archives PERSON_20252_INSTANCE_0.zip, any other folder with NIfTI
            or MGH files, one of those, or a text file with one path a line ("#" starts a comment;
            relative paths start at the list's folder).
        out: a folder to be written, which must not lie where scans are looked for.

    Raises:
        DataError: nothing is there, or no scan is in it.
        UsageError: `out` lies where scans are looked for.
    """
    if os.path.isfile(source):
        found, layout = list(_listed(source)), "list"
    elif os.path.isdir(source):
        found, layout = _in_folder(source)
    else:
        raise DataError(
            f"{source} does not exist. Expected a BIDS data set, a folder with NIfTI files or UK "
            "Biobank archives, or a text file with one path a line."
        )
    if not found:
        raise DataError(
            f"No scan is in {source}, read as: {layout}. Expected sub-*/anat/*_T1w.nii.gz (BIDS), "
            "PERSON_20252_2_0.zip (UK Biobank), any .nii, .nii.gz, .mgz or .hdr with .img, or a "
            "text file that lists them, one path a line."
        )
    inside = layout != "list" and out is not None and out.resolve().is_relative_to(source.resolve())
    if out is not None and inside and (layout != "BIDS" or out.name.startswith("sub-")):
        raise UsageError(
            f"{out} lies within {source}, where scans are looked for. Choose a folder outside."
        )
    table = source / "participants.tsv"
    scans, failures = _one_each(found)
    return Inputs(
        scans, failures, layout, table if layout != "list" and os.path.isfile(table) else None
    )


def image_files(folder: Path) -> list[Path]:
    """The images in a folder and its subfolders, sorted, links followed; headers of pairs.

    Raises:
        StorageError: a folder cannot be read.
    """
    return sorted(
        path for path in walk(folder) if path.name.endswith(READABLE) and files_of(path)[0] == path
    )


def names_of(image: Path, folder: str = "") -> tuple[str, ...]:
    """What a table may call the person of an image, the likeliest first.

    That is sub-LABEL where the name of the image (or of its folder, if that is given) has it, else
    the image's name without its end and without _T1w.
    """
    stem = image_stem(image)
    person = stem.removesuffix("_T1w") or stem
    match = re.match(r"sub-([^\W_]+)", unicodedata.normalize("NFC", folder or stem))
    label = label_of(match[1] if match else person)
    return tuple(dict.fromkeys((f"sub-{label}", label, person, stem)))


def _in_folder(folder: Path) -> tuple[list[Scan], str]:
    subjects = sorted(each for each in folder.glob("sub-*") if os.path.isdir(each))
    if subjects:
        return [
            _named(path, subject.name)
            for subject in subjects
            for path in image_files(subject)
            if re.search(r"_T1w\.nii(\.gz)?$", path.name)
        ], "BIDS"
    archives = [(path, ARCHIVE.fullmatch(path.name)) for path in sorted(walk(folder))]
    archived = [
        Scan(match[1], path, (match[1],), instance=match[2]) for path, match in archives if match
    ]
    if archived:
        return archived, "UK Biobank"
    return [_named(path) for path in image_files(folder)], "folder"


def _listed(file: Path) -> Iterator[Scan]:
    if file.name.endswith(READABLE):
        yield _named(file)
        return
    lines = read_text(file, _KINDS)
    for number, line in enumerate(lines.splitlines(), 1):
        text = line.split("#", 1)[0].strip()
        if not text.isprintable() or len(text) > LONGEST_PATH:
            raise DataError(f"{file}, line {number}, is no path of a scan. Expected {_KINDS}.")
        if text:
            yield _named(file.parent / text, line=number)


def _named(path: Path, folder: str = "", line: int = 0) -> Scan:
    """A scan of the person that its folder or its name says."""
    if archive := ARCHIVE.fullmatch(path.name):
        return Scan(archive[1], path, (archive[1],), archive[2], line)
    names = names_of(path, folder)
    return Scan(names[0].removeprefix("sub-"), path, names, line=line)


def _one_each(found: Iterable[Scan]) -> tuple[tuple[Scan, ...], tuple[Failure, ...]]:
    people: dict[str, list[Scan]] = {}
    for scan in found:
        people.setdefault(scan.subject, []).append(scan)
    scans: list[Scan] = []
    failures: list[Failure] = []
    for subject, theirs in sorted(people.items()):
        if not 0 < len(subject) <= LONGEST_LABEL:
            failures += [
                Failure(image_stem(each.path), str(each.path), _unnamed(each.path))
                for each in theirs
            ]
            continue
        if len(theirs) == 1:
            scans += theirs
            continue
        where = ", ".join(
            f"{each.path}{f' (line {each.line})' if each.line else ''}" for each in theirs
        )
        failures.append(
            Failure(
                subject,
                where,
                f"{len(theirs)} scans are of subject {subject!r}: {where}. Expected one a person: "
                "list those to use, one path a line, in a text file, and give that; files of "
                "different people need different names.",
            )
        )
    return tuple(scans), tuple(failures)


def _unnamed(path: Path) -> str:
    return (
        f"{path} cannot name a participant: expected a letter or digit of ASCII in the file's "
        f"name, and at most {LONGEST_LABEL} of them. Rename it, or link to it under another name."
    )
