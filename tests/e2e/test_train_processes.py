"""Two processes train what one does, copying weights (DDP) or sharing them (FSDP)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.prepared import write_prepared

LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
FSDP_ON_CPU = Path(__file__).parents[1] / "fsdp_on_cpu.py"


def command(processes: int, *arguments: object, fsdp: bool = False) -> list[str]:
    launcher = LAUNCHER if processes == 2 else ()
    program = (FSDP_ON_CPU,) if fsdp else ("-m", "brainldm")
    train = (*program, "train", *arguments, "--preset", "tiny", "--device", "cpu")
    return [sys.executable, *launcher, *map(str, train)]


def run(processes: int, *arguments: object, fsdp: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(processes, *arguments, fsdp=fsdp),
        env={**ENVIRONMENT, **(FSDP if fsdp else {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def train(processes: int, *arguments: object, fsdp: bool = False) -> None:
    done = run(processes, *arguments, fsdp=fsdp)
    assert done.returncode == 0, done.stderr


def difference(a: Path, b: Path) -> float:
    """Of two files of weights: the largest over the norm of all."""
    first, second = load_file(a), load_file(b)
    assert first.keys() == second.keys()
    largest = max(float((first[name] - second[name]).abs().max()) for name in first)
    return largest / float(torch.stack([tensor.norm() for tensor in first.values()]).norm())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared") / "data")


def test_two_processes_train_what_one_does(data: Path, tmp_path: Path) -> None:
    runs = {"one": (1, False), "two": (2, False), "sharing weights": (2, True)}
    # All from the same, so that one stage's rounding is not the other's.
    stages = {
        "autoencoder.safetensors": ("autoencoder",),
        "models/unet.safetensors": ("diffusion", "--autoencoder", tmp_path / "autoencoder one"),
        "models/autoencoder.safetensors": (
            "decoder",
            *("--from", tmp_path / "diffusion one"),
            *("--set", "blend=0.5"),
        ),
    }
    for weights, stage in stages.items():
        for run, (processes, fsdp) in runs.items():
            out = tmp_path / f"{stage[0]} {run}"
            train(processes, *stage, "--data", data, "--out", out, fsdp=fsdp)
        one, *others = (tmp_path / f"{stage[0]} {run}" / weights for run in runs)
        for other in others:
            assert difference(one, other) < 1e-5, other


def test_muon_is_refused_where_weights_are_shared(data: Path, tmp_path: Path) -> None:
    arguments = ("autoencoder", "--data", data, "--set", "training.optimiser=muon", "--out")
    train(2, *arguments, tmp_path / "whole")
    train(1, *arguments, tmp_path / "one")
    weights = "autoencoder.safetensors"
    assert difference(tmp_path / "one" / weights, tmp_path / "whole" / weights) < 1e-5
    done = run(2, *arguments, tmp_path / "shared", fsdp=True)
    assert done.returncode != 0
    assert "needs whole matrices" in done.stderr
    assert not (tmp_path / "shared" / weights).exists()


def test_one_process_goes_on_where_two_were_killed(data: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    arguments = ("autoencoder", "--data", data, "--set", "training.steps=60", "--out")
    train(1, *arguments, whole)
    with subprocess.Popen(
        command(2, *arguments, parts),
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 120
        while not (parts / "state.pt").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        launcher = psutil.Process(process.pid)
        for each in [launcher, *launcher.children(recursive=True)]:
            each.kill()
    assert not (parts / "autoencoder.safetensors").exists()
    train(1, *arguments, parts)
    assert difference(*(run / "autoencoder.safetensors" for run in (whole, parts))) < 1e-5
