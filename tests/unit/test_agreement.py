"""How what was asked for is found again: closed forms."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from brainldm.metrics.agreement import agreement

ASKED = np.array([1.0, 2.0, 4.0])


def test_agreement_of_a_known_line() -> None:
    found = agreement(ASKED, 2 * ASKED - 1)
    assert asdict(found) == pytest.approx(
        {"r": 1, "slope": 2, "bias": 4 / 3, "absolute": 4 / 3, "squared": np.sqrt(10 / 3)}
    )
    assert agreement(ASKED, -ASKED).r == pytest.approx(-1)
    assert agreement(ASKED, -ASKED).slope == pytest.approx(-1)


def test_agreement_of_noise_is_pearsons() -> None:
    asked, found = np.random.default_rng(0).standard_normal((2, 50))
    expected = np.corrcoef(asked, found)[0, 1]
    assert agreement(asked, found).r == pytest.approx(expected)
    assert agreement(asked, found).slope == pytest.approx(np.polyfit(asked, found, 1)[0])


def test_what_does_not_vary_agrees_with_nothing() -> None:
    same = np.full(3, 7.0)
    for pair in ((same, ASKED), (ASKED, same), (same, same)):
        found = agreement(*pair)
        assert (found.r, found.slope) == (0, 0)
    assert agreement(same, same).squared == 0
