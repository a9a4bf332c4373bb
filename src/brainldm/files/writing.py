"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from brainldm.errors import StorageError, UsageError


def refuse_existing(paths: Sequence[Path]) -> None:
    """Raise a UsageError that names the files among `paths` that exist."""
    existing = [str(path) for path in paths if os.path.exists(path)]
    if existing:
        raise UsageError(
            f"Would overwrite {', '.join(existing)}. Choose another place, or allow it "
            "(overwrite=True, --overwrite)."
        )


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, or raise a StorageError that says why that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"Cannot make the folder {folder}: {error.strerror}. Expected a place where files can "
            "be written; choose another one."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StorageError(
            f"Cannot write into the folder {folder}: permission denied. Choose another one, or "
            "change its permissions."
        )


@contextmanager
def write_aside(path: Path) -> Iterator[IO[bytes]]:
    """A file to write bit by bit, which takes its place when it is whole.

    Raises:
        StorageError: it cannot be written. After this or any other interruption no part remains.
    """
    make_folder(path.parent)
    aside = _partial(path)
    try:
        with aside.open("wb") as file:
            yield file
            _flush(file)
        aside.replace(path)
    except OSError as error:
        raise _unwritten(str(path), error) from error
    finally:
        aside.unlink(missing_ok=True)


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write files aside, then rename all of them, in order; existing ones are replaced.

    Raises:
        StorageError: a file cannot be written (no permission, disk full). After this or any other
            interruption no part of a file remains.
    """
    for folder in {path.parent for path in contents}:
        make_folder(folder)
    partial = {path: _partial(path) for path in contents}
    try:
        for path, content in contents.items():
            with partial[path].open("wb") as file:
                file.write(content)
                _flush(file)
        for path in contents:
            partial[path].replace(path)
    except OSError as error:
        raise _unwritten(", ".join(map(str, contents)), error) from error
    finally:
        for aside in partial.values():
            aside.unlink(missing_ok=True)


@contextmanager
def write_folder(folder: Path, *, keep: bool = False) -> Iterator[Path]:
    """A folder to fill, which takes its place when it is whole.

    Args:
        folder: the place.
        keep: what is there by then stays, as where another process wrote the same; otherwise it is
            replaced.

    Raises:
        StorageError: it cannot be written. After this or any other interruption what was there
            is still there, and no part of the new remains.
    """
    folder = folder.absolute()
    make_folder(folder.parent)
    aside = _partial(folder)
    try:
        aside.mkdir()
        yield aside
        for path in aside.rglob("*"):
            if os.path.isfile(path):  # on the disk before the rename: no name without its content
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        if keep:
            _leave(folder, aside)
        else:
            _replace(folder, aside)
    except OSError as error:
        raise _unwritten(str(folder), error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _leave(folder: Path, new: Path) -> None:
    """Rename `new` to `folder`, unless another process has put one there that is not empty."""
    try:
        new.rename(folder)
    except OSError:
        if not os.path.isdir(folder):
            raise


def _replace(folder: Path, new: Path) -> None:
    """Rename `new` to `folder`; what was there is deleted last."""
    if not os.path.exists(folder):
        new.rename(folder)
        return
    old = new.with_suffix(".old.partial")
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)


def is_partial(path: Path) -> bool:
    """Whether a file or folder is one that was being written when its process was killed."""
    return path.name.startswith(".") and path.name.endswith(".partial")


def remove_partial(folder: Path) -> None:
    """Remove what a process that was killed left half-written in a folder."""
    for aside in filter(is_partial, folder.glob(".*")):
        if os.path.isdir(aside):
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    # Processes on two machines may have one number.
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())  # some disks say that they are full only now


def _unwritten(what: str, error: OSError) -> StorageError:
    return StorageError(
        f"Cannot write {what}: {error.strerror}. Nothing was kept of it. Free some space, or "
        "choose another place."
    )


def to_json(content: Any) -> bytes:
    """The text of a JSON file."""
    return (json.dumps(content, indent=2) + "\n").encode()
