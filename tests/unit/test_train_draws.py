"""What is drawn depends on seed, step and place alone, and batches are read in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from brainldm.errors import DataError, UsageError
from brainldm.train.draws import Draw
from brainldm.train.feed import AHEAD, Sample, Samples, Share, feed
from tests.learning import Line, Sums, read, train


@pytest.mark.parametrize("count", [4, 7, 12])
def test_each_sample_comes_once_an_epoch_on_any_number_of_processes(count: int) -> None:
    def drawn(processes: int) -> list[int]:
        return [
            draw.index(count)
            for step in range(3 * count)
            for process in range(processes)
            for (draw,) in Share(process, processes, 1).draws(0, step, 4)
        ]

    one = drawn(1)
    assert drawn(2) == drawn(4) == one
    epochs = [one[i : i + count] for i in range(0, len(one), count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1


def test_what_a_sample_draws_depends_on_its_place_and_purpose() -> None:
    def numbers(draw: Draw, purpose: str) -> tuple[float, ...]:
        return tuple(torch.rand(3, generator=draw.generator(purpose)).tolist())

    different = {
        numbers(Draw(seed, step, place, 8), purpose)
        for seed in (0, 1)
        for step in (0, 1)
        for place in (0, 1)
        for purpose in ("noise", "time")
    }
    assert len(different) == 16
    assert numbers(Draw(0, 1, 1, 8), "noise") == numbers(Draw(0, 1, 1, 8), "noise")


def test_the_parts_of_a_share_are_all_of_it() -> None:
    for micro in (1, 2, 4, None):
        parts = Share(1, 2, micro).draws(5, 3, 8)
        assert [len(part) for part in parts] == [micro or 4] * (4 // (micro or 4))
        assert [draw for part in parts for draw in part] == [Draw(5, 3, i, 8) for i in range(4, 8)]


@pytest.mark.parametrize(
    ("processes", "micro", "message"),
    [
        (3, None, "A batch of 8 cannot be shared by 3 processes: expected a multiple"),
        (2, 3, "The 4 samples of a process cannot be taken 3 at a time: expected a divisor"),
    ],
)
def test_a_batch_that_cannot_be_shared(processes: int, micro: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Share(0, processes, micro).draws(0, 0, 8)


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_is_learned(
    tmp_path: Path,
) -> None:
    later = "phases=[{share: 0.5}, {share: 0.5, training: {batch_size: 3}}]"
    for changes in (("run.micro_batch=3",), ("run.micro_batch=2", "training.batch_size=2", later)):
        with pytest.raises(UsageError, match="expected a divisor"):
            train(Line(*changes), tmp_path / "state.pt")
    assert not list(tmp_path.iterdir())


class Places(Samples):
    """Samples that say where they are from."""

    def __call__(self, draw: Draw) -> Sample:
        return {"step": torch.tensor(draw.step), "position": torch.tensor(draw.position)}

    def subject(self, draw: Draw) -> str:
        return ""


def test_samples_are_read_a_little_ahead_and_in_order() -> None:
    begun: list[int] = []

    def steps() -> Any:
        for step in range(50):
            begun.append(step)
            yield [[Draw(0, step, 0, 3), Draw(0, step, 1, 3)], [Draw(0, step, 2, 3)]]

    batches = feed(Places(), steps(), 3, torch.device("cpu"))
    first, second = next(batches)
    assert (first["step"].tolist(), first["position"].tolist()) == ([0, 0], [0, 1])
    assert (second["step"].tolist(), second["position"].tolist()) == ([0], [2])
    assert len(begun) == AHEAD + 1
    assert [batch[0]["step"][0].item() for batch in batches] == list(range(1, 50))


def test_a_sample_that_cannot_be_read_stops_training(tmp_path: Path) -> None:
    class Broken(Sums):
        def __call__(self, draw: Draw) -> Sample:
            if draw.step == 12:
                raise DataError("sub-07 is damaged")
            return super().__call__(draw)

    with pytest.raises(DataError, match="sub-07 is damaged"):
        train(Line(samples=Broken()), tmp_path / "state.pt")
    assert read(tmp_path / "state.pt")["step"] == 10
