"""Folders that a command fills, alone, and goes on filling when it is run again."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from brainldm.errors import StorageError, UsageError
from brainldm.files.writing import is_partial, make_folder

LOCK = ".brainldm.lock"
"""The file in a folder that the process which fills it holds."""


@contextmanager
def filling(folder: Path, mark: Path, expected: str) -> Iterator[None]:
    """Keep others out of a folder that is to be filled, a new one or one that was begun before.

    Args:
        folder: it is made if it is not there.
        mark: the file in it that says that it was begun.
        expected: what it may hold, as the end of a sentence ("a run").

    Raises:
        UsageError: as `refuse_others`.
        StorageError: another process fills it, or it cannot be written.
    """
    refuse_others(folder, mark, expected)
    make_folder(folder)
    held = lock(folder / LOCK, f"fills {folder}")
    try:
        yield
    finally:
        held.release()


def refuse_others(folder: Path, mark: Path, expected: str, ours: Container[str] = (LOCK,)) -> None:
    """Refuse a folder with files that are not ours, unless it was begun.

    Args:
        folder: it need not be there.
        mark: as in `filling`.
        expected: as in `filling`.
        ours: names of what may be there before it is begun.

    Raises:
        UsageError: something else is there.
        StorageError: it cannot be looked into.
    """
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise UsageError(f"{folder} is a file: expected a folder. Choose another place.")
    try:
        there = list(folder.iterdir()) if os.path.isdir(folder) else []
    except OSError as error:
        raise StorageError(f"Cannot look into {folder}: {error.strerror}.") from error
    others = [path for path in there if path.name not in ours and not is_partial(path)]
    # The mark is looked for last: another process may have begun it meanwhile.
    if others and not os.path.isfile(mark):
        raise UsageError(
            f"{folder} holds other files. Expected a new or an empty folder, or {expected}. Choose "
            "another folder."
        )


def lock(file: Path, does: str) -> FileLock:
    """Hold a file until it is released, or the process ends in whatever way.

    Args:
        file: it is made, and stays.
        does: what the process that holds it does, as the end of a sentence.

    Raises:
        StorageError: another process holds it, or it cannot be written.
    """
    held = FileLock(file)
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise StorageError(f"Another process {does}. Wait for it, or stop it.") from None
    except OSError as error:
        raise StorageError(f"Cannot write {file}: {error.strerror}.") from error
    except NotImplementedError:
        pass  # a file system without locks
    return held
