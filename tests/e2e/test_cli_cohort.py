"""`brainldm cohort` on the command line."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.cohorts import write_plan
from tests.conftest import Cli
from tests.toy import write_toy_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def cli(said: Cli) -> Cli:
    """`brainldm cohort`."""
    return partial(said, "cohort")


def test_bad_input_on_the_command_line(model: Path, tmp_path: Path, cli: Cli) -> None:
    good = (
        "run",
        write_plan(tmp_path / "people.tsv", 3),
        "--model",
        model,
        "--device",
        "cpu",
        "--out",
    )
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    for arguments, says in (
        ((*good, foreign), "holds other files"),
        ((*good, tmp_path / "o", "--gate", "maybe"), "expected redraw or flag"),
        ((*good, tmp_path / "o", "--shard", "4/3"), "expected K/N with K from 1 to N"),
        ((*good, tmp_path / "o", "--shard", "3"), "expected K/N, such as 3/100"),
        ((*good, tmp_path / "o", "--batch", "0"), "expected 1 or more"),
        ((*good, tmp_path / "o", "--tolerance", "age=3"), "no tolerance of age"),
        ((*good, tmp_path / "o", "--tolerance", "brain_volume_ml=3"), "nothing is measured"),
        ((*good, tmp_path / "o", "--tolerance", "x"), "expected NAME=VALUE"),
        ((*good, tmp_path / "o", "--measure", "eyes"), "No segmentation is 'eyes'"),
        ((*good, tmp_path / "o", "--cores-per-worker", "2"), "is for --ray"),
        ((*good, tmp_path / "o", "--steps", "0"), "steps"),
        (("merge", "--out", foreign), "holds no cohort"),
    ):
        code, said = cli(*arguments)
        assert (code, "Traceback" in said) == (2, False), said
        assert says in said, said
        assert not (tmp_path / "o").exists(), arguments


def test_from_a_plan_to_a_data_set_on_the_command_line(
    model: Path, tmp_path: Path, cli: Cli
) -> None:
    table, out = tmp_path / "plan.tsv", tmp_path / "out"
    wanted = ("plan", "--model", model, "--out", table)
    code, said = cli(*wanted, "--number", 6, "--balance", "sex", "--limit", "age=70:82")
    assert code == 0, said
    assert "3 sex F" in said
    code, said = cli(*wanted)
    assert code == 2
    assert "Would overwrite" in said
    code, said = cli(*wanted[:-1], tmp_path / "ten.tsv")
    assert (code, said.split(" volumes")[0]) == (0, "10"), said
    again = ("run", table, "--model", model, "--device", "cpu", "--steps", 1, "--out", out)
    code, said = cli(*again, "--gate", "flag")
    assert code == 0, said
    assert "Made 6 volumes." in said
    code, said = cli(*again, "--gate", "flag")
    assert "Made 0 volumes; 6 were there." in said
    flags = [line.split("\t")[-1] for line in (out / "participants.tsv").read_text().splitlines()]
    assert any("no head" in flag for flag in flags[1:])  # random weights hardly show one
    assert "no head" in (out / "report.html").read_text()
