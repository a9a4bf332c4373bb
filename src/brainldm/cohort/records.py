"""What was made: a line of JSON for each volume, written once its files are whole on the disk.

While a cohort is made, each process has a journal of its own, to which lines are only added. The
manifest of a finished data set has all of them in the order of the plan. Each line has a check sum
of its own: one that was changed by hand or by a disk is as none, and its volume is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Self

import numpy as np
from filelock import FileLock

from brainldm.errors import StorageError
from brainldm.files.filling import lock

CHECK = "check"
"""The key of a line's own check sum: of its SHA-256 without it, the first 16 digits."""


@dataclass(frozen=True)
class Record:
    """One volume that is done.

    Args:
        row: of the plan, from 0.
        label: of the participant.
        seed: that it was made with.
        redraws: how many seeds were given up before this one.
        flags: what the quality gate found and let pass.
        values: condition to label, or number in its unit; those that were drawn as well.
        drawn: names of the conditions that nobody asked for.
        measured: condition to what was measured.
        image: SHA-256 of the NIfTI, once it is written.
        sidecar: SHA-256 of the JSON file, likewise.
        labels: SHA-256 of the labels' NIfTI, likewise; empty where there are none.
    """

    row: int
    label: str
    seed: int
    redraws: int
    flags: tuple[str, ...]
    values: Mapping[str, str | float]
    drawn: tuple[str, ...]
    measured: Mapping[str, float]
    image: str = ""
    sidecar: str = ""
    labels: str = ""

    def to_line(self) -> bytes:
        """One line of JSON."""
        content = asdict(self)
        return (json.dumps({**content, CHECK: _check(content)}) + "\n").encode()

    @classmethod
    def from_line(cls, line: bytes) -> Self | None:
        """None if it is not what was written, as the last line of a process that was killed."""
        try:
            content = json.loads(line) if line.endswith(b"\n") else {}
            if content.pop(CHECK) != _check(content):
                return None
            lists = {name: tuple(content[name]) for name in ("flags", "drawn")}
            return cls(**{**content, **lists})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None


def _check(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


class Journal:
    """Adds records to a file, each on the disk before the next; one process at a time.

    Args:
        path: of the file.

    Raises:
        StorageError: another process has it, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = hold(path)
        try:
            self._file: IO[bytes] = self.path.open("r+b" if self.path.exists() else "x+b")
            # What a killed process left of its last line goes.
            whole = sum(len(line) for line in self._file if line.endswith(b"\n"))
            self._file.truncate(whole)
            self._file.seek(whole)
        except OSError as error:
            self._lock.release()
            raise StorageError(f"Cannot write {self.path}: {error.strerror}.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, record: Record) -> None:
        """Write a record, and wait until it is on the disk."""
        try:
            self._file.write(record.to_line())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageError(
                f"Cannot write {self.path}: {error.strerror}. Free some space; the same command "
                "resumes the cohort."
            ) from error

    def close(self) -> None:
        """Let another process have it."""
        with contextlib.suppress(OSError):  # a full disk, which was told before
            self._file.close()
        self._lock.release()


def hold(journal: Path) -> FileLock:
    """Hold a journal; errors as `lock`."""
    does = f"is making this part of the cohort, and has {journal}"
    return lock(journal.with_suffix(".lock"), does)


class Records:
    """All that is known to be done; of each row, only where its line is kept in memory.

    Args:
        files: with records; of a row that is in many, the last counts. They need not be there.
        count: rows of the plan.
    """

    def __init__(self, files: Iterable[Path], count: int) -> None:
        self._files = list(files)
        self._file = np.full(count, -1, np.int32)
        self._offset = np.zeros(count, np.int64)
        for number, path in enumerate(self._files):
            if path.is_file():
                self._scan(number, path, count)

    def _scan(self, number: int, path: Path, count: int) -> None:
        with path.open("rb") as stream:
            offset = 0
            for line in stream:
                record = Record.from_line(line)
                if record is not None and 0 <= record.row < count:
                    self._file[record.row], self._offset[record.row] = number, offset
                offset += len(line)

    def __len__(self) -> int:
        """How many rows are done."""
        return int((self._file >= 0).sum())

    def __contains__(self, row: object) -> bool:
        return isinstance(row, int) and bool(self._file[row] >= 0)

    def drop(self, row: int) -> None:
        """Take a row as not done."""
        self._file[row] = -1

    def get(self, row: int) -> Record | None:
        """The record of a row, or None."""
        if row not in self:
            return None
        with self._files[self._file[row]].open("rb") as stream:
            stream.seek(self._offset[row])
            return Record.from_line(stream.readline())

    def __iter__(self) -> Iterator[Record]:
        """Those that are done, in the order of the plan."""
        for row in range(len(self._file)):
            record = self.get(row)
            if record is not None:
                yield record
