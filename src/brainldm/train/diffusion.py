"""Stage 2: the diffusion U-Net on the latents of stage 1 (Pinaya et al. 2022, 2209.07162).

It predicts the noise (Ho et al. 2020, 2006.11239), the velocity v (Salimans and Ho 2022,
2202.00512) or that of a straight flow (Liu et al. 2022, 2209.03003) under a mean squared error.
What the conditions explain of it is a thousandth, which two things can bring out of the noise of
training: heads that belong together come in pairs, under the same noise, so that what does not
follow from the conditions cancels between the two; and voxels that the conditions explain count
more (the best prediction of a voxel does not depend on its weight).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from brainldm.config import Variable
from brainldm.models.attention import TransformerBlock
from brainldm.models.norm import channels_last
from brainldm.models.unet import with_context
from brainldm.sampling.schedules import Schedule
from brainldm.train.feed import Batch, Samples
from brainldm.train.latents import Encoded
from brainldm.train.phases import Course
from brainldm.train.settings import DiffusionSettings
from brainldm.train.stage import Findings, Stage

BANDS = 5
"""Of noise levels, in which the held-out loss is told apart."""

Look = Callable[[nn.Module], Findings]
"""Generates with the network, and looks at what it made."""


@dataclass(frozen=True)
class Teacher:
    """A finished model, whose answers to conditions are learned, made stronger.

    Args:
        network: its U-Net.
        conditions: its conditions, in order.
        null_context: what all conditions are for a head of no conditions in particular.
    """

    network: nn.Module
    conditions: Sequence[Variable]
    null_context: float

    @torch.no_grad()
    def answer(
        self,
        z: Float[Tensor, "b c x y z"],
        t: Int[Tensor, " b"],
        context: Float[Tensor, "b v"],
        settings: DiffusionSettings,
    ) -> Float[Tensor, "b c x y z"]:
        """Its prediction, guided (2207.12598), and with what single conditions change of it made
        larger (as concepts are composed in 2206.01714).
        """
        network = self.network.to(z.device)

        def predict(context: Tensor) -> Tensor:
            x, token = with_context(z, context)
            output: Tensor = network(channels_last(x), t, token)  # a timestep for each sample
            return output.float()

        answer = plain = predict(context)
        if settings.guidance is not None:
            without = predict(torch.full_like(context, self.null_context))
            answer = without + settings.guidance * (plain - without)
        columns = [name for condition in self.conditions for name in condition.columns]
        known = {c.name: (columns.index(c.columns[0]), c) for c in self.conditions}
        for name, emphasis in settings.emphasis.items():
            (column, condition), other = known[name], context.clone()
            other[:, column] = condition.normalise(emphasis.against)
            for beside, rate in emphasis.along.items():
                at, moved = known[beside]
                ratio = rate * (condition.high - condition.low) / (moved.high - moved.low)
                other[:, at] -= ratio * (context[:, column] - other[:, column])
            answer = answer + (emphasis.strength - 1) * (plain - predict(other))
        return answer


class DiffusionStage(Stage):
    """Latents, noise of all levels, and the conditions.

    Args:
        model: to start from; its weights are changed.
        samples: to learn from, as `LatentSamples` gives them.
        course: settings of the stage.
        encoded: all heads.
        held_out: numbers of those to validate on.
        weight: how much each voxel counts, (X, Y, Z) of mean 1; evenly if None.
        look: at samples, when validating.
        teacher: whose answers are learned (Meng et al. 2022, 2210.03142), if the settings ask for
            guidance, emphasis or a centre.
        shift: of the heads that the teacher knows, on the latents' scale, (C, X, Y, Z).
    """

    def __init__(
        self,
        model: nn.Module,
        samples: Samples,
        course: Course[DiffusionSettings],
        encoded: Encoded,
        held_out: Sequence[int],
        weight: Float[Tensor, "x y z"] | None = None,
        look: Look | None = None,
        teacher: Teacher | None = None,
        shift: Float[Tensor, "c x y z"] | None = None,
    ) -> None:
        super().__init__({"unet": model}, samples, course)
        self.encoded, self.held_out = encoded, held_out
        self.weight, self.look, self.teacher, self.shift = weight, look, teacher, shift
        self.schedule = Schedule.of(course.settings.schedule)
        self.prediction = course.settings.schedule.prediction

    def loss(
        self, name: str, networks: Mapping[str, nn.Module], batch: Batch, step: int
    ) -> dict[str, Tensor]:
        """The weighted mean squared error."""
        z0, noise, t, context = (batch[k].flatten(0, 1) for k in ("z0", "noise", "t", "context"))
        settings: DiffusionSettings = self.course.at(step).settings
        errors = self._errors(networks[name], z0, noise, t, context, settings)
        if self.weight is not None:
            errors = errors * self.weight.to(errors.device)
        if settings.min_snr is not None:
            weights = min_snr_weights(self.schedule, settings.min_snr, self.prediction)
            errors = errors * weights.to(errors.device)[t].view(-1, 1, 1, 1, 1)
        return {"loss": errors.mean()}

    @torch.no_grad()
    def validate(self, network: nn.Module, step: int) -> Findings:
        """The mean squared error of held-out heads by level of noise, and samples."""
        T = self.schedule.num_train_timesteps
        figures: dict[str, float] = {}
        heads = self.held_out[: self.course.settings.run.validate_on]
        device = next(network.parameters()).device
        if heads:
            z0 = torch.stack([self.encoded.z0(head) for head in heads])
            noise = torch.stack(
                [
                    torch.randn(z0.shape[1:], generator=torch.Generator().manual_seed(h))
                    for h in heads
                ]
            )
            context = self.encoded.context[list(heads)]
            for band in range(BANDS):
                low, high = band * T // BANDS, (band + 1) * T // BANDS
                t = low + (torch.arange(len(heads)) * 2 + 1) * (high - low) // (2 * len(heads))
                batch = (each.to(device) for each in (z0, noise, t, context))
                errors = []
                for one in zip(*batch, strict=True):
                    x, e, at, c = (each[None] for each in one)
                    errors.append(self._errors(network, x, e, at, c).mean().item())
                figures[f"held-out/loss t {low}-{high - 1}"] = sum(errors) / len(errors)
            figures["held-out/loss"] = sum(figures.values()) / BANDS
        seen = self.look(network) if self.look else Findings()
        return Findings({**figures, **seen.figures}, seen.pictures)

    def _errors(
        self,
        network: nn.Module,
        z0: Float[Tensor, "b c x y z"],
        noise: Float[Tensor, "b c x y z"],
        t: Int[Tensor, " b"],
        context: Float[Tensor, "b v"],
        settings: DiffusionSettings | None = None,
    ) -> Float[Tensor, "b c x y z"]:
        """Squared errors, of the teacher's answers if the settings ask for a teacher."""
        z = self.schedule.add_noise(z0, noise, t)
        if self.teacher and settings and settings.taught:
            target = self._taught(self.teacher, z, t, context, settings)
        else:
            target = self._target(z0, noise, t)
        x, token = with_context(z, context)
        errors: Tensor = (network(channels_last(x), t, token).float() - target) ** 2
        return errors

    def _target(
        self,
        z0: Float[Tensor, "b c x y z"],
        noise: Float[Tensor, "b c x y z"],
        t: Int[Tensor, " b"],
    ) -> Float[Tensor, "b c x y z"]:
        """What the network's output is of a latent and its noise."""
        if self.prediction == "v":
            return self.schedule.v_target(z0, noise, t)
        return noise - z0 if self.prediction == "flow" else noise

    def _taught(
        self,
        teacher: Teacher,
        z: Float[Tensor, "b c x y z"],
        t: Int[Tensor, " b"],
        context: Float[Tensor, "b v"],
        settings: DiffusionSettings,
    ) -> Float[Tensor, "b c x y z"]:
        """The teacher's answer; if all heads are to move, the one that it has where they were.

        z = alpha z0 + sigma noise, and z0 alone moves: the output is linear in both.
        """
        if self.shift is None:
            return teacher.answer(z, t, context, settings)
        shift = self.shift.to(z.device).expand_as(z)
        none = torch.zeros_like(z)
        before = z - self.schedule.add_noise(shift, none, t)
        return teacher.answer(before, t, context, settings) + self._target(shift, none, t)


def learn_all_but_idle(model: nn.Module) -> nn.Module:
    """Let every parameter learn that has a gradient.

    The cross-attention's softmax over one token is 1, so that its queries, keys and their norm do
    nothing; several processes would wait for their gradients in vain.
    """
    model.requires_grad_()
    for module in model.modules():
        if isinstance(module, TransformerBlock):
            for idle in (module.attn2.to_q, module.attn2.to_k, module.norm2):
                idle.requires_grad_(False)
    return model


def min_snr_weights(schedule: Schedule, gamma: float, prediction: str) -> Float[Tensor, " t"]:
    """How much errors count at each timestep, (T,): those of x0 by min(SNR, gamma).

    That is min(SNR, gamma) / SNR for epsilon, / (SNR + 1) for v (Hang et al. 2023, 2303.09556), and
    / (sqrt(SNR) + 1)^2 for a flow, whose error is that of x0 times (alpha + sigma) / sigma.
    """
    snr = schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)
    over = {"epsilon": snr, "v": snr + 1, "flow": (snr.sqrt() + 1) ** 2}
    return (snr.clamp(max=gamma) / over[prediction]).float()


def explained_weight(encoded: Encoded, heads: Sequence[int]) -> Float[Tensor, "x y z"]:
    """How much each voxel counts: half evenly, half by the variance that the conditions explain.

    That is found by linear regression, of which a latent at a time is in memory.

    Args:
        encoded: all heads.
        heads: numbers of those to learn from.

    Returns:
        (X, Y, Z), of mean 1; 1 everywhere where the conditions explain nothing: of one head, say.
    """
    context = encoded.context[list(heads)].double()
    factors = context - context.mean(0)
    solution = torch.zeros(factors.shape[1], encoded.z0(heads[0]).numel(), dtype=torch.float64)
    for head, row in zip(heads, torch.linalg.pinv(factors, atol=1e-9).T, strict=True):
        sides = range(encoded.latents.orientations)
        z0 = torch.stack([encoded.z0(head, side) for side in sides]).mean(0)
        solution += row[:, None] * z0.flatten().double()
    explained = ((factors.T @ factors @ solution) * solution).sum(0)
    by_voxel = explained.view(encoded.z0(heads[0]).shape).sum(0)
    mean = by_voxel.mean()
    relative = by_voxel / mean if mean > 0 else torch.ones_like(by_voxel)
    return ((1 + relative) / 2).float()
