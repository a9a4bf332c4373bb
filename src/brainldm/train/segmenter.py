"""The segmenter's stage: parts of simulated heads to structures and sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from brainldm.config import SegmenterConfig
from brainldm.image.labels import LabelImage
from brainldm.image.volume import Volume
from brainldm.models.segmenter import SegmentationNetwork, to_blocks
from brainldm.segment.labelled import Labelled, label
from brainldm.segment.measures import VOLUMES, error_of
from brainldm.segment.overlap import overlaps
from brainldm.segment.quality import Quality
from brainldm.segment.structures import (
    NUMBERS,
    PLACE_OF_NUMBER,
    SIDE_OF_NUMBER,
    SIDE_OF_TISSUE,
    STRUCTURE_OF_TISSUE,
    STRUCTURES,
)
from brainldm.simulate.priors import Priors
from brainldm.train.feed import Batch, Samples
from brainldm.train.label_pool import Head
from brainldm.train.phases import Course
from brainldm.train.pretend import draw_colours, scan
from brainldm.train.segmenter_loss import losses
from brainldm.train.segmenter_settings import Scans, SegmenterSettings
from brainldm.train.stage import Findings, Stage

PLAIN = Scans(
    random=0, stray=0, flip=False, rotate=0, scale=0, warp=0, strip=0, cut=0, coarse=0, blur=0.4,
    bias=0.15, noise=0.03, gamma=0.1, exposure=0,
)  # fmt: skip
"""How validation sees heads: as usual T1-weighted images."""

Keep = Callable[[nn.Module, int, Mapping[str, float]], None]
"""Takes the averaged network, the steps done, and the figures."""


class SegmenterStage(Stage):
    """Parts of simulated heads through the network.

    Args:
        model: to start from; its weights are changed.
        samples: to learn from.
        course: settings of the stage.
        held_out: heads to validate on.
        priors: of the label maps' intensities.
        keep: called with what each validation found.
    """

    def __init__(
        self,
        model: SegmentationNetwork,
        samples: Samples,
        course: Course[SegmenterSettings],
        held_out: Sequence[Callable[[], Head]],
        priors: Priors | None,
        keep: Keep,
    ) -> None:
        super().__init__({"segmenter": model.requires_grad_()}, samples, course)
        self.held_out, self.priors, self.keep = held_out, priors, keep

    def loss(
        self, name: str, networks: Mapping[str, nn.Module], batch: Batch, step: int
    ) -> dict[str, Tensor]:
        """Cross-entropy and Dice of structures, and cross-entropy of sides."""
        loss = self.course.at(step).settings.loss
        rows = voxel_rows(networks[name](batch["image"]))
        entropy, dice, side = losses(rows, _rows(batch["structures"]), _rows(batch["sides"]))
        return {
            "loss": entropy + loss.dice * dice + loss.side * side,
            "entropy": entropy,
            "dice": dice,
            "side": side,
        }

    def validate(self, network: nn.Module, step: int) -> Findings:
        """What is right of heads of held-out anatomies, as `judge` has it."""
        found = [
            judge(cast(SegmentationNetwork, network), head(), self.priors, number)
            for number, head in enumerate(self.held_out[: self.course.settings.run.validate_on])
        ]
        figures = {
            f"held-out/{name}": sum(each[name] for each in found) / len(found)
            for name in (found[0] if found else ())
        }
        self.keep(network, step, figures)
        return Findings(figures)


def judge(
    network: SegmentationNetwork, head: Head, priors: Priors | None, seed: int
) -> dict[str, float]:
    """What the network gets right of a head, through the same door as any other image.

    Returns:
        Dice of groups; of the voxels that have a side, the share that is found on it ("side"); and
        by how much each of `VOLUMES` is off, in mL (its name and "error").
    """
    rng = np.random.default_rng(seed)
    tissues, colours = torch.from_numpy(head.tissues), draw_colours(PLAIN, priors, rng)
    image = scan(tissues, head.counts, colours, PLAIN, rng).numpy()
    found, truth = label(Volume(image, np.eye(4)), network), truth_of(head)
    numbers, true = found.image.array, truth.image.array
    sides, true_sides = SIDE_OF_NUMBER[numbers], SIDE_OF_NUMBER[true]
    errors = np.abs(np.subtract(found.estimates.volumes, truth.estimates.volumes))
    return {
        **overlaps(PLACE_OF_NUMBER[numbers], PLACE_OF_NUMBER[true]),
        "side": float((sides == true_sides)[true_sides > 0].mean()),
        **{error_of(name): error for name, error in zip(VOLUMES, errors.tolist(), strict=True)},
    }


def truth_of(head: Head) -> Labelled:
    """What a perfect segmenter would say."""
    numbers = NUMBERS[STRUCTURE_OF_TISSUE, (SIDE_OF_TISSUE == 2).astype(int)][head.tissues]
    there, counts = np.unique(numbers, return_counts=True)
    volumes = dict(zip(there.tolist(), (counts / 1000).tolist(), strict=True))
    return Labelled(LabelImage(numbers, np.eye(4)), volumes, Quality(1.0, ()))


def voxel_rows(blocks: Float[Tensor, "b c x y z"]) -> Float[Tensor, "n k"]:
    """Scores in blocks, (B, 8 K, X, Y, Z), as a row for each voxel, (8 B X Y Z, K)."""
    return blocks.permute(0, 2, 3, 4, 1).reshape(-1, blocks.shape[1] // 8)


def _rows(labels: UInt8[Tensor, "b x y z"]) -> UInt8[Tensor, " n"]:
    """Labels in the order of `voxel_rows`."""
    return to_blocks(labels[:, None]).permute(0, 2, 3, 4, 1).reshape(-1)


def new_segmenter(settings: SegmenterSettings) -> SegmentationNetwork:
    """An untrained network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.training.seed)
        return SegmentationNetwork(architecture(settings))


def architecture(settings: SegmenterSettings) -> SegmenterConfig:
    """The network's configuration."""
    return SegmenterConfig(**settings.network.model_dump(), structures=len(STRUCTURES))
