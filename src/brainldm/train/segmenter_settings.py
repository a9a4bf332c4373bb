"""The settings of the segmenter; `--dry-run` prints what each is beside its value."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from brainldm.config.base import Few
from brainldm.train.loop_settings import (
    Fraction,
    Part,
    Positive,
    Settings,
    Shape,
    StageSettings,
    Weight,
)


class Architecture(Settings):
    """The network but for its structures, which are the package's."""

    channels: tuple[Positive, ...] = Field(
        default=(24, 48, 96, 128),
        min_length=1,
        description="channels of each level, from blocks of 2 x 2 x 2 voxels to coarse",
    )
    blocks: tuple[Few, ...] = Field(
        default=(1, 1, 2, 2), description="residual blocks of each level, on the way down"
    )
    norm_num_groups: Positive = Field(default=8, description="groups of a norm")


class Scans(Settings):
    """What is drawn anew each time a head is seen: where it lies, and how a scanner shows it."""

    random: Fraction = Field(
        default=0.05, description="share of the images in which tissues have any brightness"
    )
    stray: Fraction = Field(
        default=0.2, description="how far the others may stray from T1-weighted towards that"
    )
    flip: bool = Field(default=True, description="mirror heads, left and right")
    rotate: Weight = Field(
        default=15, description="deviation of the rotation about each axis, in degrees"
    )
    scale: Part = Field(default=0.08, description="deviation of the scale along each axis")
    warp: Weight = Field(
        default=2, description="most deviation of a smooth displacement of each axis, in mm"
    )
    beyond: Fraction = Field(
        default=0.15, description="part of a view that may lie beyond the inside of the skull"
    )
    strip: Fraction = Field(default=0.2, description="share of the images without skull")
    cut: Fraction = Field(default=0.2, description="share of the heads that are cut at a plane")
    coarse: Fraction = Field(default=0.3, description="share of the images of larger voxels")
    slice_mm: Annotated[float, Field(ge=1)] = Field(
        default=6, description="their thickest slices in mm"
    )
    plane_mm: Annotated[float, Field(ge=1)] = Field(
        default=2.5, description="their largest voxels within a slice in mm; cubes in half of them"
    )
    blur: Weight = Field(default=0.7, description="most blur beyond that of the voxels, in mm")
    bias: Weight = Field(
        default=0.3, description="most deviation of the logarithm of the bias field"
    )
    noise: Weight = Field(
        default=0.06, description="most noise of each channel of a magnitude image"
    )
    gamma: Weight = Field(default=0.3, description="deviation of the logarithm of a power")
    exposure: Part = Field(default=0.2, description="a factor on intensities, within 1 +- this")


class Loss(Settings):
    """The parts beside the cross-entropy of structures, which counts 1."""

    dice: Weight = Field(default=1, description="weight of 1 - Dice, the mean over structures")
    side: Weight = Field(default=0.3, description="weight of the cross-entropy of sides")


class SegmenterSettings(StageSettings):
    """The segmenter."""

    fixed = (*StageSettings.fixed, "subjects")

    network: Architecture = Field(default=Architecture(), description="the network's architecture")
    subjects: Positive = Field(
        default=216, description="subjects deformed from the anatomies, to learn from"
    )
    loss: Loss = Field(default=Loss(), description="what it minimises")
    scans: Scans = Field(default=Scans(), description="what is drawn anew each time a head is seen")
    crop: Shape = Field(description="size of the part of a head to see, in voxels of 1 mm")


class SegmenterPreset(Settings):
    """The segmenter alone."""

    segmenter: SegmenterSettings
