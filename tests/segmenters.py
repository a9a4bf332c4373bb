"""A segmenter that is quick to train, on a phantom in the place of the template."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brainldm.config import SegmenterConfig
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.models.segmenter import SegmentationNetwork, to_blocks
from brainldm.segment.structures import STRUCTURES
from brainldm.segment.weights import Description, save_segmenter
from brainldm.simulate.sources import Source
from brainldm.train.monitor import Progress
from brainldm.train.presets import SEGMENTER, load_settings
from brainldm.train.segmenter_settings import SegmenterSettings
from brainldm.train.train_segmenter import TrainSegmenter
from tests.phantoms import phantom

TINY = (
    *("network={channels: [8, 8], blocks: [1, 1]}", "subjects=2", "crop=[32, 32, 32]"),
    *("training.steps=6", "training.batch_size=1", "phases=[]"),
    *("run.save_every=2", "run.validate_every=3"),
)


def cache_with_phantom(folder: Path) -> Path:
    """A cache that has a phantom in the place of the template."""
    phantom().save(Source("template", None).file(folder / "anatomies"))
    return folder


def settings(*changes: str) -> SegmenterSettings:
    """Of a few steps of a tiny network."""
    return load_settings(str(SEGMENTER), SegmenterSettings, [*TINY, *changes])


def train(cache: Path, out: Path, *changes: str, progress: Progress | None = None) -> Path:
    """A run."""
    return TrainSegmenter(
        label_maps=None, settings=settings(*changes), out=out, device="cpu", cache=cache
    ).run(progress)


def write_random(folder: Path) -> Path:
    """A segmenter that has learned nothing."""
    config = SegmenterConfig(channels=(8, 8), blocks=(1, 1), structures=len(STRUCTURES))
    torch.manual_seed(0)
    network = SegmentationNetwork(config)
    nn.init.normal_(network.conv_out.conv.weight, std=0.02)
    save_segmenter(folder, network.state_dict(), Description(network=config, steps=0, of=1), "")
    return folder


class Thresholds(nn.Module):
    """In the place of the network: fluid, grey and white matter by intensity, sides by place.

    Args:
        score: of what it finds; a low one is uncertain.
    """

    factor = 8

    def __init__(self, score: float = 20.0) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.tensor(score))

    def forward(self, x: Tensor) -> Tensor:
        structures = torch.bucketize(x[:, 0].contiguous(), torch.tensor(EDGES))
        found = torch.tensor(FOUND)[structures]
        scores = self.score * nn.functional.one_hot(found, len(STRUCTURES)).movedim(-1, 1)
        places = torch.arange(x.shape[2]).view(1, -1, 1, 1).expand_as(found)
        middle = places[found > 0].float().mean()
        return to_blocks(torch.cat([scores, (places - middle)[:, None].float()], dim=1))


EDGES = (0.12, 0.35, 0.65, 0.9)
FOUND = (0, 3, 2, 1, 0)
"""Background, lateral ventricle, cortex, white matter, and what is brighter."""
SHOWN = {1: 0.8, 2: 0.5, 3: 0.25}
"""What shows a structure, by its place in `STRUCTURES`."""


def show(structures: NDArray[np.integer], grid: Grid) -> Volume:
    """An image in which `Thresholds` finds these structures; its corner fixes the scale."""
    image = np.zeros(structures.shape, np.float32)
    for place, intensity in SHOWN.items():
        image[structures == place] = intensity
    return Volume(image, grid.matrix)
