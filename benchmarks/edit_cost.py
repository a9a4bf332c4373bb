"""What an edited head costs, at the demo model's size and at the published one.

    python benchmarks/edit_cost.py    # minutes on two cores

`brainldm edit` in a process of its own, from the start of the command to its end, on a simulated
head that lies on the model's grid: one other ventricular volume, at the default steps. The
published architecture has random weights, so that its result is no head, but costs what one costs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from brainldm.checkpoint import save_model
from brainldm.config import published_config
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.unet import DiffusionUNet
from brainldm.simulate.run import simulate_data_set

KNOWN = ("sex=F", "age=60", "ventricular_volume_ml=30", "brain_volume_ml=1450")


def main() -> None:
    """Measure both, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/edit-cost"))
    parser.add_argument("--only", choices=["demo", "published"], help="one of the two")
    asked = parser.parse_args()
    print("| size | s | of processor time | peak, GB |\n|---|---|---|---|", flush=True)
    for name, millimetres in (("demo", 2.0), ("published", 1.0)):
        if asked.only in (None, name):
            print(row(name, millimetres, asked.out), flush=True)


def row(name: str, millimetres: float, folder: Path) -> str:
    """A line of the table."""
    heads = folder / f"heads-{name}"
    if not heads.exists():
        simulate_data_set(heads, 1, seed=100_000, voxel_size=millimetres)
    model = "demo" if name == "demo" else str(random_weights(folder / "published"))
    [head] = heads.rglob("*_T1w.nii.gz")
    command = [sys.executable, "-m", "brainldm", "edit", str(head), "--registered", "--scaled"]
    options = ["--model", model, "--extrapolate", "--ventricular-volume-ml", "+20"]
    known = [word for each in KNOWN for word in ("--known", each)]
    begun, out = time.perf_counter(), folder / f"edited-{name}"
    process = subprocess.Popen([*command, *options, *known, "--overwrite", "--out", str(out)])
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{name}: brainldm edit ended with {status}")
    seconds = time.perf_counter() - begun
    processor, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
    return f"| {name} | {seconds:.0f} | {processor:.0f} | {peak:.1f} |"


def random_weights(folder: Path) -> Path:
    """A model of the published size that says nothing, as networks are before training."""
    if not folder.exists():
        config = published_config()
        torch.manual_seed(0)
        networks = AutoencoderKL(config.autoencoder), DiffusionUNet(config.unet)
        save_model(folder, config, *(network.state_dict() for network in networks))
    return folder


if __name__ == "__main__":
    main()
