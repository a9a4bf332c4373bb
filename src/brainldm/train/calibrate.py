"""A finished model, corrected so that its heads have the volumes that they are asked for.

What generated heads measure follows the conditions nearly in proportion, yet not one to one: brains
differ less than they are asked to, or larger ventricles take brain away that was not asked of them.
A regression on all conditions tells how, and its inverse can go into the weights, since conditions
enter a network linearly. So it costs nothing afterwards.

What a seed adds of its own to a volume would blur that. So heads are made in pairs of one seed,
with conditions as far from the middle of their distributions on either side (antithetic variates:
Hammersley and Morton 1956), and what counts is how a pair differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from brainldm.checkpoint import load_config, load_model, save_model
from brainldm.checkpoint.directory import refuse_model
from brainldm.conditions import ConditionRanges, Conditions, quantile
from brainldm.config import ModelConfig, Variable
from brainldm.errors import DataError, UsageError
from brainldm.files import make_folder
from brainldm.metrics.agreement import agreement
from brainldm.pipeline.brain import BrainLDM
from brainldm.pipeline.choice import Model
from brainldm.segment.measures import VOLUMES
from brainldm.segment.network import Network
from brainldm.segment.segmenter import measured
from brainldm.train.finetune import map_conditions

SEED = 1_000_000
"""The first: far from where people begin, so that they judge the result on other heads."""
FEWEST = 30
"""Heads, for a regression on the conditions."""
WEAKEST = 0.25
"""The least slope that is corrected: a condition that is hardly followed would be asked for far
outside what the network has seen."""


@dataclass(frozen=True, eq=False)
class Correction:
    """What a network has to be asked for so that it gives what is wanted.

    Args:
        matrix: (V, V), and
        offset: (V,); the context c becomes matrix @ c + offset.
    """

    matrix: Float[NDArray[np.float64], "v v"]
    offset: Float[NDArray[np.float64], " v"]

    @classmethod
    def of(
        cls,
        asked: Float[NDArray[np.floating], "n 2 v"],
        found: Float[NDArray[np.floating], "n 2 m"],
        columns: Sequence[int],
    ) -> Self:
        """Least squares of how pairs differ in what was found, and was asked for, inverted.

        Args:
            asked: the contexts of the two heads of each pair, in [0, 1].
            found: what was measured in them, on the same scale.
            columns: of the context, which those measures belong to, M.
        """
        size, chosen = asked.shape[2], list(columns)
        effects = np.linalg.lstsq(asked[:, 0] - asked[:, 1], found[:, 0] - found[:, 1], rcond=None)
        follows = effects[0].T
        start = found.mean((0, 1)) - follows @ asked.mean((0, 1))
        inverse = np.linalg.inv(follows[:, chosen])
        beside = follows.copy()
        beside[:, chosen] = 0
        matrix, offset = np.eye(size), np.zeros(size)
        matrix[chosen] = -inverse @ beside
        matrix[np.ix_(chosen, chosen)] = inverse
        offset[chosen] = -inverse @ start
        return cls(matrix, offset)

    @property
    def beyond(self) -> float:
        """How far outside [0, 1] a network is asked for what lies inside, at most."""
        high = np.maximum(self.matrix, 0).sum(1) + self.offset
        low = np.minimum(self.matrix, 0).sum(1) + self.offset
        return float(max(high.max() - 1, -low.min(), 0))

    def fold(self, unet: Mapping[str, Tensor], latent_channels: int) -> dict[str, Tensor]:
        """A U-Net's weights that need not be asked for anything else than what is wanted.

        It is exact but for the outermost voxels of the latent, where the first convolution sees
        zeros in place of conditions, and the offset all the same.
        """
        offset = torch.from_numpy(self.offset)
        known = {name: tensor.double() for name, tensor in unet.items()}
        weights = map_conditions(known, latent_channels, torch.from_numpy(self.matrix))
        conditions = known["conv_in.conv.weight"][:, latent_channels:]
        shifts = {"conv_in.conv.bias": torch.einsum("oixyz,i->o", conditions, offset)}
        for name in [each for each in known if each.endswith(".attn2.to_v.weight")]:
            out = name.replace("to_v.weight", "out_proj")
            shifts[f"{out}.bias"] = known[f"{out}.weight"] @ known[name] @ offset
        weights |= {name: weights[name] + shift for name, shift in shifts.items()}
        return {name: weights[name].to(tensor.dtype) for name, tensor in unet.items()}


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """Measure the volumes of heads of a model, and write it with those corrected.

    Args:
        model: a finished one, and where it computes.
        out: folder of the corrected one.
        number: of heads, two for each seed; twice as many give half the variance.
        network: measures volumes.
        overwrite: replace a model that is in `out`.

    Raises:
        UsageError: too few heads, a model without volumes among its conditions or with a value
            for no condition at all, or `out` has files.
    """

    model: Model
    out: Path
    network: Network
    number: int = 100
    overwrite: bool = False

    def run(
        self,
        progress: Callable[[int, int], None] = lambda done, total: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> Path:
        """Write the corrected model, and return its folder.

        Args:
            progress: called with how many heads are measured, and how many there are.
            say: takes a line for each volume: how it was followed.

        Raises:
            DataError: too many heads cannot be measured, or do not follow what is asked of them.
            BrainLDMError: as `BrainLDM.load` and `save_model`.
        """
        if self.number < FEWEST or self.number % 2:
            raise UsageError(
                f"number is {self.number}: expected {FEWEST} heads or more, an even number of them."
            )
        refuse_model(self.out, overwrite=self.overwrite)
        config = load_config(self.model.source)
        volumes = _volumes(config)
        make_folder(self.out.resolve().parent)
        model = BrainLDM.load(self.model)
        people, rows = [], []
        for seed in range(SEED, SEED + self.number // 2):
            for person in opposites(model.ranges, seed):
                people.append(person)
                rows.append(measured(self.network, model.generate([person], [seed])[0]))
                progress(len(rows), self.number)
        found = np.array(rows)
        there = np.isfinite(found[:, 0])
        if there.sum() < 0.9 * self.number:
            raise DataError(
                f"The segmenter measures {there.sum()} of {self.number} heads: expected nine in "
                "ten or more. Look at them in a viewer; train longer, or choose another "
                "--segmenter."
            )
        asked = model.ranges.normalise(people).astype(np.float64)
        of = [config.columns.index(each.name) for each in volumes]
        found = found[:, [VOLUMES.index(each.name) for each in volumes]]
        lines = list(_followed(volumes, asked[there][:, of], found[there]))
        each_of = zip(volumes, found.T, strict=True)
        scaled = np.column_stack([each.normalise(ml) for each, ml in each_of])
        whole = there.reshape(-1, 2).all(1)
        wanted, got = (each.reshape(len(whole), 2, -1)[whole] for each in (asked, scaled))
        correction = Correction.of(wanted, got, of)
        lines.append(
            f"corrected, its network is asked for values up to {correction.beyond:.0%} of a range "
            "outside what it was trained on"
        )
        for line in lines:
            say(line)
        self._write(correction, lines)
        return self.out

    def _write(self, correction: Correction, lines: Sequence[str]) -> None:
        loaded = load_model(self.model.source)
        config = loaded.config
        how = (
            f"volumes of {self.number} heads (seeds {SEED} to {SEED + self.number // 2 - 1}), "
            f"measured by {self.network.identity}"
        )
        provenance = {**config.provenance, "calibrated": how}
        text = [
            f"# {config.name}: calibrated",
            f"Made from the model `{loaded.hash}`: its conditions are corrected by the {how}.",
            "\n".join(f"- {line}" for line in lines),
            *(f"{key.replace('_', ' ')}: {value}" for key, value in config.provenance.items()),
        ]
        save_model(
            self.out,
            config.model_copy(update={"provenance": provenance}),
            loaded.autoencoder,
            correction.fold(loaded.unet, config.autoencoder.latent_channels),
            card="\n\n".join(text) + "\n",
            overwrite=self.overwrite,
        )


def opposites(ranges: ConditionRanges, seed: int) -> tuple[Conditions, Conditions]:
    """Two people, each drawn from the model's distributions, on either side of their medians."""
    uniform = np.random.default_rng(seed).random(len(ranges.variables))
    one, other = (
        {each.name: quantile(each, u) for each, u in zip(ranges.variables, side, strict=True)}
        for side in (uniform, 1 - uniform)
    )
    return Conditions.of(one), Conditions.of(other)


def _volumes(config: ModelConfig) -> list[Variable]:
    """The conditions that are measured."""
    volumes = [each for each in config.conditions if each.name in VOLUMES]
    if not volumes:
        raise UsageError(
            f"{config.name} has no volume among its conditions: expected {' or '.join(VOLUMES)}, "
            "which can be measured."
        )
    if config.null_context is not None:
        raise UsageError(
            f"{config.name} was trained with condition_dropout, and a correction would change "
            "what stands for no conditions, which guidance needs: expected a model without. Teach "
            "its guidance to its weights first (`guidance` of `brainldm train diffusion`)."
        )
    return volumes


def _followed(
    volumes: Sequence[Variable],
    asked: Float[NDArray[np.float64], "n m"],
    found: Float[NDArray[np.float64], "n m"],
) -> Iterator[str]:
    """How volumes, in mL, follow what was asked for, in [0, 1].

    Raises:
        DataError: one hardly does.
    """
    for variable, context, ml in zip(volumes, asked.T, found.T, strict=True):
        agree = agreement(variable.denormalise(context), ml)
        if agree.slope < WEAKEST:
            raise DataError(
                f"{variable.name} of generated heads follows what was asked for with a slope of "
                f"{agree.slope:.2f}: expected {WEAKEST:g} or more. Train longer, or with "
                "`emphasis`."
            )
        yield (
            f"{variable.name}: r {agree.r:.3f}, slope {agree.slope:.3f}, on the mean "
            f"{agree.bias:+.1f} mL"
        )
