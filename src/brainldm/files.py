"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from brainldm.errors import BrainLDMError


def refuse_existing(paths: Sequence[Path]) -> None:
    """Raise a BrainLDMError that names the files among `paths` that exist."""
    existing = [str(path) for path in paths if path.exists()]
    if existing:
        raise BrainLDMError(
            f"Would overwrite {', '.join(existing)}. Choose another place, or allow it "
            "(overwrite=True, --overwrite)."
        )


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, or raise a BrainLDMError that says why that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BrainLDMError(
            f"Cannot make the folder {folder}: {error.strerror}. Expected a place where files can "
            "be written; choose another one."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BrainLDMError(
            f"Cannot write into the folder {folder}: permission denied. Choose another one, or "
            "change its permissions."
        )


@contextmanager
def write_aside(path: Path) -> Iterator[IO[bytes]]:
    """A file to write bit by bit, which takes its place when it is whole.

    Raises:
        BrainLDMError: it cannot be written. After this or any other interruption no part remains.
    """
    make_folder(path.parent)
    aside = _partial(path)
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise BrainLDMError(
            f"Cannot write {path}: {error.strerror}. No partial file was kept. Free some space or "
            "choose another folder."
        ) from error
    finally:
        aside.unlink(missing_ok=True)


def remove_partial(folder: Path) -> None:
    """Remove what a process that was killed left half-written in a folder."""
    for aside in folder.glob(".*.partial"):
        aside.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write files aside, then rename all of them, in order; existing ones are replaced.

    Raises:
        BrainLDMError: a file cannot be written (no permission, disk full). After this or any
            other interruption no part of a file remains.
    """
    for folder in {path.parent for path in contents}:
        make_folder(folder)
    partial = {path: _partial(path) for path in contents}
    try:
        for path, content in contents.items():
            with partial[path].open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # some disks say that they are full only now
        for path in contents:
            partial[path].replace(path)
    except OSError as error:
        raise BrainLDMError(
            f"Cannot write {', '.join(str(path) for path in contents)}: {error.strerror}. "
            "No partial file was kept. Free some space or choose another folder."
        ) from error
    finally:
        for aside in partial.values():
            aside.unlink(missing_ok=True)


def to_json(content: Any) -> bytes:
    """The text of a JSON file."""
    return (json.dumps(content, indent=2) + "\n").encode()
