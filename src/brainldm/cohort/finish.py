"""The end of a cohort: every file checked by its hash, and what describes the whole written."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from brainldm.cohort.dataset import close_cohort, read_model, read_settings
from brainldm.cohort.records import WORK, Record, Records, lock
from brainldm.cohort.report import cohort_page
from brainldm.cohort.sheet import Sheet
from brainldm.cohort.watch import finished
from brainldm.dataset.bids import t1w
from brainldm.errors import BrainLDMError
from brainldm.files import remove_partial, write_together

Progress = Callable[[int, int, str], None]
VERIFIERS = 4
"""Threads that hash files."""
BLOCK = 256
"""Files that they are given at a time."""


def verify(out: Path, records: Records, rows: Iterable[int], progress: Progress) -> None:
    """Take as not done whose files are not what they were."""
    done = np.array([row for row in rows if row in records], np.int64)

    def damaged(row: int) -> bool:
        record = records.get(row)
        return record is None or not _whole(out, record)

    with ThreadPoolExecutor(VERIFIERS) as threads:
        for start in range(0, len(done), BLOCK):
            block = done[start : start + BLOCK].tolist()
            for row, bad in zip(block, threads.map(damaged, block), strict=True):
                if bad:
                    records.drop(row)
            progress(start + len(block), len(done), "verify")


def _whole(out: Path, record: Record) -> bool:
    for path, expected in zip(t1w(out, record.label), (record.image, record.sidecar), strict=True):
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                    return False
        except OSError:
            return False
    return True


def merge_cohort(out: Path, progress: Progress = lambda done, total, name: None) -> int:
    """Gather the shards of a cohort into one finished data set.

    Returns:
        How many volumes it has.

    Raises:
        BrainLDMError: no cohort, a shard that still runs, or volumes that are missing or damaged.
    """
    settings = read_settings(out)
    count = settings["plan"]["rows"]
    records = Records(out, count)
    verify(out, records, range(count), progress)
    missing = [row for row in range(count) if row not in records]
    if missing:
        some = ", ".join(str(row + 1) for row in missing[:10])
        more = ", ..." if len(missing) > 10 else ""
        raise BrainLDMError(
            f"{out} lacks {len(missing)} of {count} volumes, those of the plan's rows "
            f"{some}{more}. Run the shards again that have them, then merge."
        )
    finish(out, Sheet(out, count))
    return int(count)


def finish(out: Path, sheet: Sheet) -> None:
    """Write what describes the whole, and clear away what was needed on the way."""
    settings = read_settings(out)
    config = read_model(out)
    held = [lock(out, path.stem) for path in sorted((out / WORK).glob("*.jsonl"))]
    try:
        records = Records(out, settings["plan"]["rows"])
        close_cohort(out, config, settings, records)
        shown = {row: record.label for row in sheet.rows if (record := records.get(row))}
        sheet.complete(shown)
        report = cohort_page(config.conditions, settings, records, sheet.write())
        write_together({out / "report.html": report, out / "summary.json": finished(records)})
        for folder in (out, out / "code"):
            remove_partial(folder)
    finally:
        for each in held:
            each.release()
    if (out / WORK).is_dir():
        shutil.rmtree(out / WORK)
