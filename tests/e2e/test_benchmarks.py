"""The benchmarks run, and say what they should."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.segmenters import cache_with_phantom, train


def run(root: Path, *arguments: str) -> str:
    command = [sys.executable, *arguments]
    pipe = subprocess.PIPE  # of what is printed alone: what goes wrong is seen
    return subprocess.run(command, cwd=root, stdout=pipe, text=True, check=True).stdout


@pytest.mark.slow
def test_ours_beside_the_reference(root: Path) -> None:
    printed = run(root, "benchmarks/brain.py", "--steps", "2")
    for name in ("reference", "float32", "auto", "low memory", "default"):
        assert f"| {name} |" in printed
    assert "float32: the image differs by" in printed
    assert "would take" in printed


@pytest.mark.slow
def test_heads_in_company(root: Path) -> None:
    printed = run(root, "benchmarks/company.py", "--busy", "1", "--rounds", "1")
    rows = [line.split(" | ") for line in printed.splitlines()[2:]]
    assert len(rows) == 8
    for name in ("reference", "float32", "default", "default, torch first"):
        alone, beside = (row for row in rows if row[0] == f"| {name}")
        assert (alone[1], beside[1]) == ("0", "1")
        assert float(alone[2]) > 0
        assert re.fullmatch(r"[\d.]+ \([\d.]+x\)", beside[2])


@pytest.mark.slow
def test_sweep_of_steps(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    few = ("--heads", "3", "--steps", "4", "50")
    printed = run(root, "benchmarks/steps.py", *few, "--out", str(tmp_path))
    assert "Cheapest as good as DDIM 50" in printed
    with (tmp_path / "steps.csv").open() as file:
        rows = {(row["solver"], row["spacing"], row["steps"]): row for row in csv.DictReader(file)}
    same = rows["ddim", "leading", "50"]
    assert float(same["distance difference"]) == 0
    assert float(same["as good"]) == 1
    assert float(rows["unipc", "karras", "50"]["distance"]) < float(same["distance"])
    assert (tmp_path / "steps.svg").read_text().count("<svg") == 1


@pytest.mark.slow
def test_a_training_step_beside_the_reference(root: Path) -> None:
    arguments = ("--size", "tiny", "--steps", "3", "--rounds", "1", "--precision", "float32")
    printed = run(root, "benchmarks/training.py", *arguments)
    for stage in ("autoencoder", "diffusion"):
        assert f"| {stage}, tiny, float32 |" in printed
    rows = [line.split("|") for line in printed.splitlines() if line.startswith("| ours")]
    assert len(rows) == 2
    assert all(float(row[-2]) < 1e-4 for row in rows)  # the losses are the reference's


@pytest.mark.slow
def test_what_a_segmenter_reaches(root: Path, tmp_path: Path) -> None:
    cache = cache_with_phantom(tmp_path / "cache")
    folder = train(cache, tmp_path / "run", "training.steps=2", "subjects=1")
    command = [sys.executable, "benchmarks/segment.py", "--segmenter", str(folder)]
    printed = subprocess.run(
        [*command, "--heads", "1", "--subjects", "1", "--size", "4"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "BRAINLDM_CACHE": str(cache)},
    ).stdout
    for name in ("1 mm", "5 mm slices", "skull-stripped"):
        assert re.search(rf"^\| {name} \| ", printed, re.MULTILINE)
    assert "Volumes of 1 subjects at 4 mm, 1 of them refused" in printed
    assert re.search(r"\| 2 mm \| [\d.]+ \| [\d.]+ \|", printed)
