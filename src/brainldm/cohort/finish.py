"""The end of a cohort: every file checked by its hash, and what describes the whole written."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from brainldm.cohort.describe import REPORT, SUMMARY, Participants, descriptions, finished
from brainldm.cohort.folder import CohortFolder
from brainldm.cohort.records import Records
from brainldm.cohort.report import cohort_page
from brainldm.cohort.sheet import Sheet
from brainldm.errors import DataError
from brainldm.files import write_aside, write_together
from brainldm.workers import Progress

VERIFIERS = 4
"""Threads that hash files."""
BLOCK = 256
"""Files that they are given at a time."""


def verify(folder: CohortFolder, records: Records, rows: Sequence[int], progress: Progress) -> None:
    """Take as not done whose files are not what they were."""
    done = [row for row in rows if row in records]

    def damaged(row: int) -> bool:
        record = records.get(row)
        return record is None or not folder.holds(record)

    with ThreadPoolExecutor(VERIFIERS) as threads:
        for start in range(0, len(done), BLOCK):
            block = done[start : start + BLOCK]
            for row, bad in zip(block, threads.map(damaged, block), strict=True):
                if bad:
                    records.drop(row)
            progress(start + len(block), len(done), "verify")


def merge_cohort(out: Path, progress: Progress = lambda done, total, name: None) -> int:
    """Gather the shards of a cohort into one finished data set.

    Returns:
        How many volumes it has.

    Raises:
        UsageError: no cohort.
        StorageError: a shard that still runs.
        DataError: volumes that are missing or damaged, or a plan, model or settings that changed.
    """
    folder = CohortFolder(out)
    rows = range(folder.settings.plan.rows)
    folder.check()  # before records, whose number stands in what it checks
    records = folder.records()
    verify(folder, records, rows, progress)
    missing = [row for row in rows if row not in records]
    if missing:
        some = ", ".join(str(row + 1) for row in missing[:10])
        more = ", ..." if len(missing) > 10 else ""
        raise DataError(
            f"{out} lacks {len(missing)} of {len(rows)} volumes, those of the plan's rows "
            f"{some}{more}. Run the shards again that have them, then merge."
        )
    finish(folder, Sheet(folder, len(rows)))
    return len(rows)


def finish(folder: CohortFolder, sheet: Sheet) -> None:
    """Write what describes the whole, the manifest first, and clear away what led there."""
    config, settings = folder.config, folder.settings
    with folder.alone():
        records = folder.records()
        sheet.complete(records)
        picture = sheet.write()
        participants = Participants(config, settings)
        with (
            write_aside(folder.out / "participants.tsv") as table,
            write_aside(folder.manifest) as manifest,
        ):
            table.write(participants.header)
            for record in records:
                table.write(participants.line(record))
                manifest.write(record.to_line())
        contents = {
            **descriptions(config, settings),
            SUMMARY: finished(records),
            REPORT: cohort_page(config.conditions, settings, records, picture),
        }
        write_together({folder.out / name: content for name, content in contents.items()})
    folder.clear()
