"""A segmenter that is quick to train, on a phantom in the place of the template."""

from __future__ import annotations

from pathlib import Path

from brainldm.simulate.sources import Source
from brainldm.train.monitor import Progress
from brainldm.train.presets import SEGMENTER, load_settings
from brainldm.train.segmenter_settings import SegmenterSettings
from brainldm.train.train_segmenter import TrainSegmenter
from tests.phantoms import phantom

TINY = (
    *("network={channels: [8, 8], blocks: [1, 1]}", "subjects=2", "crop=[32, 32, 32]"),
    *("training.steps=6", "training.warmup=1", "phases=[]"),
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
