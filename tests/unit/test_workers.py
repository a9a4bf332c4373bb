"""Work over many processes, from whatever started it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.conftest import Run

SCRIPT = """
import math
from brainldm.workers import one_by_one, spread

print("the script runs")
print(sorted(result for _, result in one_by_one(math.sqrt, [1, 4], 2)))
print(spread(math.pow, [(2, 3), (3, 2)], 2, lambda done: None))
"""


def test_a_script_without_a_main_guard_works_and_runs_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = run(sys.executable, "script.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["the script runs", "[1.0, 2.0]", "[8.0, 9.0]"]
    assert done.stderr == ""
