"""A training step of ours beside MONAI's networks in a plain loop, both stages.

Both start from the same random weights and see the same samples, noise and timesteps, with the same
loss, AdamW, clipping and average of weights; each side in a process of its own, in turns:

- reference: MONAI's networks and a loop of a page, which keeps its last state in a file;
- ours: `brainldm.train.fit`, as `brainldm train` runs it;
- memory options: the same with run.checkpointing=true and run.micro_batch=1.

Losses of the first steps tell whether both compute the same. Memory is the peak of the process,
and of that what came after the program was imported.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

SIDES = {
    "reference": (),
    "ours": (),
    "memory options": ("run.checkpointing=true", "run.micro_batch=1"),
}
SIZES = {  # preset, and the shape of a head
    "tiny": ("tiny", (16, 16, 16)),
    "demo": ("demo-2mm", (80, 112, 80)),
    "full": ("ukb-1mm", (160, 224, 160)),
}
BATCH = {"autoencoder": 2, "diffusion": 4}
TRAINING = {"learning_rate": 1e-4, "warmup": 0, "fall": 0, "ema_decay": 0.999}
WARM = 2
"""Steps at the start that are not counted, if there are more."""
CONDITIONS = 4
HEADS = 8


def main() -> None:
    """Run all sides in turns and print a table for each stage and precision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="demo")
    parser.add_argument("--stage", choices=["autoencoder", "diffusion", "both"], default="both")
    parser.add_argument("--precision", choices=["float32", "auto", "both"], default="both")
    parser.add_argument("--steps", type=int, help="default: 10, or 1 of the full size")
    parser.add_argument("--rounds", type=int, default=2, help="how often each side has its turn")
    parser.add_argument("--device", default="auto")
    chosen = parser.parse_args()
    steps = chosen.steps or (1 if chosen.size == "full" else 10)
    stages = ["autoencoder", "diffusion"] if chosen.stage == "both" else [chosen.stage]
    precisions = ["float32", "auto"] if chosen.precision == "both" else [chosen.precision]
    with tempfile.TemporaryDirectory() as folder:
        for stage in stages:
            # This process stays small: a child's peak starts from its parent's.
            run_side(folder, "prepare", stage, chosen.size, steps, chosen.device, "float32")
            for precision in precisions:
                task = (stage, chosen.size, steps, chosen.device, precision)
                turns = [
                    {name: run_side(folder, name, *task) for name in SIDES}
                    for _ in range(chosen.rounds)
                ]
                report(f"{stage}, {chosen.size}, {precision}", turns)


def run_side(folder: str, *arguments: Any) -> dict[str, Any]:
    """One side in a process of its own."""
    print(*arguments, "...", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "side", folder, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def report(title: str, turns: list[dict[str, dict[str, Any]]]) -> None:
    """Print a Markdown table with ratios to the reference, and how far the losses differ."""
    expected = turns[0]["reference"]["losses"]
    figures = {}
    for name in SIDES:
        seconds = [s for turn in turns for s in turn[name]["seconds"]]
        peak = max(turn[name]["peak"] for turn in turns)
        program = min(turn[name]["program"] for turn in turns)
        figures[name] = (statistics.median(seconds), peak, peak - program)
    print(f"\n| {title} | step (s) | peak memory (GB) | without the program (GB) | losses differ |")
    print("|---" * 5 + "|")
    for name, values in figures.items():
        cells = [f"{value:.3f}" for value in values]
        if name != "reference":
            ratios = zip(cells, values, figures["reference"], strict=True)
            cells = [f"{cell} ({value / base:.2f}x)" for cell, value, base in ratios]
        losses = zip(turns[0][name]["losses"], expected, strict=True)
        difference = max(abs(a - b) / abs(b) for a, b in losses)
        print(f"| {name} | " + " | ".join(cells) + f" | {difference:.1e} |")
    sys.stdout.flush()


def side(
    folder: Path, name: str, stage: str, size: str, steps: int, device: str, precision: str
) -> None:
    """Write the weights to start from, or train from them and print the figures as JSON."""
    import torch

    if name == "reference":
        import monai.networks.nets  # noqa: F401
    else:
        import accelerate  # noqa: F401

        import brainldm.train.run  # noqa: F401
    program = peak_memory()
    preset, shape = SIZES[size]
    changes = [f"training.{key}={value}" for key, value in TRAINING.items()]
    changes += [f"training.steps={steps}", f"training.batch_size={BATCH[stage]}"]
    changes += [f"training.precision={precision}", *SIDES.get(name, ())]
    task = (Autoencoder if stage == "autoencoder" else Diffusion)(preset, shape, changes)
    network = task.reference() if name == "reference" else task.ours()
    weights, state = folder / f"{stage}.pt", folder / f"{name}.state"
    if name == "prepare":
        torch.save(network.state_dict(), weights)
        print("{}")
        return
    network.load_state_dict(torch.load(weights, weights_only=True, mmap=True))
    run = plain_loop if name == "reference" else our_loop
    seconds, losses = run(task, network, device, state)
    state.unlink()
    print(
        json.dumps(
            {
                "seconds": seconds[WARM:] or seconds,
                "losses": losses,
                "program": program,
                "peak": peak_memory(),
            }
        )
    )


def peak_memory() -> float:
    """Of this process so far, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


class Autoencoder:
    """Stage 1, on random images, with L1 and KL."""

    def __init__(self, preset: str, shape: tuple[int, ...], changes: list[str]) -> None:
        from brainldm.train.settings import AutoencoderSettings, load_settings

        own = ["loss={}", "augment={}", "gentle_output=false"]
        self.settings = load_settings(preset, AutoencoderSettings, [*changes, *own])
        self.shape = shape

    def ours(self) -> Any:
        """Our network, with random weights."""
        from brainldm.train.autoencoder import new_autoencoder
        from brainldm.train.checkpointing import checkpoint_blocks

        network = new_autoencoder(self.settings.network, seed=0)
        if self.settings.run.checkpointing:
            checkpoint_blocks(network)
        return network

    def reference(self) -> Any:
        """The same of MONAI."""
        from monai.networks.nets import AutoencoderKL

        c = self.settings.network
        return AutoencoderKL(
            spatial_dims=3,
            **c.model_dump(),
            attention_levels=(False,) * len(c.channels),
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )

    def stage(self, network: Any) -> Any:
        """What learns from what."""
        import torch

        from brainldm.train.autoencoder import AutoencoderStage

        torch.manual_seed(1)
        heads, names = list(torch.rand(HEADS, 1, *self.shape)), ["random"] * HEADS
        affine = torch.eye(4).tolist()
        load = heads.__getitem__
        return AutoencoderStage(network, load, range(HEADS), (), names, self.settings, affine)

    def loss(self, network: Any, batch: dict[str, Any]) -> Any:
        """Of MONAI's network."""
        from torch.nn import functional as F

        image = batch["image"]
        mean, sigma = network.encode(image)
        reconstruction = network.decode(mean + sigma * batch["noise"]).float()
        mean, sigma = mean.float(), sigma.float()
        kl = 0.5 * (mean**2 + sigma**2 - 2 * sigma.log() - 1).sum() / len(image)
        return F.l1_loss(reconstruction, image) + self.settings.loss.kl * kl


class Diffusion:
    """Stage 2, on random latents."""

    def __init__(self, preset: str, shape: tuple[int, ...], changes: list[str]) -> None:
        from brainldm.train.settings import AutoencoderSettings, DiffusionSettings, load_settings

        own = ["flip=false", "explained_weight=false"]
        self.settings = load_settings(preset, DiffusionSettings, [*changes, *own])
        first = load_settings(preset, AutoencoderSettings).network
        self.config = self.settings.network.complete(first.latent_channels, CONDITIONS)
        self.shape = (first.latent_channels, *(side // first.factor for side in shape))

    def ours(self) -> Any:
        """Our network, with random weights also where they start at zero, hiding what is before."""
        import torch

        from brainldm.models.unet import DiffusionUNet
        from brainldm.train.checkpointing import checkpoint_blocks
        from brainldm.train.diffusion import learn_all_but_idle

        torch.manual_seed(0)
        network = learn_all_but_idle(DiffusionUNet(self.config))
        for parameter in network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.02)
        if self.settings.run.checkpointing:
            checkpoint_blocks(network)
        return network

    def reference(self) -> Any:
        """The same of MONAI."""
        from monai.networks.nets import DiffusionModelUNet

        settings = self.config.model_dump()
        return DiffusionModelUNet(
            spatial_dims=3,
            cross_attention_dim=settings.pop("context_dim"),
            **settings,
            resblock_updown=True,
            with_conditioning=True,
            upcast_attention=True,
        )

    def stage(self, network: Any) -> Any:
        """What learns from what."""
        import torch

        from brainldm.train.diffusion import DiffusionStage

        torch.manual_seed(1)
        latents: Any = list(torch.randn(HEADS, 1, *self.shape))
        context, names = torch.rand(HEADS, CONDITIONS), ["random"] * HEADS
        return DiffusionStage(
            network, latents, 1.0, context, range(HEADS), (), names, self.settings
        )

    def loss(self, network: Any, batch: dict[str, Any]) -> Any:
        """Of MONAI's network: epsilon or v."""
        import torch
        from torch.nn import functional as F

        z0, noise, t, context = (batch[key][:, 0] for key in ("z0", "noise", "t", "context"))
        c = self.settings.schedule
        betas = torch.linspace(c.beta_start**0.5, c.beta_end**0.5, c.num_train_timesteps) ** 2
        kept = (1 - betas.double()).cumprod(0).float().to(z0.device)[t].view(-1, 1, 1, 1, 1)
        x = kept.sqrt() * z0 + (1 - kept).sqrt() * noise
        target = (
            noise if c.prediction == "epsilon" else kept.sqrt() * noise - (1 - kept).sqrt() * z0
        )
        channels = context[:, :, None, None, None].expand(-1, -1, *z0.shape[2:])
        output = network(torch.cat([x, channels], 1), timesteps=t, context=context[:, None])
        return F.mse_loss(output.float(), target)


def our_loop(task: Any, network: Any, device: str, state: Path) -> tuple[list[float], list[float]]:
    """`fit`, as `brainldm train` calls it: seconds and loss of each step."""
    from brainldm.train.fit import accelerated, fit
    from brainldm.train.monitor import Monitor

    times, losses = [], []

    def progress(done: int, total: int, parts: Any) -> None:
        times.append(time.perf_counter())
        losses.extend(value for key, value in parts.items() if key.endswith("/loss"))

    with accelerated(task.settings.training, device) as accelerator:
        fit(task.stage(network), accelerator, state, Monitor(accelerator, progress))
    return [b - a for a, b in pairwise(times)], losses


def plain_loop(
    task: Any, network: Any, device_name: str, state: Path
) -> tuple[list[float], list[float]]:
    """What anyone would write around MONAI's networks."""
    import torch

    from brainldm.models.device import pick_device, pick_dtype
    from brainldm.train.draws import Draw

    training, device = task.settings.training, pick_device(device_name)
    dtype = pick_dtype(training.precision, device)
    network.to(device).train()
    average = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(
        network.parameters(),
        lr=training.learning_rate,
        betas=(0.9, training.beta2),
        weight_decay=training.weight_decay,
    )
    load = task.stage(network).load
    times, losses = [time.perf_counter()], []
    for step in range(training.steps):
        draws = [
            Draw(training.seed, step, i, training.batch_size) for i in range(training.batch_size)
        ]
        samples = [load(draw) for draw in draws]
        batch = {key: torch.stack([s[key] for s in samples]).to(device) for key in samples[0]}
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = task.loss(network, batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), training.gradient_norm)
        optimiser.step()
        decay = min(training.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, parameter in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(parameter, 1 - decay)
        losses.append(loss.item())
        times.append(time.perf_counter())
    content = {"average": average, "network": network, "optimiser": optimiser}
    torch.save({name: each.state_dict() for name, each in content.items()}, state)
    return [b - a for a, b in pairwise(times)], losses


if __name__ == "__main__":
    if sys.argv[1:2] == ["side"]:
        _, _, folder, *names, count, device, precision = sys.argv
        side(Path(folder), *names, int(count), device, precision)
    else:
        main()
