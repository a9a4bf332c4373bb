"""Threads: how many, and how they wait."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from dataclasses import MISSING
from pathlib import Path

import psutil
import pytest
import torch

from brainldm import threads
from brainldm.cli import options
from brainldm.cli.cohort import Run
from brainldm.cli.evaluate import Evaluate
from brainldm.cli.generate import Generate
from brainldm.cli.reconstruct import Reconstruct
from brainldm.cli.train import Autoencoder, Diffusion
from brainldm.errors import UsageError
from brainldm.threads import quota_of_cgroup, spinning, use_threads
from brainldm.workers import pool_of


def write(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def membership(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "cgroup"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_quota_of_a_container_and_of_the_groups_around_it(tmp_path: Path) -> None:
    root = tmp_path / "fs"
    inside = membership(tmp_path, "0::/batch/job")
    assert quota_of_cgroup(inside, root) is None  # nothing is mounted
    write(root / "batch/job", "cpu.max", "max 100000\n")
    assert quota_of_cgroup(inside, root) is None
    write(root / "batch", "cpu.max", "250000 100000\n")
    assert quota_of_cgroup(inside, root) == 2.5
    write(root / "batch/job", "cpu.max", "150000 100000\n")
    assert quota_of_cgroup(inside, root) == 1.5


def test_a_container_that_sees_its_own_group_alone(tmp_path: Path) -> None:
    root = tmp_path / "fs"
    write(root, "cpu.max", "400000 100000\n")
    assert quota_of_cgroup(membership(tmp_path, "0::/"), root) == 4
    assert quota_of_cgroup(membership(tmp_path, "0::/docker/0a1b"), root) == 4


def test_quota_of_the_first_version(tmp_path: Path) -> None:
    root = tmp_path / "fs"
    inside = membership(tmp_path, "3:memory:/job", "4:cpu,cpuacct:/job", "1:name=systemd:/job")
    group = root / "cpu,cpuacct" / "job"
    write(group, "cpu.cfs_period_us", "100000\n")
    write(group, "cpu.cfs_quota_us", "-1\n")
    assert quota_of_cgroup(inside, root) is None
    write(group, "cpu.cfs_quota_us", "300000\n")
    assert quota_of_cgroup(inside, root) == 3


@pytest.mark.parametrize("content", ["", "some words here\n", "100000 0\n", "100000\n"])
def test_a_quota_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    write(tmp_path / "fs", "cpu.max", content)
    assert quota_of_cgroup(membership(tmp_path, "0::/", "odd"), tmp_path / "fs") is None
    assert quota_of_cgroup(tmp_path / "missing") is None


def started(before: str, **environment: str) -> list[str]:
    """What a new program is set to: waiting, threads, whether torch was first."""
    code = (
        f"{before}\nimport brainldm, os\nfrom brainldm import threads\n"
        "print(os.environ['OMP_WAIT_POLICY'], os.environ.get('OMP_NUM_THREADS'), threads.late)"
    )
    names = (threads.WAITING, threads.COUNT)
    clean = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("before", "environment", "expected"),
    [
        ("", {}, ["PASSIVE", "False"]),
        ("", {"OMP_WAIT_POLICY": "ACTIVE"}, ["ACTIVE", "False"]),
        ("import torch", {}, ["PASSIVE", "True"]),
    ],
    ids=["by default", "as told", "torch first"],
)
def test_threads_wait_passively_unless_told_otherwise(
    before: str, environment: dict[str, str], expected: list[str]
) -> None:
    waiting, _, late = started(before, **environment)
    assert [waiting, late] == expected


def test_a_quota_bounds_the_threads_unless_the_user_has_set_them() -> None:
    code = (
        "import os, sys; os.sched_getaffinity = lambda _: range(64)\n"
        "from pathlib import Path; read = Path.read_text\n"
        "Path.read_text = lambda path, *a, **k: (\n"
        "    '0::/' if str(path) == '/proc/self/cgroup' else '200000 100000'\n"
        "    if path.name == 'cpu.max' else read(path, *a, **k))\n"
        "import psutil; psutil.cpu_count = lambda logical=True: 32"
    )
    assert started(code)[1] == "2"
    assert started(f"{code}\nimport torch; torch.set_num_threads(1)")[1] == "None"
    assert started(code, OMP_NUM_THREADS="3")[1] == "3"


def test_threads_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (threads.COUNT, threads.ITK_COUNT):
        monkeypatch.setenv(name, "1")
    before = torch.get_num_threads()
    try:
        use_threads(3)
        assert torch.get_num_threads() == 3
        assert os.environ[threads.COUNT] == os.environ[threads.ITK_COUNT] == "3"
    finally:
        torch.set_num_threads(before)
    with pytest.raises(UsageError, match="threads is 0: expected 1 or more"):
        use_threads(0)


def _threads() -> int:
    return torch.get_num_threads()


def test_a_worker_has_one_thread() -> None:
    with pool_of(1) as pool:
        assert pool.submit(_threads).result() == 1


def test_every_verb_that_computes_takes_a_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(options, "use_threads", asked.append)
    for number, verb in enumerate((Generate, Reconstruct, Evaluate, Run, Autoencoder, Diffusion)):
        assert issubclass(verb, options.ComputingOptions)
        required = {each.name: None for each in dataclasses.fields(verb) if each.default is MISSING}
        verb(threads=number, **required)
    assert asked == [0, 1, 2, 3, 4, 5]


def test_threads_in_a_loop_are_told_of_where_cores_are_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 50.0)
    monkeypatch.setattr(threads, "late", True)
    assert "set OMP_WAIT_POLICY=PASSIVE before Python starts" in (spinning() or "")
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 1.0)
    assert spinning() is None
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 100.0)
    monkeypatch.setattr(threads, "late", False)
    assert spinning() is None
