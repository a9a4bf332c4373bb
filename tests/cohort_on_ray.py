"""A cohort on a Ray cluster of three nodes on this machine, whose workers are killed on the way.

python -m tests.cohort_on_ray MODEL TABLE OUT
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import psutil
from ray.cluster_utils import Cluster

from brainldm.cohort.run import Cohort
from tests.cohorts import SLOW, choice, images

KILLS = 2
WORKER = "ray::_Worker"


def workers() -> list[psutil.Process]:
    """The actors, whatever node they are on."""
    running = psutil.process_iter(["cmdline"])
    return [process for process in running if WORKER in " ".join(process.info["cmdline"] or ())]


def disturb(out: Path, cluster: Cluster, node: object, done: list[str]) -> None:
    """Kill workers, each after some more volumes, and then take a whole node away."""
    for kill in range(KILLS):
        seen = len(images(out))
        while len(images(out)) < seen + 2:
            time.sleep(0.05)
        victim = workers()[-1]
        victim.kill()
        done.append(f"worker {kill}")
    cluster.remove_node(node, allow_graceful=False)
    done.append("node")


def main() -> None:
    """Print how the run ended, and what was killed on the way."""
    model, table, out = map(Path, sys.argv[1:])
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cohort = Cohort(
        table=table,
        out=out,
        model=choice(model),
        sampling=SLOW,
        ray=cluster.address,
        cores=1,
    )
    killed: list[str] = []
    threading.Thread(target=disturb, args=(out, cluster, nodes[-1], killed), daemon=True).start()
    try:
        summary = cohort.run()
    finally:
        cluster.shutdown()
    print(json.dumps({"made": summary.made, "finished": summary.finished, "killed": killed}))


if __name__ == "__main__":
    main()
