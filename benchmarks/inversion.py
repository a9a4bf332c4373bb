"""Ways up from a scan to its noise: evaluations of the network, and what the way back loses.

    python benchmarks/inversion.py --label-maps DIR --only NAME,NAME --heads 3    # some minutes

Simulated heads that the demo model has not learned from are encoded, sent up and down again under
their conditions. Printed for each way, as means over heads: evaluations on the way up and down, the
error of the latent that comes back over its norm, the PSNR of the image in dB beside that of the
autoencoder alone, the root mean square of the noise, which would be 1, and how far measured
ventricles change for 1 mL asked for, when the noise is walked down under other conditions.

- ddim: the plain backward step, the network evaluated below the step (2010.02502).
- fixed point: the step solved by iteration, without and with acceleration (2309.04907).
- BDIA (2307.10829) and O-BELM (2410.07273): exact schemes of two latents, which are their noise;
  the first step up is a solved step of DDIM.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.heads import FIRST_HEAD, add_options, heads_of
from brainldm import BrainLDM, Conditions, Volume
from brainldm.metrics.similarity import psnr
from brainldm.sampling import inversion
from brainldm.sampling.guidance import denoiser
from brainldm.sampling.predictions import pick_prediction
from brainldm.sampling.schedules import CLEAN, NoiseLevel
from brainldm.segment.network import Network
from brainldm.simulate.heads import Heads

MORE_ML = 20.0
GAMMA = 1.0
"""Of BDIA: 1 is the fully symmetric scheme."""


@dataclass
class Walker:
    """A model under conditions, on the levels of a walk; counts what it evaluates."""

    model: BrainLDM
    steps: int
    evaluations: int = 0
    levels: list[NoiseLevel] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.timesteps = self.model.schedule.timesteps(self.steps, "leading")[::-1]
        self.levels = [CLEAN, *map(self.model.schedule.level, self.timesteps)]
        self.to_x0 = pick_prediction(self.model.config.schedule.prediction)

    def under(self, person: Conditions) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
        """(z, place of the level) -> (x0, epsilon)."""
        context = torch.from_numpy(self.model.ranges.normalise([person], True))
        denoise = denoiser(self.model.networks.predict, context)

        def look(z: Tensor, place: int) -> tuple[Tensor, Tensor]:
            self.evaluations += 1
            level = self.levels[max(place, 1)]
            return self.to_x0(denoise(z, self.timesteps[max(place, 1) - 1]), z, level)

        return look

    def ddim(self, z: Tensor, look: Callable, t: int, s: int) -> Tensor:
        x0, epsilon = look(z, t)
        return self.levels[s].alpha * x0 + self.levels[s].sigma * epsilon


Pair = tuple[Tensor, Tensor]


def ddim_up(walker: Walker, z: Tensor, look: Callable) -> Tensor:
    for place in range(walker.steps):
        z = walker.ddim(z, look, place, place + 1)
    return z


def ddim_down(walker: Walker, z: Tensor, look: Callable) -> Tensor:
    for place in range(walker.steps, 0, -1):
        z = walker.ddim(z, look, place, place - 1)
    return z


def fixed_up(tolerance: float, accelerated: bool) -> Callable[[Walker, Tensor, Callable], Tensor]:
    def up(walker: Walker, z: Tensor, look: Callable) -> Tensor:
        def v(z: Tensor, timestep: float) -> Tensor:
            place = walker.timesteps.index(timestep) + 1
            x0, epsilon = look(z, place)
            level = walker.levels[place]
            return level.alpha * epsilon - level.sigma * x0

        usual = inversion._accelerated
        if not accelerated:
            inversion._accelerated = lambda image, miss, earlier: image
        try:
            found = inversion.invert(
                v,
                z,
                schedule=walker.model.schedule,
                steps=walker.steps,
                prediction="v",
                tolerance=tolerance,
            )
        finally:
            inversion._accelerated = usual
        return found.noise

    return up


def _solved(walker: Walker, z: Tensor, look: Callable) -> Tensor:
    """The first step up, as well as it can be solved."""
    below, up = z, z
    for _ in range(8):
        x0, epsilon = look(up, 1)
        level = walker.levels[1]
        up = below + (level.alpha - 1) * x0 + level.sigma * epsilon
    return up


def _leap(walker: Walker, place: int) -> tuple[float, float, float]:
    """a, b, c of z_(i-1) = a z_(i+1) + b z_i + c epsilon_i in z over alpha (O-BELM)."""
    ratio = [level.sigma / level.alpha for level in walker.levels]
    above, below = ratio[place + 1] - ratio[place], ratio[place] - ratio[place - 1]
    a = (below / above) ** 2
    return a, 1 - a, -below * (below + above) / above


def belm_up(walker: Walker, z: Tensor, look: Callable) -> Pair:
    below, now = z, _solved(walker, z, look)
    for place in range(1, walker.steps):
        a, b, c = _leap(walker, place)
        alphas = [walker.levels[place + i].alpha for i in (-1, 0, 1)]
        _, epsilon = look(now, place)
        above = (below / alphas[0] - b * now / alphas[1] - c * epsilon) / a * alphas[2]
        below, now = now, above
    return below, now


def belm_down(walker: Walker, pair: Pair, look: Callable) -> Tensor:
    now, above = pair
    for place in range(walker.steps - 1, 0, -1):
        a, b, c = _leap(walker, place)
        alphas = [walker.levels[place + i].alpha for i in (-1, 0, 1)]
        _, epsilon = look(now, place)
        below = (a * above / alphas[2] + b * now / alphas[1] + c * epsilon) * alphas[0]
        above, now = now, below
    return now


def bdia_up(walker: Walker, z: Tensor, look: Callable) -> Pair:
    below, now = z, _solved(walker, z, look)
    for place in range(1, walker.steps):
        down, up = (_delta(walker, now, look(now, place), place, place + i) for i in (-1, 1))
        above = (below - now - down) / GAMMA + now + up
        below, now = now, above
    return below, now


def bdia_down(walker: Walker, pair: Pair, look: Callable) -> Tensor:
    now, above = pair
    for place in range(walker.steps - 1, 0, -1):
        seen = look(now, place)
        down, up = (_delta(walker, now, seen, place, place + i) for i in (-1, 1))
        below = GAMMA * (above - now - up) + now + down
        above, now = now, below
    return now


def _delta(walker: Walker, z: Tensor, seen: Pair, t: int, s: int) -> Tensor:
    """By how much a step of DDIM changes a latent."""
    return walker.levels[s].alpha * seen[0] + walker.levels[s].sigma * seen[1] - z


WAYS: dict[str, tuple[Callable, Callable]] = {
    "ddim": (ddim_up, ddim_down),
    "fixed point 1e-2": (fixed_up(1e-2, False), ddim_down),
    "fixed point 1e-3": (fixed_up(1e-3, False), ddim_down),
    "accelerated 1e-2": (fixed_up(1e-2, True), ddim_down),
    "accelerated 3e-3": (fixed_up(3e-3, True), ddim_down),
    "accelerated 1e-3": (fixed_up(1e-3, True), ddim_down),
    "accelerated 1e-4": (fixed_up(1e-4, True), ddim_down),
    "BDIA": (bdia_up, bdia_down),
    "O-BELM": (belm_up, belm_down),
}


@torch.inference_mode()
def compare(heads: Heads, number: int, steps: Sequence[int], ways: Sequence[str]) -> None:
    """Print the table."""
    model, network = BrainLDM.from_pretrained("demo", dtype="float32"), Network.of()
    rows: dict[tuple[str, int], list[list[float]]] = {}
    for seed in range(FIRST_HEAD, FIRST_HEAD + number):
        head = heads.head(seed, model.grid)
        volume = Volume(head.image.numpy(), model.affine, scaled=True)
        z0 = model.encode(volume)
        person = head.conditions
        ventricles = float(person.ventricular_volume_ml or 0)
        more = ventricles + (MORE_ML if ventricles < 45 else -MORE_ML)
        other = Conditions(person.sex, person.age, more, person.brain_volume_ml)

        def image(z: Tensor) -> np.ndarray:
            return model.decode(z)[0, 0].clamp(0, 1).numpy()

        def measured(array: np.ndarray, grid=model.grid) -> float:
            return network.label(Volume(array, grid.matrix)).estimates.ventricular_volume_ml

        decoded = image(z0)
        floor, before = psnr(decoded, volume.array), measured(decoded)
        for count in steps:
            for name in ways:
                walker = Walker(model, count)
                up, down = WAYS[name]
                look = walker.under(person)
                noise = up(walker, z0, look)
                ups = walker.evaluations
                back = down(walker, noise, look)
                downs = walker.evaluations - ups
                error = float((back - z0).norm() / z0.norm())
                top = noise if isinstance(noise, Tensor) else noise[1]
                try:
                    decibels = psnr(image(back), volume.array)
                    edited = image(down(walker, noise, walker.under(other)))
                    slope = (measured(edited) - before) / (more - ventricles)
                except ValueError:
                    decibels = slope = float("nan")
                row = [ups, downs, error, decibels, floor, float(top.square().mean().sqrt()), slope]
                rows.setdefault((name, count), []).append(row)
    print("| way | steps | up | down | latent's error | image, dB | autoencoder, dB | noise | mL |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (name, count), values in rows.items():
        a, b, error, decibels, floor, rms, slope = np.mean(values, axis=0)
        print(
            f"| {name} | {count} | {a:.0f} | {b:.0f} | {error:.1e} | {decibels:.2f} | "
            f"{floor:.2f} | {rms:.2f} | {slope:.2f} |"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--heads", type=int, default=3)
    parser.add_argument("--steps", type=int, nargs="+", default=[16])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    arguments = parser.parse_args()
    compare(heads_of(arguments), arguments.heads, arguments.steps, arguments.ways)
