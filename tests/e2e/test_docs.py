"""The documentation's examples run, in the order in which a reader meets them, with fewer steps."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from nilearn.datasets import load_mni152_template

from tests.conftest import Cli
from tests.documents import DOCUMENTS, ROOT, blocks, name

SHELL = ("bash", "console", "shell")
SHOWN = ("text", "json", "yaml")  # what is printed or written, not typed
SHORTER = {"--number": "2", "--steps": "2"}
"""What the tests ask for, in place of the documents' numbers."""
SAMPLES = {("generate",): "2", ("cohort", "run"): "2", ("edit",): "4"}
"""The steps of verbs that sample, where the documents leave them out."""

RUN = [each for each in DOCUMENTS if any(block.not_run is None for block in blocks(each))]
PEOPLE = "participant_id\tsex\tage\tventricular_volume_ml\tbrain_volume_ml\n" + "".join(
    f"sub-{i}\t{'FM'[i % 2]}\t{60 + i}\t{30 + i}\t{1400 + i}\n" for i in range(10)
)


def shortened(words: list[str]) -> list[str]:
    """A `brainldm` command with fewer samples and steps."""
    short = [SHORTER.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    if "--steps" not in words:
        for verb, steps in SAMPLES.items():
            short += ["--steps", steps] if tuple(words[1 : 1 + len(verb)]) == verb else []
    return short


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that a reader is supposed to have, to work in."""
    monkeypatch.chdir(tmp_path)
    load_mni152_template(resolution=2).to_filename("scan.nii.gz")
    Path("data").mkdir()
    Path("data/participants.tsv").write_text(PEOPLE)
    return tmp_path


@pytest.mark.parametrize("document", RUN, ids=name)
def test_the_examples_run(document: Path, desk: Path, said: Cli) -> None:
    spoken: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(document):
        if block.not_run is None and block.language == "python":
            source = re.sub(r"\bsteps=([5-9]|\d\d)", f"steps={SHORTER['--steps']}", block.text)
            exec(compile(source, name(document), "exec"), spoken)
        elif block.not_run is None and block.language in SHELL:
            for words in block.commands:
                assert Path(words[0]).name == "brainldm", f"say why it is not run: {words}"
                code, output = said(*shortened(words)[1:])
                assert code == 0, output


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_block_can_be_run_or_says_what_it_is(document: Path) -> None:
    fences = re.findall(r"^```\w+", document.read_text(encoding="utf-8"), re.MULTILINE)
    found = blocks(document)
    assert len(found) == len(fences)
    assert {block.language for block in found} <= {"python", *SHELL, *SHOWN}


def _fixed(text: ast.JoinedStr | ast.Constant) -> str:
    """A string of the code, with … for what is put into it."""
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    return "".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in parts)


def test_the_messages_that_troubleshooting_names_are_the_codes() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (.+)$", page, re.MULTILINE)
    named = [message for heading in headings for message in re.findall(r"`(.+?)`", heading)]
    assert len(named) > 40
    strings = [
        _fixed(node)
        for file in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.JoinedStr)
        or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    ]
    patterns = [".*".join(map(re.escape, message.strip("… ").split("…"))) for message in named]
    lost = [
        message
        for message, pattern in zip(named, patterns, strict=True)
        if not any(re.search(pattern, string, re.DOTALL) for string in strings)
    ]
    assert lost == []
