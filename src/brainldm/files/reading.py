"""Files read with a word about what is wrong."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from brainldm.errors import DataError, StorageError

LARGEST_TEXT = 2**26
"""Bytes, beyond which a text is none of ours."""


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content; errors as `checksum`."""
    return checksum(path, "sha256")


def checksum(path: Path, algorithm: str) -> str:
    """The digest of a file's content, read in pieces, by the name that hashlib has for it.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise StorageError(f"Cannot read {path}: {error.strerror}.") from error


def walk(folder: Path) -> Iterator[Path]:
    """The files in a folder and its subfolders, links to folders followed, hidden ones left out.

    A folder that several links lead to is looked into once, so that a circle of links ends.

    Raises:
        StorageError: a folder cannot be read.
    """
    seen = set()
    try:
        for place, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
            status = os.stat(place)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            yield from (Path(place, name) for name in names if not name.startswith("."))
    except OSError as error:
        raise StorageError(
            f"Cannot look into {error.filename or folder}: {error.strerror}. Correct its "
            "permissions, or take it out."
        ) from error


def _raise(error: OSError) -> None:
    raise error


def read_text(path: Path, expected: str) -> str:
    """A text in UTF-8.

    Args:
        path: of the file.
        expected: what the file should have been and what to do, as the end of a sentence
            ("the settings that `brainldm prepare` wrote; prepare the data set again").

    Raises:
        StorageError: it cannot be read.
        DataError: it is no text, or a very large one.
    """
    try:
        if path.stat().st_size > LARGEST_TEXT:
            raise DataError(f"{path} has more than {LARGEST_TEXT:,} bytes. Expected {expected}.")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise StorageError(f"Cannot read {path}: {error.strerror}. Expected {expected}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text: {error}. Expected {expected}.") from error


def read_json(path: Path, expected: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: of the file.
        expected: as for `read_text`.

    Raises:
        StorageError: it cannot be read.
        DataError: it is not the text of one JSON object.
    """
    text = read_text(path, expected)
    try:
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__} where an object was expected")
        json.dumps(content, ensure_ascii=False).encode()  # half of a character is none
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON object: {error}. Expected {expected}.") from error
    return content
