"""A cohort: volumes a minute beside the reference, the engine's overhead, Ray, memory.

    python benchmarks/cohort.py            # the demo model, ten minutes on two cores

Each part is a process of its own, one after another:

- started: a process of the reference for each volume, as users of the published bundle run it;
- kept: the reference stays loaded, and only its loop counts;
- cohort: the command `brainldm cohort run`, from its start to its end;
- bare: our pipeline in a loop that writes nothing, and in turn with it the engine with the same
  model loaded, which writes, hashes, journals and reports;
- ray: one worker of one core, and two, each kept on a core of its own;
- plan: a table of a thousand rows and one of a million, read and checked.

The reference is MONAI's networks and DDIM with 50 steps in float32, with the demo model's weights,
and writes with nibabel.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
STEPS = 50
CONDITIONS = (1.0, 0.7, 0.7, 0.5)
FULL_TFLOP = 16 * 1.44 + 11.06  # our default at the published size (benchmarks/brain.py)
PAPER_TFLOP, PAPER_SECONDS = 50 * 1.452 + 15.14, 7.6  # the paper's, on its TITAN RTX


def main() -> None:
    """Run every part and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=40, help="of the cohort")
    parser.add_argument("--reference-volumes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="of bare loop and engine")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the large plan")
    parser.add_argument("--out", type=Path, default=Path("build/cohort.json"))
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(folder, a.volumes)
        started = [timed("reference", folder, "1") for _ in range(a.reference_volumes)]
        kept = part("reference", folder, str(a.reference_volumes))["seconds"]
        command = [sys.executable, "-m", "brainldm", "cohort", "run", str(folder / "plan.tsv")]
        start = time.monotonic()
        subprocess.run(
            [*command, "--out", str(folder / "command")], check=True, capture_output=True
        )
        cohort = (time.monotonic() - start) / a.volumes
        overhead = part("overhead", folder, str(a.rounds))
        ray = {workers: part("ray", folder, str(workers)) for workers in (1, 2)}
        plans = {rows: part("plan", folder, str(rows)) for rows in (1000, a.rows)}
    each = {
        "started": statistics.median(started),
        "kept": statistics.median(kept),
        "cohort": cohort,
    }
    efficiency = ray[2]["rate"] / (2 * ray[1]["rate"])
    report = {
        "volumes": a.volumes,
        "volumes a minute": {name: 60 / seconds for name, seconds in each.items()},
        "ratio to started": each["started"] / cohort,
        "ratio to kept": each["kept"] / cohort,
        "overhead of the engine": statistics.median(overhead["overheads"]),
        "rounds": overhead,
        "ray, volumes a minute": {n: 60 * found["rate"] for n, found in ray.items()},
        "ray, efficiency of two workers": efficiency,
        "plan": plans,
        "projected hours for 100,000 at the published size": projection(efficiency),
    }
    a.out.parent.mkdir(parents=True, exist_ok=True)
    a.out.write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))


def projection(efficiency: float) -> dict[str, float]:
    """Hours on GPUs as quick as the paper's at the operations that we need.

    Each GPU beyond the first counts as the second worker does here.
    """
    seconds = FULL_TFLOP / (PAPER_TFLOP / PAPER_SECONDS)
    return {
        f"{n} GPUs": 100_000 * seconds / 3600 / (n if n == 1 else n * efficiency)
        for n in (1, 8, 64)
    }


def prepare(folder: Path, volumes: int) -> None:
    """A plan, and the demo model as the reference reads it."""
    from brainldm.checkpoint import convert, load_config, load_model, save_model
    from brainldm.cohort.design import Design
    from brainldm.cohort.draw import draw_plan

    draw_plan(Design(volumes), load_config("demo"), folder / "plan.tsv")
    model = load_model("demo")
    states = [
        {name: tensor.float() for name, tensor in state.items()}
        for state in (model.autoencoder, model.unet)
    ]
    save_model(folder / "ours", model.config, *states)
    convert(folder / "ours", folder / "reference", "monai")


def part(name: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """The figures of a part that runs in a process of its own."""
    print(f"{name} {' '.join(arguments)} ...", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, name, str(folder), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def timed(name: str, folder: Path, *arguments: str) -> float:
    """Seconds of a part, from the start of its process to the end."""
    start = time.monotonic()
    part(name, folder, *arguments)
    return time.monotonic() - start


def reference(folder: Path, volumes: int) -> dict[str, Any]:
    """MONAI, one volume after another."""
    import nibabel as nib
    import torch

    from benchmarks.reference import Reference
    from brainldm.models.device import pick_device

    runner = Reference(folder, pick_device("auto"))
    config = runner.config
    seconds = []
    with torch.inference_mode():
        for seed in range(volumes):
            start = time.monotonic()
            z = torch.randn(1, *config.latent.shape, generator=torch.Generator().manual_seed(seed))
            image = runner.brain(z, STEPS, CONDITIONS, lambda: None)[0, 0].cpu().numpy()
            nib.save(nib.Nifti1Image(image, config.affine), folder / f"reference-{seed}.nii.gz")
            seconds.append(time.monotonic() - start)
    return {"seconds": seconds}


def overhead(folder: Path, rounds: int) -> dict[str, Any]:
    """The bare pipeline and the engine in turn, on the same rows."""
    from brainldm.cohort import run
    from brainldm.cohort.local import Local
    from brainldm.cohort.plan import read_plan
    from brainldm.pipeline.choice import Model, Sampling

    engine = Local(Model())
    pipeline = engine._pipeline
    run.Local = lambda model: engine  # type: ignore[misc,assignment]
    plan = read_plan(folder / "plan.tsv", pipeline.ranges)
    size = engine.facts.batch
    times: dict[str, list[float]] = {"bare": [], "engine": []}
    for number in range(rounds):
        start = time.monotonic()
        for first in range(0, len(plan), size):
            rows = plan.rows(first, first + size)
            pipeline.generate([row.conditions for row in rows], [row.seed for row in rows])
        times["bare"].append(time.monotonic() - start)
        start = time.monotonic()
        run.Cohort(
            table=folder / "plan.tsv",
            out=folder / f"engine-{number}",
            model=Model(),
            sampling=Sampling(),
        ).run()
        times["engine"].append(time.monotonic() - start)
    overheads = [e / b - 1 for e, b in zip(times["engine"], times["bare"], strict=True)]
    return {"seconds": times, "overheads": overheads}


def ray(folder: Path, workers: int) -> dict[str, Any]:
    """Volumes a second of workers with a core each, once all of them are at work."""
    import psutil
    from ray.cluster_utils import Cluster

    from brainldm.cohort.run import Cohort
    from brainldm.pipeline.choice import Model, Sampling

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": workers, "include_dashboard": False}
    )
    cores = sorted(os.sched_getaffinity(0))
    times: list[float] = []

    def progress(done: int, total: int, name: str) -> None:
        if name == "volumes":
            times.append(time.monotonic())
        if len(times) == 1:
            running = psutil.process_iter(["cmdline"])
            found = [p for p in running if "ray::_Worker" in " ".join(p.info["cmdline"] or ())]
            for process, core in zip(found, cores, strict=False):
                for thread in process.threads():
                    os.sched_setaffinity(thread.id, {core})

    out = folder / f"ray-{workers}"
    Cohort(
        table=folder / "plan.tsv",
        out=out,
        model=Model(),
        sampling=Sampling(),
        batch=1,
        ray=cluster.address,
        cores=1,
    ).run(progress)
    cluster.shutdown()
    settled = times[2 * workers :]  # after the first volume of each, which warms it up
    return {"rate": (len(settled) - 1) / (settled[-1] - settled[0])}


def plan(folder: Path, rows: int) -> dict[str, Any]:
    """Read and check a plan."""
    from brainldm.cohort.plan import read_plan
    from brainldm.conditions import ConditionRanges
    from brainldm.config import published_config

    table = folder / f"plan-{rows}.tsv"
    with table.open("w") as file:
        file.write("participant_id\tseed\tsex\tage\tventricular_volume_ml\tbrain_volume_ml\n")
        for i in range(rows):
            cells = (f"sub-{i:07d}", i, "FM"[i % 2], 45 + i % 36, 10 + i % 150, 1200 + i % 500)
            file.write("\t".join(map(str, cells)) + "\n")
    start = time.monotonic()
    found = read_plan(table, ConditionRanges(published_config().conditions))
    assert len(found) == rows
    seconds = time.monotonic() - start
    # Not getrusage: its peak counts what the process that started this one had.
    [peak] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return {"seconds": seconds, "peak memory (GB)": int(peak) / 1e6}


if __name__ == "__main__":
    parts = {"reference": reference, "overhead": overhead, "ray": ray, "plan": plan}
    if sys.argv[1:2] and sys.argv[1] in parts:
        print(json.dumps(parts[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))))
    else:
        main()
