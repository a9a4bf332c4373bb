"""Jobs and heads in one SQLite file, which survives a kill at any moment."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brainldm.errors import StorageError, UsageError
from brainldm.files import make_folder
from brainldm.serve.schema import Head, Job, State

_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, key TEXT UNIQUE, kind TEXT,
    asked TEXT, request TEXT, state TEXT, created REAL, started REAL, ended REAL, error TEXT
);
CREATE TABLE IF NOT EXISTS heads (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, job TEXT, name TEXT, facts TEXT
);
CREATE INDEX IF NOT EXISTS states ON jobs (state);
CREATE INDEX IF NOT EXISTS of_jobs ON heads (job);
"""


class FullError(UsageError):
    """As many jobs wait as may."""


class OtherRequestError(UsageError):
    """An idempotency key was used for another request."""


class Store:
    """What is asked for, and what was made of it.

    Args:
        file: the database; it is made if it is not there.

    Raises:
        StorageError: it cannot be opened, or is no such database.
    """

    def __init__(self, file: Path) -> None:
        make_folder(file.parent)
        self._lock = threading.RLock()
        try:
            self._base = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
            self._base.row_factory = sqlite3.Row
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            raise StorageError(
                f"Cannot use {file}: {error}. Expected the database that `brainldm serve` made; "
                "choose another folder."
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._base.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._base.execute(query, values).fetchall()

    def add(
        self, id: str, asked: Mapping[str, Any], seed: int, key: str | None, most: int
    ) -> tuple[Job, bool]:
        """Put a job into the queue, unless its key has one already.

        Args:
            id: of the job.
            asked: the request, as JSON has it.
            seed: that takes the place of one that was not asked for.
            key: that a client may repeat; None for no such key.
            most: jobs that may wait.

        Returns:
            The job, and whether it is new.

        Raises:
            FullError: so many wait already.
            OtherRequestError: the key came with another request.
        """
        with self._transaction() as base:
            if key is not None:
                old = base.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
                if old is not None:
                    if json.loads(old["asked"]) != asked:
                        raise OtherRequestError(
                            "This Idempotency-Key was used for another request: expected a new "
                            "key for each request, and the same one when it is sent again."
                        )
                    return self.job(old["id"]), False
            [(waiting,)] = base.execute("SELECT COUNT(*) FROM jobs WHERE state = 'queued'")
            if waiting >= most:
                raise FullError(
                    f"{waiting} jobs wait already, as many as may: expected fewer. Try again later."
                )
            settled = {**asked, "seed": seed} if asked.get("seed", 0) is None else asked
            base.execute(
                "INSERT INTO jobs (id, key, kind, asked, request, state, created) "
                "VALUES (?,?,?,?,?,'queued',?)",
                (id, key, asked["kind"], json.dumps(asked), json.dumps(settled), time.time()),
            )
        return self.job(id), True

    def job(self, id: str) -> Job:
        """A job.

        Raises:
            KeyError: there is none.
        """
        found = self._rows("SELECT * FROM jobs WHERE id = ?", id)
        if not found:
            raise KeyError(id)
        return self._job(found[0])

    def jobs(self, states: Sequence[State], most: int) -> list[Job]:
        """The latest jobs in some states, the newest first."""
        marks = ",".join("?" * len(states))
        query = f"SELECT * FROM jobs WHERE state IN ({marks}) ORDER BY number DESC LIMIT ?"
        return [self._job(row) for row in self._rows(query, *states, most)]

    def _job(self, row: sqlite3.Row) -> Job:
        heads = self._rows("SELECT id FROM heads WHERE job = ? ORDER BY number", row["id"])
        place = None
        if row["state"] == "queued":
            before = "SELECT COUNT(*) FROM jobs WHERE state = 'queued' AND number <= ?"
            [(place,)] = self._rows(before, row["number"])
        kept = ("id", "kind", "state", "created", "started", "ended", "error")
        return Job(
            **{name: row[name] for name in kept},
            place=place,
            heads=[head["id"] for head in heads],
            request=json.loads(row["request"]),
        )

    def take(self) -> Job | None:
        """The job that has waited longest, which runs from now on; None if none waits."""
        with self._transaction() as base:
            row = base.execute(
                "SELECT id FROM jobs WHERE state = 'queued' ORDER BY number LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            base.execute(
                "UPDATE jobs SET state = 'running', started = ? WHERE id = ?",
                (time.time(), row["id"]),
            )
        return self.job(row["id"])

    def end(
        self, id: str, state: State, error: str | None = None, heads: Sequence[Head] = ()
    ) -> None:
        """End a job that runs; what it made or learned of heads is kept, all or nothing.

        A head of another job that was deleted meanwhile stays deleted.
        """
        with self._transaction() as base:
            for head in heads:
                facts = head.model_dump_json(exclude={"name"})
                if head.job == id:
                    base.execute(
                        "INSERT OR REPLACE INTO heads (id, job, name, facts) VALUES (?,?,?,?)",
                        (head.id, id, head.name, facts),
                    )
                else:
                    base.execute("UPDATE heads SET facts = ? WHERE id = ?", (facts, head.id))
            base.execute(
                "UPDATE jobs SET state = ?, error = ?, ended = ? WHERE id = ?",
                (state, error, time.time(), id),
            )

    def cancel_queued(self, id: str) -> bool:
        """Cancel a job that still waits; whether it did."""
        with self._transaction() as base:
            changed = base.execute(
                "UPDATE jobs SET state = 'cancelled', ended = ? WHERE id = ? AND state = 'queued'",
                (time.time(), id),
            )
            return changed.rowcount == 1

    def requeue(self, id: str | None = None) -> None:
        """Let a job that was interrupted, as by a kill, run again, or all of them; they keep their
        places.
        """
        with self._transaction() as base:
            base.execute(
                "UPDATE jobs SET state = 'queued' WHERE state = 'running' AND id = IFNULL(?, id)",
                (id,),
            )

    def usual_seconds(self) -> float:
        """How long the last jobs took on average; 10 where none has ended."""
        [(mean,)] = self._rows(
            "SELECT AVG(ended - started) FROM (SELECT ended, started FROM jobs "
            "WHERE state = 'finished' ORDER BY number DESC LIMIT 10)"
        )
        return float(mean) if mean is not None else 10.0

    def head(self, id: str) -> Head:
        """A head.

        Raises:
            KeyError: there is none.
        """
        found = self._rows("SELECT * FROM heads WHERE id = ?", id)
        if not found:
            raise KeyError(id)
        return _head(found[0])

    def heads(self, search: str = "", most: int = 200) -> list[Head]:
        """The latest heads whose name or record has some text in it, the newest first."""
        text = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        query = (
            "SELECT * FROM heads WHERE name LIKE ? ESCAPE '\\' OR facts LIKE ? ESCAPE '\\' "
            "ORDER BY number DESC LIMIT ?"
        )
        return [_head(row) for row in self._rows(query, f"%{text}%", f"%{text}%", most)]

    def rename(self, id: str, name: str) -> Head:
        """Give a head another name; a KeyError if there is none."""
        with self._transaction() as base:
            base.execute("UPDATE heads SET name = ? WHERE id = ?", (name, id))
        return self.head(id)

    def drop(self, id: str) -> None:
        """Take a head out of the library; a KeyError if there is none."""
        self.head(id)
        with self._transaction() as base:
            base.execute("DELETE FROM heads WHERE id = ?", (id,))


def _head(row: sqlite3.Row) -> Head:
    return Head.model_validate({**json.loads(row["facts"]), "name": row["name"]})
