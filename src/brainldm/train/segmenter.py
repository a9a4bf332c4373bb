"""The segmenter's stage: parts of simulated heads to structures and sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from brainldm.config import SegmenterConfig
from brainldm.models.segmenter import SegmentationNetwork, from_blocks, to_blocks
from brainldm.segment.overlap import overlaps
from brainldm.segment.structures import STRUCTURES
from brainldm.simulate.priors import Priors
from brainldm.train.feed import Batch, Samples
from brainldm.train.label_pool import Head
from brainldm.train.phases import Course
from brainldm.train.pretend import draw_colours, read_view, scan
from brainldm.train.segmenter_loss import losses
from brainldm.train.segmenter_samples import targets
from brainldm.train.segmenter_settings import Scans, SegmenterSettings
from brainldm.train.stage import Findings, Stage

AROUND = 12
"""Voxels around the inside of the skull that validation looks at."""
PLAIN = Scans(
    random=0, stray=0, flip=False, rotate=0, scale=0, strip=0, cut=0, coarse=0, blur=0.4,
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
        """Dice of groups of structures in held-out anatomies, seen whole."""
        found = [
            self._seen(network, head(), number)
            for number, head in enumerate(self.held_out[: self.course.settings.run.validate_on])
        ]
        figures = {
            f"held-out/{name}": sum(each[name] for each in found) / len(found)
            for name in (found[0] if found else ())
        }
        self.keep(network, step, figures)
        return Findings(figures)

    def _seen(self, network: nn.Module, head: Head, number: int) -> dict[str, float]:
        rng = np.random.default_rng(number)
        low, high = np.array(head.low), np.array(head.high)
        factor = self.networks["segmenter"].factor
        size = -(-(high - low + 2 * AROUND) // factor) * factor
        tissues = read_view(head.tissues, size.tolist(), np.eye(3), (low + high) / 2)
        colours = draw_colours(PLAIN, self.priors, rng)
        image = scan(tissues, head.counts, colours, PLAIN, rng)
        device = next(network.parameters()).device
        scores = from_blocks(network(torch.from_numpy(image)[None, None].to(device)))[0]
        truth = targets(tissues)
        lateral = truth["sides"] > 0
        right = (scores[-1].cpu() > 0)[lateral] == (truth["sides"] == 2)[lateral]
        found = scores[:-1].argmax(0).cpu().numpy()
        return {**overlaps(found, truth["structures"].numpy()), "side": right.float().mean().item()}


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
