"""The settings that the training loop asks for, whatever learns. Each says what it is."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from brainldm.train.phases import Course, Phase, keys

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(ge=0, lt=1)]
Shape = tuple[Positive, Positive, Positive]
Optimiser = Literal["adamw", "muon"]


class Settings(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Training(Settings):
    """How long and how fast; all of it decides what the weights become."""

    steps: Positive = Field(description="steps of the optimiser")
    batch_size: Positive = Field(default=1, description="samples a step, of all processes together")
    optimiser: Optimiser = Field(
        default="adamw", description="adamw, or muon: weights of layers take orthogonal steps"
    )
    learning_rate: Rate = Field(description="highest learning rate")
    warmup: Count = Field(
        default=0, description="steps over which the rate rises at the start of a phase"
    )
    fall: Fraction = Field(
        default=0, description="share of a phase's steps, its last, in which the rate falls to 0"
    )
    beta2: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.999, description="memory of AdamW's second moment"
    )
    weight_decay: Weight = Field(default=0, description="weight decay of AdamW")
    gradient_norm: Rate = Field(default=1, description="norm to which gradients are clipped")
    ema_decay: Part = Field(
        default=0,
        description="what the averaged weights keep at a step, less at the start; 0: no average",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="float32", description="of activations: auto, float32, bfloat16 or float16"
    )
    seed: Count = Field(default=0, description="seed of all that is drawn")


class Running(Settings):
    """How it is run, which changes the weights by no more than rounding."""

    micro_batch: Positive | None = Field(
        default=None, description="samples that a process takes at a time; null: all of its share"
    )
    checkpointing: bool = Field(
        default=False, description="compute activations twice instead of keeping them"
    )
    workers: Positive = Field(default=2, description="threads that read samples ahead")
    save_every: Positive = Field(default=500, description="steps between two states to resume from")
    validate_every: Positive = Field(default=1000, description="steps between two validations")
    validate_on: Positive = Field(
        default=16, description="held-out subjects looked at in a validation, at most"
    )
    samples: Positive = Field(
        default=16, description="heads that stage 2 generates in a validation"
    )
    sample_steps: Positive = Field(default=16, description="denoising steps for these")
    segmenter: str = Field(
        default="network",
        description="measures them, where volumes are conditions: network, none, or a folder",
    )
    voxel_mm: Rate | None = Field(
        default=None, description="size of the voxels that the settings are for; null: any"
    )
    tracker: str = Field(
        default="tensorboard", description="of Accelerate: tensorboard, wandb, ..., or none"
    )
    weights: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="precision in which the finished weights are saved"
    )


class StageSettings(Settings):
    """What all stages have."""

    fixed: ClassVar[tuple[str, ...]] = (
        *("network", "phases", "run"),
        *(f"training.{name}" for name in ("steps", "optimiser", "seed", "precision")),
    )
    """What holds for a whole run."""

    training: Training = Field(description="how long and how fast")
    phases: tuple[Phase, ...] = Field(
        default=(),
        description="parts of the run: each its share of the steps, and what differs in it",
    )
    run: Running = Field(default=Running(), description="how it is run")

    @model_validator(mode="after")
    def _check_phases(self) -> Self:
        for number, phase in enumerate(self.phases):
            for key in keys(phase.changes):
                if key in self.fixed:
                    raise ValueError(f"phases.{number}: {key} is the same in all phases")
        Course(self)
        return self
