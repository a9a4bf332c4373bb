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

        import brainldm.train.fit  # noqa: F401
    from training_tasks import Autoencoder, Diffusion

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


def our_loop(task: Any, network: Any, device: str, state: Path) -> tuple[list[float], list[float]]:
    """`fit`, as `brainldm train` calls it: seconds and loss of each step."""
    from brainldm.train.accelerated import accelerated
    from brainldm.train.fit import fit
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
    samples = task.stage(network).samples
    times, losses = [time.perf_counter()], []
    for step in range(training.steps):
        draws = [
            Draw(training.seed, step, i, training.batch_size) for i in range(training.batch_size)
        ]
        drawn = [samples(draw) for draw in draws]
        batch = {key: torch.stack([s[key] for s in drawn]).to(device) for key in drawn[0]}
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
