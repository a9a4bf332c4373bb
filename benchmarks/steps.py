"""Fewer steps, honestly: solvers, spacings and numbers of steps, on the demo model.

    python benchmarks/steps.py --label-maps DIR --only NAME,NAME --out build/steps    # an hour

Every setting starts from the same noise and conditions. Written and printed for each of them, with
the standard error over heads of its difference from DDIM at 50 steps:

- distance: of the latent from a fine solve of the same equation, over that solve's norm; a solver
  with noise on the way comes to another head of the same person, so that its own says little;
- ventricles, brain: how far what was asked for is from what is measured on the image, trusted or
  not, mL;
- diversity: the difference between heads, over that at DDIM 50;
- features: the kernel distance (Binkowski et al. 2018, 1801.01401) from simulated heads, in the
  features of a convolutional network with random weights, which knows neither of the two.

A setting is as good as DDIM 50 if it is worse in none of these by more than two standard errors.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.heads import add_options, heads_of
from brainldm import BrainLDM, Conditions
from brainldm.demo.figures import HELD_OUT
from brainldm.image.volume import Volume
from brainldm.sampling.guidance import denoiser
from brainldm.sampling.loop import sample
from brainldm.sampling.noise import NoiseSource
from brainldm.sampling.solvers import DDIM, DPMSolverPP2M, DPMSolverPP2MSDE, Solver, UniPC
from brainldm.segment.network import Network
from brainldm.simulate.heads import Heads

SOLVERS: tuple[Solver, ...] = (
    DDIM(),
    DDIM(spacing="linspace"),
    DPMSolverPP2M(),
    DPMSolverPP2M(spacing="karras"),
    UniPC(spacing="linspace"),
    UniPC(),
    DPMSolverPP2MSDE(),
)
STEPS = (4, 6, 8, 10, 12, 14, 16, 20, 50)
TICKS = (4, 8, 16, 50)
REFERENCE = (DDIM(), 50)
FINE = (UniPC(), 250)
"""DPM-Solver++(2M) in 150 steps of the same spacing is 0.001 of the norm away."""
WORSE = ("distance", "ventricles", "brain", "features")
"""Larger is worse; of diversity, smaller is."""


@dataclass(frozen=True)
class Outcome:
    """What a setting gives for each head, (N,), by measure; `pairs` (N, N) between heads."""

    values: dict[str, np.ndarray]
    pairs: np.ndarray


class Sweep:
    """The model, what it is asked for, and what its heads are compared with."""

    def __init__(self, heads: int, simulated: Heads) -> None:
        self.model = BrainLDM.from_pretrained("demo")
        self.seeds = range(5000, 5000 + heads)
        self.people = [self.model.ranges.complete(Conditions(), seed)[0] for seed in self.seeds]
        self.asked = np.array(
            [(p.ventricular_volume_ml, p.brain_volume_ml) for p in self.people], float
        )
        self.network = Network.of()
        self.simulated = torch.stack(
            [features(simulated.head(seed, self.model.grid).clean) for seed in HELD_OUT]
        )
        self.fine = self.solve(*FINE)

    @torch.inference_mode()
    def solve(self, solver: Solver, steps: int) -> Tensor:
        """The latents of all heads, (N, C, X, Y, Z)."""
        context = torch.from_numpy(self.model.ranges.normalise(self.people))
        context = context.to(self.model.device)
        parts = []
        for start in range(0, len(self.seeds), 4):
            part = slice(start, start + 4)
            noise = NoiseSource(self.seeds[part])
            parts.append(
                sample(
                    denoiser(self.model.networks.predict, context[part]),
                    noise.draw(self.model.config.latent.shape).to(self.model.device),
                    schedule=self.model.schedule,
                    solver=solver,
                    steps=steps,
                    prediction=self.model.config.schedule.prediction,
                    noise=noise,
                )
            )
        return torch.cat(parts).cpu()

    def measure(self, z: Tensor) -> Outcome:
        """Decode latents and measure them."""
        images = [self.model.decode(each[None])[0, 0].clamp(0, 1).cpu() for each in z]
        heads = [Volume(image.numpy(), self.model.affine) for image in images]
        volumes = np.array([self.network.label(head).estimates.volumes for head in heads])
        error = np.abs(volumes - self.asked)
        distance = (z - self.fine).flatten(1).norm(dim=1) / self.fine.flatten(1).norm(dim=1)
        flat = torch.stack(images).flatten(1)
        values = {
            "distance": distance.numpy(),
            "ventricles": error[:, 0],
            "brain": error[:, 1],
            "features": kernel_distance(torch.stack(list(map(features, images))), self.simulated),
        }
        return Outcome(values, torch.cdist(flat, flat).numpy() / flat.shape[1] ** 0.5)


@torch.inference_mode()
def features(image: Tensor) -> Tensor:
    """What a network with random weights, the same at every call, sees in (X, Y, Z): (512,)."""
    generator = torch.Generator().manual_seed(0)
    x, seen = image[None, None], []
    for width in (16, 32, 64, 128):
        weight = torch.randn(width, x.shape[1], 3, 3, 3, generator=generator)
        x = F.relu(F.conv3d(x, weight / weight[0].numel() ** 0.5, stride=2, padding=1))
        x = x / x.square().mean().sqrt()
        seen.append(F.adaptive_avg_pool3d(x, 2 if width < 128 else 1).flatten()[:128])
    return torch.cat(seen)


def kernel_distance(a: Tensor, b: Tensor) -> np.ndarray:
    """Each head's share in the unbiased squared maximum mean discrepancy of a (N, D) from b."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    own = kernel(a, a).fill_diagonal_(0).sum(1) / (len(a) - 1)
    other = kernel(b, b).fill_diagonal_(0).sum() / (len(b) * (len(b) - 1))
    return (own + other - 2 * kernel(a, b).mean(1)).double().numpy()


def compare(outcome: Outcome, reference: Outcome) -> dict[str, float]:
    """Means over heads, their differences from the reference's, and those's standard errors."""
    row: dict[str, float] = {}
    for name in WORSE:
        difference = outcome.values[name] - reference.values[name]
        row[name] = float(outcome.values[name].mean())
        row[f"{name} difference"] = float(difference.mean())
        row[f"{name} error"] = float(difference.std(ddof=1) / len(difference) ** 0.5)
    others = len(outcome.pairs) - 1
    ratio = outcome.pairs.sum(1) / reference.pairs.sum(1)
    row["diversity"] = float(outcome.pairs.sum() / reference.pairs.sum())
    row["diversity difference"] = float(1 - ratio.mean())
    row["diversity error"] = float(ratio.std(ddof=1) / (others + 1) ** 0.5)
    row["as good"] = float(
        all(row[f"{n} difference"] <= 2 * row[f"{n} error"] for n in (*WORSE, "diversity"))
    )
    return row


def main() -> None:
    """Sweep, print, and write `steps.csv` and `steps.svg`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--heads", type=int, default=20)
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--out", type=Path, default=Path("build/steps"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    sweep = Sweep(arguments.heads, heads_of(arguments))
    reference = sweep.measure(sweep.solve(*REFERENCE))
    rows: list[dict[str, Any]] = []
    for solver in SOLVERS:
        for steps in arguments.steps:
            same = (solver, steps) == REFERENCE
            outcome = reference if same else sweep.measure(sweep.solve(solver, steps))
            row = {"solver": solver.name, "spacing": solver.spacing, "steps": steps}
            rows.append({**row, **compare(outcome, reference)})
            print(describe(rows[-1]), flush=True)
    fine = {"solver": FINE[0].name, "spacing": FINE[0].spacing, "steps": FINE[1]}
    rows.append({**fine, **compare(sweep.measure(sweep.fine), reference)})
    print(describe(rows[-1]))
    with (arguments.out / "steps.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    draw(rows[:-1], arguments.out / "steps.svg")
    good = min(
        (row for row in rows if row["as good"]), key=lambda row: (row["steps"], row["distance"])
    )
    print(f"Cheapest as good as DDIM 50: {good['solver']} {good['spacing']} {good['steps']}")


def describe(row: dict[str, Any]) -> str:
    """One line of the table; a star marks what is as good as DDIM 50."""
    cells = [f"{row['solver']:<8}{row['spacing']:<9}{row['steps']:>4}"]
    cells += [f"{name} {row[name]:.4f}" for name in (*WORSE, "diversity")]
    return "  ".join(cells) + ("  *" if row["as good"] else "")


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """A panel for each measure, a line for each solver and spacing."""
    matplotlib.use("svg")
    names = (*WORSE, "diversity")
    figure, panels = plt.subplots(1, len(names), figsize=(16, 3.4), layout="constrained")
    for panel, name in zip(panels, names, strict=True):
        for solver in SOLVERS:
            line = [r for r in rows if (r["solver"], r["spacing"]) == (solver.name, solver.spacing)]
            panel.plot(
                [r["steps"] for r in line],
                [r[name] for r in line],
                marker=".",
                label=f"{solver.name}, {solver.spacing}",
            )
        panel.set(xscale="log", xlabel="evaluations", title=name, xticks=TICKS, xticklabels=TICKS)
        panel.minorticks_off()
    panels[0].set(yscale="log")
    panels[0].legend(fontsize=7)
    figure.savefig(path)


if __name__ == "__main__":
    main()
