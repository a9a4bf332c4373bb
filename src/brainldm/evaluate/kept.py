"""Numbers that took long, kept in a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from brainldm.files import write_together


def kept(file: Path, make: Callable[[], list[float]], count: int) -> list[float]:
    """So many numbers, from a JSON file or made now and written there."""
    try:
        found = [float(number) for number in json.loads(file.read_bytes())]
        if len(found) == count:
            return found
    except (OSError, ValueError, TypeError, RecursionError):
        pass  # as good as none
    numbers = make()
    write_together({file: json.dumps(numbers).encode()})
    return numbers
