"""Which model, and how it is sampled: two choices that all verbs have in common.

Both are plain values, which can be written down, compared and sent to another process. What a model
cannot do is refused from its configuration, before weights are loaded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from brainldm.checkpoint import load_config
from brainldm.config import ModelConfig
from brainldm.errors import ModelError, UsageError
from brainldm.sampling.schedules import Schedule
from brainldm.sampling.solvers import DDIM, Solver, pick_solver


@dataclass(frozen=True, kw_only=True)
class Model:
    """Which model, and where it computes; `BrainLDM.load` loads it.

    Args:
        source: "demo" (ships with the package), "published" (what `brainldm download` fetched), or
            a directory with a model's files: brainldm's own or the published ones.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1" or "mps".
        dtype: "auto" (half precision where the processor has it), "float32", "bfloat16" or
            "float16".
        memory: "auto" (normal where that fits), "normal" or "low".
        compile: compile the U-Net when it is first called, on a GPU into CUDA graphs.
    """

    source: str | Path = "demo"
    device: str = "auto"
    dtype: str = "auto"
    memory: str = "auto"
    compile: bool = False

    def config(self) -> ModelConfig:
        """What the model is, without its weights.

        Raises:
            BrainLDMError: no such model, or its configuration is damaged.
        """
        return load_config(self.source)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How latents are sampled.

    Args:
        sampler: "unipc", "dpm++2m", "dpm++2m-sde", "ddim", "ddpm", or a solver; None is the
            model's own.
        steps: denoising steps; None takes as many as are usual for the sampler.
        guidance: how far the conditions are followed: 1 as trained, 0 not at all, more than 1
            beyond. Other than 1 needs a model trained with condition dropout, and twice the time.
        eta: noise that ddim adds at each step, from 0 (none) to 1 (as much as ddpm); None leaves
            it to the sampler.
        extrapolate: accept conditions outside the model's ranges.
    """

    sampler: str | Solver | None = None
    steps: int | None = None
    guidance: float = 1.0
    eta: float | None = None
    extrapolate: bool = False

    def solver(self, config: ModelConfig) -> Solver:
        """What walks the noise of a model down.

        Raises:
            UsageError: an unknown sampler, or an eta that it does not take.
        """
        sampler = config.sampler if self.sampler is None else self.sampler
        if self.eta is None:
            return pick_solver(sampler)
        if sampler != DDIM.name:
            name = sampler.name if isinstance(sampler, Solver) else sampler
            raise UsageError(
                f"eta is {self.eta:g}, and the sampler {name} has none: leave it out, or choose "
                "the sampler ddim."
            )
        return DDIM(eta=self.eta)

    def number_of_steps(self, config: ModelConfig) -> int:
        """Denoising steps: those asked for, or the usual ones."""
        return self.solver(config).usual_steps if self.steps is None else self.steps

    def check(self, config: ModelConfig) -> None:
        """Refuse what a model cannot do.

        Raises:
            UsageError: an unknown sampler, or an eta, steps or a guidance that are not possible.
            ModelError: guidance of a model that always had conditions.
        """
        steps, spacing = self.number_of_steps(config), self.solver(config).spacing
        Schedule.of(config.schedule).timesteps(steps, spacing)
        if not math.isfinite(self.guidance):
            raise UsageError(f"guidance is {self.guidance}: expected a finite number, such as 1.5.")
        if self.guidance != 1 and config.null_context is None:
            raise ModelError(
                f"guidance is {self.guidance:g}, but {config.name} was trained without condition "
                "dropout: expected 1. Leave it out, or train a model with condition_dropout=0.1."
            )

    def describe(self, config: ModelConfig) -> dict[str, str | float]:
        """What a record says: the solver's name and parameters, steps and guidance."""
        solver, steps = self.solver(config), self.number_of_steps(config)
        return {**solver.describe(), "steps": steps, "guidance": self.guidance}
