"""A subject: an anatomy, mirrored or not, of another size and shape, with other volumes.

What differs from the anatomy is a chain of smooth invertible deformations: the whole head by a
velocity of chance that changes over centimetres, the brain within its skull by one that changes
over less, and the ventricles and the brain by the anatomy's flows, followed until two volumes are
reached that were drawn without regard to each other or to the anatomy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from brainldm.errors import UsageError
from brainldm.simulate.anatomy import FLOW_MM, Anatomy
from brainldm.simulate.deform import after, exponential, jacobian, pull
from brainldm.simulate.fields import smooth_field

VENTRICULAR_ML = (8.0, 82.0)
"""What ventricles aim at unless another range is asked for, in mL."""
BRAIN_ML = (1250.0, 1660.0)
"""What brains aim at, in mL, normalised for head size."""
AGES = (44.0, 82.0)
TEMPLATE_INTRACRANIAL_ML = 2074.4
"""Within the inner skull of the MNI152 template: the head size that brains are normalised to."""
CENTRE = (0.0, -18.0, 12.0)
"""Of the brain in MNI152 space, in mm, about which heads are scaled."""
SIZE, SIZE_OF_SEX = 0.02, 0.01
"""The logarithm of a head's size over its anatomy's: the deviation, and how much more a man's."""
HEAD_FIELDS = ((45.0, 1.4),)
BRAIN_FIELDS = ((28.0, 1.6), (15.0, 0.8))
"""Velocities of chance: over how many mm they change, and their deviation in mm."""
REACH = ((0.28, 5.0), (0.89, 1.12))
"""The ventricles and the brain that a subject may have, relative to its anatomy's own."""
FIRST_SLOPES = (0.8, -0.18)
"""By how much the logarithms of the volumes change with the efforts, before more is known."""
MOST_EFFORT = (3.0, 1.6)
CLOSE, CLOSE_ENOUGH = 0.012, 0.04
"""The logarithms of volume over target at which the search ends, and that are still a success."""
ROUNDS = 6
MOST_DRAWS = 100


@dataclass(frozen=True)
class Ranges:
    """What is drawn uniformly for each subject, in mL: ventricles, and brain for a usual head."""

    ventricular_ml: tuple[float, float] = VENTRICULAR_ML
    brain_ml: tuple[float, float] = BRAIN_ML


@dataclass(frozen=True)
class Subject:
    """A head to be rendered.

    Args:
        anatomy: it comes from.
        seed: of everything about it.
        mirrored: left and right exchanged.
        sex: F or M.
        age: in years.
        scale: of the head along each axis, relative to the anatomy's.
        displacement: from the subject's head, before it is scaled, to the anatomy, in voxels of
            `box_grid(FLOW_MM)`, (3, X, Y, Z).
        targets: the ventricular and the normalised brain volume aimed at, in mL.
        redrawn: pairs of targets before these that the anatomy could not reach.
    """

    anatomy: Anatomy
    seed: int
    mirrored: bool
    sex: Literal["F", "M"]
    age: float
    scale: tuple[float, float, float]
    displacement: Tensor
    targets: tuple[float, float]
    redrawn: int


def draw_subject(
    anatomy: Anatomy,
    seed: int,
    ranges: Ranges | None = None,
    *,
    targets: tuple[float, float] | None = None,
    twin: bool = False,
) -> Subject:
    """Draw a subject; targets that the anatomy cannot reach are drawn again.

    Args:
        anatomy: from `from_label_map`, `template_anatomy` or a cache.
        seed: of everything about it.
        ranges: what the targets are drawn from.
        targets: the ventricular and normalised brain volume in mL instead.
        twin: draw other targets; all else is as without.

    Raises:
        UsageError: the targets given, or all of many that were drawn, cannot be reached.
    """
    rng = np.random.default_rng((seed, 0))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    ranges = ranges or Ranges()
    sex: Literal["F", "M"] = "M" if rng.random() < 0.5 else "F"
    age, mirrored = float(rng.uniform(*AGES)), bool(rng.random() < 0.5)
    size = rng.normal(SIZE_OF_SEX if sex == "M" else -SIZE_OF_SEX, SIZE)
    x, y, z = np.exp(size + rng.normal(0, SIZE / 2, 3)).tolist()
    shape = anatomy.flows.shares.shape[1:]
    head = _velocity(HEAD_FIELDS, shape, generator)
    chance = _velocity(BRAIN_FIELDS, shape, generator) * anatomy.flows.shares[3]
    aim = _Aim(anatomy, chance, jacobian(exponential(head)) * (x * y * z))
    redrawn, chances = 0, np.random.default_rng((seed, 1, twin))
    for _ in range(1 if targets else MOST_DRAWS):
        drawn = targets or (
            float(chances.uniform(*ranges.ventricular_ml)),
            float(chances.uniform(*ranges.brain_ml)),
        )
        velocity = aim.reach(*drawn)
        if velocity is not None:
            break
        redrawn += 1
    else:
        raise UsageError(_unreachable(anatomy, ranges, targets))
    # Back to the anatomy: first the head's deformation is undone, then the brain's.
    back = after(exponential(-velocity), exponential(-head))
    return Subject(anatomy, seed, mirrored, sex, age, (x, y, z), back, drawn, redrawn)


def _velocity(
    fields: tuple[tuple[float, float], ...], shape: torch.Size, generator: torch.Generator
) -> Tensor:
    """A velocity of chance in voxels, (3, X, Y, Z)."""
    x, y, z = shape
    total = torch.zeros(3, x, y, z)
    for correlation, deviation in fields:
        total += deviation / FLOW_MM * smooth_field(3, (x, y, z), FLOW_MM, correlation, generator)
    return total


def _unreachable(anatomy: Anatomy, ranges: Ranges, targets: tuple[float, float] | None) -> str:
    what = (
        f"ventricles of {targets[0]:g} mL and a brain of {targets[1]:g} mL"
        if targets
        else f"ventricles of {ranges.ventricular_ml} mL and a brain of {ranges.brain_ml} mL "
        f"({MOST_DRAWS} pairs were drawn)"
    )
    ventricles, brain = own_volumes(anatomy)
    return (
        f"The anatomy {anatomy.name} has ventricles of {ventricles:.0f} mL and a brain of "
        f"{brain:.0f} mL, and cannot be given {what}. Ask for volumes nearer to its own, or for "
        "another anatomy."
    )


def own_volumes(anatomy: Anatomy) -> tuple[float, float]:
    """The ventricular and the normalised brain volume of an anatomy as it is, in mL."""
    still = torch.zeros_like(anatomy.flows.velocities[0])
    return _Aim(anatomy, still, torch.ones(still.shape[1:])).volumes(still)


@dataclass(frozen=True)
class _Aim:
    """The search for how long the flows are followed.

    Args:
        anatomy: whose flows.
        chance: the velocity of chance within the skull, (3, X, Y, Z).
        room: by how much the head's deformation and scaling enlarges each voxel, (X, Y, Z).
    """

    anatomy: Anatomy
    chance: Tensor
    room: Tensor

    @cached_property
    def own(self) -> tuple[float, float]:
        """The anatomy's own volumes."""
        return own_volumes(self.anatomy)

    def reach(self, ventricular_ml: float, brain_ml: float) -> Tensor | None:
        """The velocity that leads to two volumes, or None if they are too far from its own.

        Broyden's method on the logarithms of the volumes.
        """
        wanted = np.log([ventricular_ml, brain_ml])
        change = wanted - np.log(self.own)
        low, high = np.log(REACH).T
        if (change < low).any() or (change > high).any():
            return None
        slopes = np.diag(FIRST_SLOPES)
        effort = np.linalg.solve(slopes, change)
        before, step = np.zeros(2), np.zeros(2)
        for _ in range(ROUNDS):
            velocity = self.velocity(_time_to_swell(effort[0]), effort[1])
            missing = wanted - np.log(self.volumes(exponential(velocity)))
            if np.abs(missing).max() < CLOSE:
                return velocity
            if step.any():
                slopes += np.outer(before - missing - slopes @ step, step) / (step @ step)
            before, step = missing, np.linalg.solve(slopes, missing)
            effort = effort + step
            if (np.abs(effort) > MOST_EFFORT).any():
                return None
        return velocity if np.abs(missing).max() < CLOSE_ENOUGH else None

    def velocity(self, ventricles: float, brain: float) -> Tensor:
        """The sum of chance and the flows, each for its time."""
        first, second = self.anatomy.flows.velocities
        velocity: Tensor = self.chance + ventricles * first + brain * second
        return velocity

    def volumes(self, displacement: Tensor) -> tuple[float, float]:
        """The ventricular and the normalised brain volume after a deformation of the brain."""
        room = jacobian(displacement) * pull(self.room[None], displacement)[0]
        shares = self.anatomy.flows.shares[:3] * room
        ventricles, brain, within = shares.double().sum(dim=(1, 2, 3)).tolist()
        return ventricles * FLOW_MM**3 / 1000, brain / within * TEMPLATE_INTRACRANIAL_ML


def _time_to_swell(effort: float) -> float:
    """How long to follow the ventricles' flow so that they swell by about exp(effort).

    They take in what comes to them, which does not swell faster when they are larger.
    """
    return math.exp(effort) - 1 if effort > 0 else effort
