"""A brain from noise: brainldm beside the reference, in one run.

    python benchmarks/brain.py                 # a reduced size, minutes
    python benchmarks/brain.py --size full     # the published size, under an hour on two cores

The reference is MONAI's networks and DDIM scheduler, wired as the published bundle wires them.
Both start from the same random weights, noise and conditions, each in a process of its own:

- float32: the same sampler and steps, computed exactly;
- auto: the same in the precision that we choose by default, and "low memory" with that option;
- default: our own sampler and steps as well.

The decoders are compared on the reference's latent, so that one figure does not hide the other.
Operations over the peak of the machine, measured on products of large matrices, limit each part.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
CONDITIONS = (1.0, 0.7, 0.7, 0.5)
REDUCED = {"channels": (128, 256, 384), "num_head_channels": (0, 256, 384)}


def main() -> None:
    """Run both sides and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=["reduced", "full"], default="reduced")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folder", type=Path, help="keep weights and results here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        prepare(folder, arguments.size)
        results = {
            name: run_side(folder, name, arguments.steps, arguments.device)
            for name in ("reference", "float32", "auto", "low memory", "default")
        }
        report(folder, results)
        limits(folder, arguments.device, results)


def prepare(folder: Path, size: str) -> None:
    """Write random weights as both sides read them, and the noise."""
    import torch

    from brainldm.checkpoint import convert, save_model
    from brainldm.config import published_config
    from brainldm.models.autoencoder import AutoencoderKL
    from brainldm.models.unet import DiffusionUNet

    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "noise.pt").exists():
        return
    config = published_config()
    if size == "reduced":
        latent = config.latent.model_copy(update={"shape": (3, 12, 16, 12)})
        config = config.model_copy(
            update={
                "latent": latent,
                "shape": (96, 128, 96),
                "unet": config.unet.model_copy(update=REDUCED),
            }
        )
    torch.manual_seed(0)
    networks = AutoencoderKL(config.autoencoder), DiffusionUNet(config.unet)
    for network in networks:
        for parameter in network.parameters():
            if not parameter.any():  # layers that start at zero would hide what is before them
                torch.nn.init.normal_(parameter, std=0.02)
    save_model(folder / "ours", config, *(network.state_dict() for network in networks))
    convert(folder / "ours", folder / "reference", "monai")
    torch.save(torch.randn(1, *config.latent.shape), folder / "noise.pt")


def run_side(folder: Path, name: str, steps: int, device: str) -> dict[str, Any]:
    """One side in a process of its own."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "side", str(folder), name, str(steps), device]
    start = {**os.environ, "BENCHMARK_START": repr(time.time())}
    done = subprocess.run(command, env=start, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


class Clock:
    """Seconds between its calls, after all work on the device is done."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.last = float(os.environ.get("BENCHMARK_START", "0"))

    def __call__(self) -> float:
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.time()
        passed, self.last = now - self.last, now
        return passed


def side(folder: Path, name: str, steps: int, device_name: str) -> None:
    """Load, denoise, decode; print the figures as JSON and keep the results."""
    import torch

    from benchmarks.reference import Reference
    from brainldm.models.device import pick_device

    device = pick_device(device_name)
    clock = Clock(device)
    noise = torch.load(folder / "noise.pt", weights_only=True)
    seconds: dict[str, Any] = {}
    with torch.inference_mode():
        runner = Reference(folder, device) if name == "reference" else Ours(folder, device, name)
        seconds["load"] = clock()
        each: list[float] = []
        x = runner.brain(noise, steps, CONDITIONS, lambda: each.append(clock()))
        seconds["decode"] = clock()
        seconds["denoise"], seconds["step"] = sum(each), statistics.median(each)
        seconds["brain"] = seconds["load"] + seconds["denoise"] + seconds["decode"]
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        torch.save(x.float().cpu(), folder / f"{name}-image.pt")
        if name == "reference":
            torch.save(runner.latent.cpu(), folder / "reference-latent.pt")
        elif name != "default":
            z = torch.load(folder / "reference-latent.pt", weights_only=True)
            torch.save(runner.model.decode(z).cpu(), folder / f"{name}-decoded.pt")
    figures = {f"{key} (s)": value for key, value in seconds.items()}
    figures["peak memory (GB)"] = memory
    if device.type == "cuda":
        figures["on the GPU (GB)"] = torch.cuda.max_memory_allocated(device) / 1e9
    print(json.dumps(figures))


class Ours:
    """The same through the pipeline."""

    def __init__(self, folder: Path, device: Any, name: str) -> None:
        from brainldm import BrainLDM

        dtype = "float32" if name == "float32" else "auto"
        memory = "low" if name == "low memory" else "normal"
        self.own = name == "default"
        self.model = BrainLDM.from_pretrained(
            folder / "ours", device=str(device), dtype=dtype, memory=memory
        )

    def brain(self, z: Any, steps: int, conditions: Any, on_step: Callable[[], None]) -> Any:
        """DDIM, or our default sampler and steps."""
        import torch

        from brainldm import Conditions

        sex, age, ventricles, brain = conditions
        person = Conditions.from_normalised(
            sex=sex, age=age, ventricular_volume=ventricles, brain_volume=brain
        )
        setting = {} if self.own else {"sampler": "ddim", "steps": steps}

        def progress(done: int, total: int, phase: str) -> None:
            if phase == "denoise":
                on_step()

        [volume] = self.model.generate(person, noise=z, clip=False, progress=progress, **setting)
        return torch.from_numpy(volume.array)[None, None]


def report(folder: Path, results: dict[str, dict[str, Any]]) -> None:
    """Print a Markdown table of figures, ratios to the reference, and differences from it."""
    import torch

    from brainldm.metrics.similarity import psnr

    def load(name: str) -> Any:
        return torch.load(folder / f"{name}.pt", weights_only=True)

    reference = results["reference"]
    print("| | " + " | ".join(reference) + " |")
    print("|---" * (len(reference) + 1) + "|")
    for name, figures in results.items():
        cells = [
            f"{figures[key]:.2f}"
            + ("" if name == "reference" else f" ({reference[key] / figures[key]:.2f}x)")
            for key in reference
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")
    image = load("reference-image")
    for name in ("float32", "auto", "low memory"):
        brain, decoded = load(f"{name}-image"), load(f"{name}-decoded")
        spread = (image.max() - image.min()).item()
        print(
            f"{name}: the image differs by {relative(brain, image):.1e} of its norm, the same "
            f"latent decoded by {relative(decoded, image):.1e}, PSNR "
            f"{psnr(decoded / spread, image / spread):.1f} dB"
        )


def limits(folder: Path, device_name: str, results: dict[str, dict[str, Any]]) -> None:
    """Print how far each part is from what the machine could do."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from brainldm.checkpoint import load_config
    from brainldm.models.autoencoder import AutoencoderKL, Upsample
    from brainldm.models.device import pick_device, pick_dtype
    from brainldm.models.unet import DiffusionUNet

    config, device = load_config(folder / "ours"), pick_device(device_name)
    with torch.device("meta"), FlopCounterMode(display=False, depth=9) as counter:
        autoencoder, unet = AutoencoderKL(config.autoencoder), DiffusionUNet(config.unet)
        z = torch.empty(1, *config.latent.shape)
        autoencoder.decode(z)
        decode = counter.get_total_flops()
        unet(
            torch.cat([z, z[:, :1].expand(-1, 4, -1, -1, -1)], 1),
            z.new_ones(1),
            z.new_ones(1, 1, 4),
        )
        step = counter.get_total_flops() - decode
    counts = counter.get_flop_counts()
    upsampling = sum(
        sum(counts[f"Stack.blocks.{i}"].values())
        for i, block in enumerate(autoencoder.decoder.blocks)
        if isinstance(block, Upsample)
    )
    folded = decode - upsampling * 19 // 27  # 8 of 27 products are left
    for name, dtype in (("float32", torch.float32), ("auto", pick_dtype("auto", device))):
        peak = peak_flops(device, dtype)
        for part, flops in (("step", step), ("decode", folded)):
            limit, took = flops / peak, results[name][f"{part} (s)"]
            print(
                f"{name}, {part}: {flops / 1e12:.2f} TFLOP at {peak / 1e12:.2f} TFLOP/s would take "
                f"{limit:.2f} s, took {took:.2f} s ({took / limit:.1f} times the limit)"
            )


def peak_flops(device: Any, dtype: Any) -> float:
    """Operations per second in the best of a few products of large matrices."""
    import torch

    size = 4096
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(5):
        clock = Clock(device)
        clock()
        a @ a
        best = min(best, clock())
    return 2 * size**3 / best


def relative(a: Any, b: Any) -> float:
    """The norm of the difference over the norm of b."""
    return float((a - b).norm() / b.norm())


if __name__ == "__main__":
    if sys.argv[1:2] == ["side"]:
        side(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
    else:
        main()
