"""Simulated heads for the benchmarks: of which label maps, as options of each."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from brainldm.cli.options import names
from brainldm.simulate.heads import Heads
from brainldm.simulate.run import simulate_data_set

FIRST_HEAD = 100_000
"""Seeds from here on are no training subject's."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """--label-maps and --only."""
    parser.add_argument(
        "--label-maps", type=Path, help="folder; heads are the template's if left out"
    )
    parser.add_argument("--only", default="", help="names of the maps to take, with commas")


def write_heads(
    folder: Path, number: int, asked: argparse.Namespace, seed: int = FIRST_HEAD, **how: Any
) -> None:
    """The data set of heads that the options name, from a seed on; as `simulate_data_set`."""
    maps, only = asked.label_maps, names(asked.only)
    simulate_data_set(folder, number, label_maps=maps, only=only, seed=seed, **how)


def heads_of(asked: argparse.Namespace) -> Heads:
    """The heads that the options name."""
    return Heads.of(asked.label_maps, names(asked.only))
