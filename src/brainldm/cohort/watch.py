"""What can be seen of a cohort while it is made."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from brainldm.cohort.maker import Made
from brainldm.cohort.sheet import Sheet
from brainldm.files import to_json, write_together

SUMMARY_EVERY, SHEET_EVERY = 5.0, 30.0
"""Seconds."""


class Watch:
    """Keeps the summary, and the contact sheet if there is one.

    Args:
        summary: the file.
        total: volumes to make.
        done: of these, before.
        sheet: that grows.
        progress: called with what is done, and of how much.
    """

    def __init__(
        self,
        summary: Path,
        total: int,
        done: int,
        sheet: Sheet | None,
        progress: Callable[[int, int], None],
    ) -> None:
        self._file, self.total, self.done = summary, total, done
        self._sheet, self._progress = sheet, progress
        self._first, self._start = done, time.monotonic()
        self._told, self._drew, self._grown = -SUMMARY_EVERY, self._start, False
        self._redraws = self._flagged = 0
        self._tell()

    def add(self, made: Made) -> None:
        """One more is done."""
        self.done += 1
        self._redraws += made.record.redraws
        self._flagged += bool(made.record.flags)
        if self._sheet and made.tile:
            self._sheet.add(made.record.row, made.record.label, made.tile)
            self._grown = True
        now = time.monotonic()
        if now - self._told >= SUMMARY_EVERY:
            self._tell()
        if self._sheet and self._grown and now - self._drew >= SHEET_EVERY:
            self._sheet.write()
            self._drew, self._grown = now, False
        self._progress(self.done, self.total)

    def _tell(self) -> None:
        self._told = time.monotonic()
        made, seconds = self.done - self._first, self._told - self._start
        rate = made / seconds if made else None
        content = {
            "state": "running",
            "updated": datetime.now(UTC).isoformat(timespec="seconds"),
            "volumes": self.total,
            "done": self.done,
            "made_now": made,
            "redraws_now": self._redraws,
            "flagged_now": self._flagged,
            "volumes_a_minute": round(60 * rate, 2) if rate else None,
            "seconds_left": round((self.total - self.done) / rate) if rate else None,
        }
        write_together({self._file: to_json(content)})
        self._progress(self.done, self.total)
