"""The fuzz of readers runs, and finds what it looks for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fuzz_damage import damaged

pytest.importorskip("yaml")
pytest.importorskip("nilearn")

FOUND = """
import json, os, signal, sys, time
from pathlib import Path
from benchmarks import fuzz
from benchmarks.fuzz_cases import Reader
from brainldm.errors import DataError

def refuse(folder, word="because"):
    raise DataError(word)

def compute(folder):
    while True:
        pass

def sleep(folder):
    os.kill(os.getppid(), signal.SIGALRM)  # as after the time to wait
    time.sleep(60)

fuzz.SECONDS = 1
reads = {
    "read": lambda folder: 1,
    "refused": refuse,
    "without a word": lambda folder: refuse(folder, ""),
    "traceback": lambda folder: 1 / 0,
    "exit": lambda folder: sys.exit(0),
    "memory": lambda folder: bytearray(3 * 2**30),
    "signal": lambda folder: os.kill(os.getpid(), signal.SIGSEGV),
    "computes": compute,
    "sleeps": sleep,
}
said = {n: fuzz.attempt(Reader(n, print, read), Path(".")) for n, read in reads.items()}
print(json.dumps({name: each.splitlines()[-1] for name, each in said.items()}))
"""


def python(root: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_what_is_a_failure(root: Path) -> None:
    assert json.loads(python(root, "-c", FOUND)) == {
        "read": "read",
        "refused": "refused",
        "without a word": "a BrainLDMError without a word",
        "traceback": "ZeroDivisionError at <string>:<lambda>",
        "exit": "SystemExit at <string>:<lambda>",
        "memory": "MemoryError at <string>:<lambda>",
        "signal": "ended by SIGSEGV",
        "computes": "more than 1 s",
        "sleeps": "no end within 120 s",
    }


def test_a_run_counts_its_cases(root: Path) -> None:
    run = ("benchmarks/fuzz.py", "--only", "sidecar", "--seed", "7", "--minutes", "0.03")
    first, counted, total = python(root, *run).splitlines()
    assert first == "the first case is 7"
    assert counted.split()[2] == "tried"
    assert total.endswith("0 failures of 0 kinds")
    assert int(total.split()[0]) > 3


@given(st.integers(0, 2**40), st.binary(max_size=300))
def test_damage_depends_on_the_number_alone(number: int, content: bytes) -> None:
    for name in ("a.pt", "a.nii.gz", "a.json", "a.safetensors", "a.tsv", "a.nii"):
        assert damaged(Random(number), content, name) == damaged(Random(number), content, name)
