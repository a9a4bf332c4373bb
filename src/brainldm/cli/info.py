"""`brainldm info`: what a model is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from brainldm.cli.options import Device, ModelName
from brainldm.config import Bernoulli, Categorical, LogNormal, ModelConfig, Normal, Variable


@dataclass(frozen=True, kw_only=True)
class Info:
    """Say what a model is: size, ranges in units, geometry, provenance, licence."""

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm info",
        "brainldm info --model published --estimate",
    )

    model: ModelName = "demo"
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate", help="Say only how much memory a head needs, and how much is available."
        ),
    ] = False
    device: Device = "auto"

    def run(self) -> None:
        """Print it."""
        from brainldm.checkpoint import load_config

        config = load_config(self.model)
        lines = _estimates(config, self.device) if self.estimate else _describe(config)
        for line in lines:
            typer.echo(line)


def _estimates(config: ModelConfig, device_name: str) -> Iterator[str]:
    from brainldm.models.device import pick_device, pick_dtype
    from brainldm.models.memory import available, estimate

    device = pick_device(device_name)
    auto = pick_dtype("auto", device)
    yield f"{config.name} on {device}: the most memory at any time, to about a fifth"
    for dtype in dict.fromkeys((auto, pick_dtype("float32", device))):
        name = str(dtype).removeprefix("torch.") + (" (the default)" if dtype == auto else "")
        normal, low = (estimate(config, dtype, mode) / 1e9 for mode in ("normal", "low"))
        yield f"  {name}: {normal:.1f} GB, {low:.1f} GB with --memory low"
    free = available(device)
    yield "  available: " + ("unknown" if free is None else f"{free / 1e9:.1f} GB")


def _describe(config: ModelConfig) -> Iterator[str]:
    yield config.name
    for key, value in config.provenance.items():
        yield f"  {key.replace('_', ' ')}: {value}"

    yield "\nSize"
    for network, count in _parameters(config).items():
        yield f"  {network}: {count:,} parameters, {4 * count / 1e6:,.1f} MB in float32"

    yield "\nConditions: range (0 to 1 normalised), and what is drawn when left out"
    for variable in config.conditions:
        yield f"  {variable.name}: {_range(variable)}"
        yield f"    drawn: {_distribution(variable)}; {variable.distribution.source}"

    yield "\nGeometry (MNI152 space, RAS+, mm)"
    yield f"  voxels: {' x '.join(map(str, config.shape))}"
    for row in config.affine[:3]:
        yield "  affine: " + " ".join(f"{value:13.8f}" for value in row)
    yield f"  latent: {' x '.join(map(str, config.latent.shape))}, scale {config.latent.scale:g}"

    schedule = config.schedule
    yield "\nNoise"
    yield (
        f"  {schedule.num_train_timesteps} steps, {schedule.kind}, beta {schedule.beta_start:g} to "
        f"{schedule.beta_end:g}, {schedule.prediction} prediction"
    )
    yield f"  sampled with {config.sampler} unless another is asked for"

    yield "\nWeights (SHA-256)"
    for name, digest in config.weights.items():
        yield f"  {name}: {digest}"


def _range(variable: Variable) -> str:
    if variable.labels and len(variable.labels) > 2:
        return " or ".join(variable.labels)
    if variable.labels:
        return f"{variable.labels[0]} (0) or {variable.labels[1]} (1)"
    return f"{variable.low:g} to {variable.high:g} {variable.unit}"


def _distribution(variable: Variable) -> str:
    match variable.distribution:
        case Bernoulli(probability=probability) if variable.labels:
            return f"{variable.labels[1]} with probability {probability:g}"
        case Categorical(probabilities=chances) if variable.labels:
            each = zip(variable.labels, chances, strict=True)
            return ", ".join(f"{label} with probability {chance:.3g}" for label, chance in each)
        case Normal(mean=mean, sd=sd):
            return f"normal, {mean:g} +- {sd:g} {variable.unit}"
        case LogNormal(median=median, sd=sd):
            return f"lognormal, median {median:g} {variable.unit}, log sd {sd:g}"
        case _:
            return "uniform"


def _parameters(config: ModelConfig) -> dict[str, int]:
    import torch

    from brainldm.models.autoencoder import AutoencoderKL
    from brainldm.models.unet import DiffusionUNet

    with torch.device("meta"):  # shapes without memory
        networks = {
            "autoencoder": AutoencoderKL(config.autoencoder),
            "diffusion U-Net": DiffusionUNet(config.unet),
        }
    return {
        name: sum(parameter.numel() for parameter in network.parameters())
        for name, network in networks.items()
    }
