"""How many threads compute, and how they wait for each other.

OpenMP, which PyTorch's operations run on, reads both when torch is imported. What the user has set
in the environment is left as it is.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

from brainldm.errors import UsageError

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
WAITING, COUNT, ITK_COUNT = (
    "OMP_WAIT_POLICY",
    "OMP_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
BUSY = 0.25
"""Cores that others compute on, from which it matters how threads wait."""

late = False
"""torch was imported before brainldm, with threads that wait as OpenMP lets them."""


def set_defaults() -> None:
    """Let threads wait passively, and be no more than the cores that a container may use.

    Threads that wait for each other in a loop take turns with whoever else computes, many times a
    second, and all but stop where cores are shared.
    """
    global late
    late = "torch" in sys.modules and WAITING not in os.environ
    os.environ.setdefault(WAITING, "PASSIVE")
    cores = usable_cores()
    if COUNT in os.environ or cores == _affinity():  # which OpenMP knows
        return
    import psutil

    cores = min(cores, psutil.cpu_count(logical=False) or cores)
    if "torch" not in sys.modules or sys.modules["torch"].get_num_threads() > cores:
        use_threads(cores)


def use_threads(count: int) -> None:
    """Compute with this many threads from now on, in processes that this one starts too.

    Raises:
        UsageError: fewer than one.
    """
    if count < 1:
        raise UsageError(f"The number of threads is {count}: expected 1 or more.")
    for name in (COUNT, ITK_COUNT):
        os.environ[name] = str(count)
    if "torch" in sys.modules:  # which has read them
        sys.modules["torch"].set_num_threads(count)


def usable_cores() -> int:
    """Cores that this process may use: by its affinity, and by the quota of its cgroup."""
    quota = quota_of_cgroup()
    return _affinity() if quota is None else max(1, min(_affinity(), math.ceil(quota)))


def spinning() -> str | None:
    """A warning if threads wait in a loop and others use the cores, else None."""
    if not late or sys.modules["torch"].get_num_threads() == 1:
        return None
    import psutil

    others = psutil.cpu_percent(interval=0.2) / 100 * (psutil.cpu_count() or 1)
    if others < BUSY:
        return None
    return (
        "Other programs use the cores, and torch was imported before brainldm, so that its threads "
        "wait for each other in a loop: computing can be many times slower. Import brainldm "
        f"first, or set {WAITING}=PASSIVE before Python starts."
    )


def quota_of_cgroup(membership: Path = MEMBERSHIP, root: Path = CGROUPS) -> float | None:
    """Cores' worth of time that a container or a batch system grants; None without a limit.

    Args:
        membership: lines such as "0::/batch/job" (version 2) and "4:cpu,cpuacct:/job" (version 1).
        root: where the groups are mounted. A container may see its own group there alone, whatever
            path its membership has.
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:  # not Linux
        return None
    quotas: list[float] = []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers in ("", "name=systemd"):
            quotas += [q for group in _groups(root, path) if (q := _second_version(group))]
        elif "cpu" in controllers.split(","):
            for mount in (root / controllers, root / "cpu"):
                quotas += [q for group in _groups(mount, path) if (q := _first_version(group))]
    return min(quotas, default=None)


def _groups(mount: Path, path: str) -> list[Path]:
    """A group and those that it is in, each of which may have a quota."""
    group = mount / path.lstrip("/")
    return [each for each in (group, *group.parents) if each.is_relative_to(mount)]


def _second_version(group: Path) -> float | None:
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _first_version(group: Path) -> float | None:
    try:
        quota, period = (
            int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")
        )
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
