"""The quality gate, and the seeds that are tried in place of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from brainldm.checkpoint import load_config
from brainldm.cohort.folder import CohortFolder
from brainldm.cohort.gate import Gate
from brainldm.cohort.maker import REDRAWS, Maker, Making, redrawn
from brainldm.cohort.parts import Batch
from brainldm.cohort.row import Row
from brainldm.conditions import Conditions
from brainldm.errors import NotFiniteError
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.pipeline.brain import BrainLDM
from brainldm.pipeline.choice import Sampling
from brainldm.pipeline.request import Request
from brainldm.pipeline.sample import Sample
from brainldm.register.kept import load_template
from brainldm.segment.measures import Measures
from tests.template_head import simulate
from tests.toy import write_toy_model

DEMO = load_config("demo")
GRID = Grid.of(DEMO.shape, DEMO.affine)
AFFINE = np.array(GRID.affine)
ROWS = tuple(Row(i, f"{i}", i, Conditions(ventricular_volume_ml=30)) for i in range(3))


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    return simulate(7, load_template(), GRID).image.numpy()


def spheres(array: np.ndarray) -> np.ndarray:
    at = np.stack(np.meshgrid(*(np.arange(n) for n in array.shape), indexing="ij"))
    return np.any(
        [np.linalg.norm(at - np.array(c).reshape(3, 1, 1, 1), axis=0) < 17 for c in PLACES], axis=0
    ).astype(np.float32)


def speckles(array: np.ndarray) -> np.ndarray:
    return (np.random.default_rng(0).random(array.shape) < 0.3).astype(np.float32)


PLACES = [(20, 30, 40), (60, 30, 40), (20, 80, 40), (60, 80, 40)]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (np.zeros_like, "0% of the field"),
        (lambda x: x + 0.5, "100% of the field"),
        (speckles, "no head"),
        (spheres, "largest part is 25%"),
        (lambda x: np.concatenate([np.zeros_like(x[:, :60]), x[:, :52]], 1), "off the middle"),
        (lambda x: np.tile(x[::2, ::2, ::2] + 0.2 * (x[::2, ::2, ::2] > 0), 2), "no head"),
    ],
)
def test_what_is_no_head_is_found(
    head: np.ndarray, spoil: Callable[[np.ndarray], np.ndarray], says: str
) -> None:
    gate = Gate("flag")
    assert gate.faults(Volume(head, AFFINE), {}, {}) == ()
    spoiled = Volume(np.resize(spoil(head), head.shape), AFFINE)
    assert says in "; ".join(gate.faults(spoiled, {}, {}))
    assert Gate("off").faults(spoiled, {}, {}) == ()


@pytest.mark.parametrize("seed", [7, 110])
def test_simulated_heads_have_no_fault(seed: int) -> None:
    made = simulate(seed, load_template(), GRID).image.numpy()
    assert Gate("flag").faults(Volume(made, AFFINE), {}, {}) == ()


@pytest.mark.parametrize(
    ("factor", "says"), [(0.0, "a hole in the scalp"), (0.3, "a patch of scalp")]
)
def test_a_hole_and_a_dim_patch_in_the_scalp_are_found(
    head: np.ndarray, factor: float, says: str
) -> None:
    x, y, z = GRID.points()
    top = float(z[head > 0.3].max())
    near = x**2 + (y + 20) ** 2 + (z - top) ** 2 < 18**2
    spoiled = np.where(near, factor * head, head).astype(np.float32)
    assert says in "; ".join(Gate("flag").faults(Volume(spoiled, AFFINE), {}, {}))


def test_measures_far_from_what_was_asked_for_are_found(head: np.ndarray) -> None:
    gate = Gate("flag", None, {"ventricular_volume_ml": 10, "brain_volume_ml": 100})
    volume = Volume(head, AFFINE)
    asked = {"sex": "F", "ventricular_volume_ml": 30.0, "brain_volume_ml": 1500.0}
    near = {"ventricular_volume_ml": 39.0, "brain_volume_ml": 1401.0}
    assert gate.faults(volume, asked, near) == ()
    [fault] = gate.faults(volume, asked, {**near, "ventricular_volume_ml": 41.0})
    assert fault == "ventricular_volume_ml measured 41, asked 30"
    [fault] = gate.faults(volume, asked, {**near, "brain_volume_ml": float("nan")})
    assert fault == "brain_volume_ml measured nan, asked 1500"


@dataclass(frozen=True)
class Pretends:
    """Measures 30 mL of ventricles in volumes of the seeds that it likes, and 300 in others."""

    likes: tuple[int, ...]
    identity: str = "pretends"

    def measure(self, volume: Volume) -> Measures:
        seed = (volume.metadata or {})["brainldm"]["seed"]
        return Measures(30.0 if seed in self.likes else 300.0, 1500.0)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> BrainLDM:
    model = write_toy_model(tmp_path_factory.mktemp("toy"))
    return BrainLDM.from_pretrained(model, "cpu", "float32")


@pytest.fixture
def heads_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights show no head."""
    monkeypatch.setattr("brainldm.cohort.gate._no_head", lambda volume: [])


def made(pipeline: BrainLDM, out: Path, gate: Gate) -> list[tuple[int, int, tuple[str, ...]]]:
    making = Making(Sampling(sampler="ddim", steps=1), gate, CohortFolder(out), frozenset())
    results = Maker(pipeline, making).make([Batch(ROWS, frozenset({0, 1, 2}))])
    return [(r.record.seed, r.record.redraws, r.record.flags) for r in results]


@pytest.mark.usefixtures("heads_everywhere")
def test_failures_are_drawn_again_until_one_passes(pipeline: BrainLDM, tmp_path: Path) -> None:
    wide = {"ventricular_volume_ml": 50.0, "brain_volume_ml": 1e4}
    likes = Pretends((0, redrawn(1, 3)))
    first, second, third = made(pipeline, tmp_path / "a", Gate("redraw", likes, wide))
    assert first == (0, 0, ())
    assert second == (redrawn(1, 3), 3, ())
    fault = "ventricular_volume_ml measured 300, asked 30"
    assert third == (redrawn(2, REDRAWS), REDRAWS, (fault,))
    assert made(pipeline, tmp_path / "a", Gate("redraw", likes, wide)) == [first, second, third]
    flagged = made(pipeline, tmp_path / "b", Gate("flag", likes, wide))
    assert flagged == [(0, 0, ()), (1, 0, (fault,)), (2, 0, (fault,))]


def test_a_seed_has_the_same_successors_always() -> None:
    assert redrawn(5, 0) == 5
    seeds = {redrawn(seed, attempt) for seed in range(50) for attempt in range(4)}
    assert len({seed % 2**32 for seed in seeds}) == 200
    assert redrawn(5, 1) == 8566780490978300163


@pytest.mark.usefixtures("heads_everywhere")
def test_what_is_not_finite_is_drawn_again(
    pipeline: BrainLDM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = BrainLDM.sample

    def sample(self: BrainLDM, requests: list[Request], sampling: Sampling) -> Iterator[Sample]:
        if 1 in [request.seed for request in requests]:
            raise NotFiniteError("NaN")
        for s in real(self, requests, sampling):
            if s.request.seed == 2:
                s = replace(s, latent=torch.full_like(s.latent, torch.nan))
            yield s

    monkeypatch.setattr(BrainLDM, "sample", sample)
    found = made(pipeline, tmp_path, Gate("redraw"))
    assert found == [(0, 0, ()), (redrawn(1, 1), 1, ()), (redrawn(2, 1), 1, ())]
    with pytest.raises(NotFiniteError, match="NaN"):
        made(pipeline, tmp_path, Gate("flag"))
