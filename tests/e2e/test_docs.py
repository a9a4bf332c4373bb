"""The documentation's examples run, in the order in which a reader meets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Run
from tests.documents import DOCUMENTS, blocks, commands, name

WITH_PYTHON = [each for each in DOCUMENTS if blocks(each, "python")]
WITH_CONSOLE = [each for each in DOCUMENTS if blocks(each, "console")]


@pytest.mark.parametrize("document", WITH_PYTHON, ids=name)
def test_python_blocks_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = "\n".join(blocks(document, "python"))
    exec(compile(source, name(document), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("document", WITH_CONSOLE, ids=name)
def test_console_blocks_run(document: Path, run: Run) -> None:
    for program, *arguments in commands(document, "console"):
        result = run(Path(program).name, *arguments)
        assert result.returncode == 0, result.stderr
