"""A head beside other programs: CPU time and wall time, ours and the reference's.

    python benchmarks/company.py                  # the demo model, minutes
    python benchmarks/company.py --busy 2         # alone, and beside two programs that compute

Programs that compute without end, of one thread each, take turns with what is measured:

- reference: MONAI's networks and DDIM in float32, wired as the published bundle does;
- float32: ours, the same sampler and steps;
- default: ours as it comes, with our own sampler and as many steps;
- default, torch first: the same where torch is imported before brainldm, so that threads wait for
  each other as OpenMP lets them; the decode alone, once, which is long enough.

Each runs in a process of its own, and first decodes once without being measured. In brackets: how
many times as long as the same alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
SPINNING = "default, torch first"
SIDES = ("reference", "float32", "default", SPINNING)
PARTS = ("decode cpu", "decode wall", "head cpu", "head wall")
CONDITIONS = (1.0, 0.7, 0.2, 0.5)
STEPS = 16
WAITING = "OMP_WAIT_POLICY"
# It ends by itself if who started it was killed.
BUSY = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(10**6):
        pass
"""


def main() -> None:
    """Measure every side in every company, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busy", type=int, nargs="+", default=[1, 2, 3], help="other programs")
    parser.add_argument("--rounds", type=int, default=3, help="heads of each side")
    parser.add_argument("--model", default="demo")
    arguments = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(folder, arguments.model)
        results: dict[str, dict[int, dict[str, float]]] = {side: {} for side in SIDES}
        for count in (0, *arguments.busy):
            with busy(count):
                for side in SIDES:
                    results[side][count] = run_side(folder, side, arguments.rounds)
    report(results)


def prepare(folder: Path, model: str) -> None:
    """Write the weights as both sides read them."""
    from brainldm.checkpoint import convert

    convert(model, folder / "ours", "brainldm")
    convert(model, folder / "reference", "monai")


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Programs that compute, as long as the block lasts."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def run_side(folder: Path, name: str, rounds: int) -> dict[str, float]:
    """One side in a process of its own, with the environment of a user who has set nothing."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "side", str(folder), name, str(rounds)]
    environment = {key: value for key, value in os.environ.items() if key != WAITING}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def side(folder: Path, name: str, rounds: int) -> None:
    """Decode and whole heads; prints the medians of their times as JSON."""
    if name in ("reference", SPINNING):
        import torch  # noqa: F401
    decode, head = reference(folder) if name == "reference" else ours(folder, name)
    parts, times = {"decode": decode, "head": head}, {}
    if name == SPINNING:
        rounds = 1
        del parts["head"]
    decode()
    for _ in range(rounds):
        for part, call in parts.items():
            cpu, wall = time.process_time(), time.perf_counter()
            call()
            times.setdefault(f"{part} cpu", []).append(time.process_time() - cpu)
            times.setdefault(f"{part} wall", []).append(time.perf_counter() - wall)
    print(json.dumps({what: statistics.median(each) for what, each in times.items()}))


def reference(folder: Path) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """What decodes a latent, and what makes a head."""
    import torch

    from benchmarks.reference import Reference

    runner = Reference(folder, torch.device("cpu"))
    noise = torch.randn(1, *runner.config.latent.shape, generator=torch.Generator().manual_seed(0))

    @torch.inference_mode()
    def decode() -> Any:
        return runner.autoencoder.decode_stage_2_outputs(noise)

    @torch.inference_mode()
    def head() -> Any:
        return runner.brain(noise, STEPS, CONDITIONS, lambda: None)

    return decode, head


def ours(folder: Path, name: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The same through the pipeline."""
    import brainldm  # noqa: F401, I001  # before torch, as its documentation says
    import torch

    from brainldm import BrainLDM, Conditions

    dtype = "float32" if name == "float32" else "auto"
    model = BrainLDM.from_pretrained(folder / "ours", device="cpu", dtype=dtype, memory="normal")
    setting = {"sampler": "ddim" if name == "float32" else "unipc"}
    person = Conditions.from_normalised(*CONDITIONS)
    noise = torch.randn(1, *model.config.latent.shape, generator=torch.Generator().manual_seed(0))

    def decode() -> Any:
        return model.decode(noise * model.config.latent.scale)

    def head() -> Any:
        return model.generate(person, noise=noise, steps=STEPS, **setting)

    return decode, head


def report(results: dict[str, dict[int, dict[str, float]]]) -> None:
    """Print a Markdown table: seconds, and how many times those of the same side alone."""
    print("| | others | decode, CPU (s) | decode, wall (s) | head, CPU (s) | head, wall (s) |")
    print("|---|---|---|---|---|---|")
    for name, companies in results.items():
        alone = companies[0]
        for count, times in companies.items():
            cells = [
                f"{times[what]:.2f}" + (f" ({times[what] / alone[what]:.1f}x)" if count else "")
                if what in times
                else ""
                for what in PARTS
            ]
            print(f"| {name} | {count} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["side"]:
        side(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else:
        main()
