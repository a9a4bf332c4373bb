"""Stage 2: the diffusion U-Net on the latents of stage 1 (Pinaya et al. 2022, 2209.07162).

It predicts the noise (Ho et al. 2020, 2006.11239) or the velocity v (Salimans and Ho 2022,
2202.00512) under a mean squared error. What the conditions explain of it is a thousandth, which two
things can bring out of the noise of training: subjects come with their twins, under the same noise,
so that what does not follow from the conditions cancels between the two; and voxels that the
conditions explain count more (the best prediction of a voxel does not depend on its weight).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from brainldm.models.norm import channels_last
from brainldm.models.unet import TransformerBlock, with_context
from brainldm.sampling.schedules import Schedule
from brainldm.train.draws import Draw
from brainldm.train.latents import Latents
from brainldm.train.settings import DiffusionSettings
from brainldm.train.stage import Batch, Findings, Stage

NULL_CONTEXT = -1.0
"""What all conditions are for a head of no conditions in particular: outside their [0, 1]."""
BANDS = 5
"""Of noise levels, in which the held-out loss is told apart."""

Look = Callable[[nn.Module], Findings]
"""Generates with the network, and looks at what comes."""


class DiffusionStage(Stage):
    """Latents, noise of all levels, and the conditions.

    Args:
        model: to start from; its weights are changed.
        latents: of all heads.
        scale: what they are multiplied by, to about unit variance.
        context: the conditions of each head in [0, 1], (N, V).
        learn: numbers of the heads to learn from; a subject and its twins one after another.
        held_out: numbers of those to validate on.
        names: of all heads, for messages.
        settings: of the stage.
        twins: how many heads in a row share noise and timestep.
        weight: how much each voxel counts, (X, Y, Z) of mean 1; evenly if None.
        look: at samples, when validating.
    """

    def __init__(
        self,
        model: nn.Module,
        latents: Latents,
        scale: float,
        context: Tensor,
        learn: Sequence[int],
        held_out: Sequence[int],
        names: Sequence[str],
        settings: DiffusionSettings,
        twins: int = 1,
        weight: Tensor | None = None,
        look: Look | None = None,
    ) -> None:
        super().__init__({"unet": model}, settings.training, settings.run)
        self.latents, self.scale, self.context = latents, scale, context
        self.learn, self.held_out, self.names = learn, held_out, names
        self.settings, self.twins = settings, twins
        self.weight, self.look = weight, look
        self.schedule = Schedule.of(settings.schedule)
        self.velocity = settings.schedule.prediction == "v"
        self.orientations = len(latents[0])

    def load(self, draw: Draw) -> Batch:
        """A subject and its twins under one noise: z0, noise, t and context, each (twins, ...)."""
        subject, orientation = self._which(draw)
        heads = [self.learn[subject * self.twins + i] for i in range(self.twins)]
        z0 = torch.stack([self.latents[head][orientation] for head in heads]) * self.scale
        # Evenly over the schedule within a step, so that the loss varies less.
        offset = torch.rand((), generator=draw.generator("time"), dtype=torch.float64).item()
        u = (draw.position + offset) / draw.of
        t = int(u**self.settings.timestep_power * self.schedule.num_train_timesteps)
        noise = torch.randn(z0.shape[1:], generator=draw.generator("noise"))
        context = self.context[heads]
        dropped = torch.rand((), generator=draw.generator("dropout")).item()
        if dropped < self.settings.condition_dropout:
            context = torch.full_like(context, NULL_CONTEXT)
        return {
            "z0": z0,
            "noise": noise.expand_as(z0),
            "t": torch.full((self.twins,), t),
            "context": context,
        }

    def subject(self, draw: Draw) -> str:
        """Whose latent that is."""
        return self.names[self.learn[self._which(draw)[0] * self.twins]]

    def loss(
        self, name: str, networks: Mapping[str, nn.Module], batch: Batch, step: int
    ) -> dict[str, Tensor]:
        """The weighted mean squared error."""
        z0, noise, t, context = (batch[k].flatten(0, 1) for k in ("z0", "noise", "t", "context"))
        errors = self._errors(networks[name], z0, noise, t, context)
        if self.weight is not None:
            errors = errors * self.weight.to(errors.device)
        if self.settings.min_snr is not None:
            weights = min_snr_weights(self.schedule, self.settings.min_snr, self.velocity)
            errors = errors * weights.to(errors.device)[t].view(-1, 1, 1, 1, 1)
        return {"loss": errors.mean()}

    @torch.no_grad()
    def validate(self, network: nn.Module, step: int) -> Findings:
        """The mean squared error of held-out heads by level of noise, and samples."""
        T = self.schedule.num_train_timesteps
        figures: dict[str, float] = {}
        heads = self.held_out[: self.run.validate_on]
        device = next(network.parameters()).device
        if heads:
            z0 = torch.stack([self.latents[head][0] for head in heads]) * self.scale
            noise = torch.stack(
                [
                    torch.randn(z0.shape[1:], generator=torch.Generator().manual_seed(h))
                    for h in heads
                ]
            )
            for band in range(BANDS):
                low, high = band * T // BANDS, (band + 1) * T // BANDS
                t = low + (torch.arange(len(heads)) * 2 + 1) * (high - low) // (2 * len(heads))
                batch = (each.to(device) for each in (z0, noise, t, self.context[list(heads)]))
                errors = []
                for one in zip(*batch, strict=True):
                    x, e, at, c = (each[None] for each in one)
                    errors.append(self._errors(network, x, e, at, c).mean().item())
                figures[f"held-out/loss t {low}-{high - 1}"] = sum(errors) / len(errors)
            figures["held-out/loss"] = sum(figures.values()) / BANDS
        seen = self.look(network) if self.look else Findings()
        return Findings({**figures, **seen.figures}, seen.pictures)

    def _which(self, draw: Draw) -> tuple[int, int]:
        """The subject and the orientation of its heads."""
        subjects = len(self.learn) // self.twins
        orientation, subject = divmod(draw.index(subjects * self.orientations), subjects)
        return subject, orientation

    def _errors(
        self, network: nn.Module, z0: Tensor, noise: Tensor, t: Tensor, context: Tensor
    ) -> Tensor:
        """Squared errors, (B, C, X, Y, Z)."""
        x, token = with_context(self.schedule.add_noise(z0, noise, t), context)
        target = self.schedule.v_target(z0, noise, t) if self.velocity else noise
        errors: Tensor = (network(channels_last(x), t, token).float() - target) ** 2
        return errors


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


def min_snr_weights(schedule: Schedule, gamma: float, velocity: bool) -> Tensor:
    """min(SNR, gamma) / SNR for epsilon, / (SNR + 1) for v (Hang et al. 2023, 2303.09556), (T,)."""
    snr = schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)
    return (snr.clamp(max=gamma) / (snr + 1 if velocity else snr)).float()


def explained_weight(latents: Tensor, context: Tensor) -> Tensor:
    """How much each voxel counts: half evenly, half by the variance that the conditions explain.

    Args:
        latents: (N, C, X, Y, Z).
        context: (N, V).

    Returns:
        (X, Y, Z), of mean 1.
    """
    factors = context - context.mean(0)
    values = (latents - latents.mean(0)).flatten(1)
    fit: Tensor = factors @ torch.linalg.lstsq(factors, values).solution
    explained = fit.var(0).view(latents.shape[1:]).sum(0)
    return (1 + explained / explained.mean()) / 2
