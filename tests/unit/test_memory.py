"""What is said of memory before it is used."""

from __future__ import annotations

import warnings

import pytest
import torch

from brainldm import BrainLDM
from brainldm.models import memory
from brainldm.models.memory import batch_size, estimate, pick_memory, shortage
from tests.toy import PUBLISHED, toy_config

CPU = torch.device("cpu")


def free(monkeypatch: pytest.MonkeyPatch, gigabytes: float) -> None:
    monkeypatch.setattr(memory, "available", lambda device: int(gigabytes * 1e9))


def test_the_published_model_needs_less_in_the_low_mode_and_in_half_precision() -> None:
    full, half = (
        [estimate(PUBLISHED, dtype, mode) for mode in ("normal", "low")]
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert full[0] > full[1] > half[1] > 1e9
    assert full[0] > half[0] > half[1]


def test_auto_is_low_where_normal_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = estimate(PUBLISHED, torch.bfloat16, "normal") / 1e9
    free(monkeypatch, needed + 0.1)
    assert pick_memory("auto", PUBLISHED, CPU, torch.bfloat16) == "normal"
    free(monkeypatch, needed - 0.1)
    assert pick_memory("auto", PUBLISHED, CPU, torch.bfloat16) == "low"
    assert pick_memory("normal", PUBLISHED, CPU, torch.bfloat16) == "normal"


def test_a_shortage_is_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 100)
    assert shortage(PUBLISHED, CPU, torch.bfloat16, "normal") is None
    free(monkeypatch, 0.2)
    with pytest.warns(UserWarning, match=r"needs about .* GB of memory and cpu has 0.2 GB left"):
        BrainLDM.from_pretrained("demo", device="cpu")


def test_what_can_be_had_is_a_number_of_bytes() -> None:
    assert 1e8 < (memory.available(CPU) or 0) < 1e14


def test_a_model_that_fits_gives_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert shortage(toy_config(), CPU, torch.float32, "normal") is None


def test_batches_shrink_with_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    sizes = []
    for gigabytes in (0.01, 2, 1000):
        free(monkeypatch, gigabytes)
        sizes.append(batch_size(PUBLISHED, gpu, torch.bfloat16))
    assert sizes[0] == 1 < sizes[1] < sizes[2] == 64
