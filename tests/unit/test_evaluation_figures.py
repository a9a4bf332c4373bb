"""Figures of the report from what was measured: conditions, copies, estimates, volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainldm.errors import BrainLDMError
from brainldm.evaluate import anatomy, conditioning
from brainldm.evaluate.copies import Copies, nearest
from brainldm.evaluate.measures import Measured, embedding
from brainldm.evaluate.regression import Regressor
from brainldm.evaluate.scans import Scans, unmeasured
from brainldm.evaluate.sets import Head
from brainldm.image.volume import Volume
from brainldm.segment.tables import read_volumes


def values(found) -> dict[str, float | None]:
    return {figure.name: figure.value for figure in found}


def test_conditions_found_again_and_shuffled(rng: np.random.Generator) -> None:
    asked = rng.uniform(10, 80, 60)
    seen = 5 + 0.8 * asked
    found = values(conditioning.figures("age", np.stack([asked, seen], 1), None))
    assert found == pytest.approx(
        {"age: r": 1, "age: slope": 0.8, "age: mean absolute error": abs(asked - seen).mean()}
    )
    shuffled = conditioning.figures("age", np.stack([rng.permutation(asked), seen], 1), None)
    assert abs(values(shuffled)["age: r"] or 0) < 0.4


@pytest.mark.parametrize("pairs", [[[1.0, 2.0]] * 5, [[1.0, 2.0], [2.0, 3.0]], [[1.0, np.nan]] * 9])
def test_conditions_that_tell_nothing(pairs: list[list[float]]) -> None:
    (only,) = conditioning.figures("age", np.array(pairs), None)
    assert only.value is None
    assert "refused" in only.note


def test_cohens_d_in_closed_form() -> None:
    a, b = np.array([1.0, 2, 3]), np.array([2.0, 3, 4])
    assert anatomy.cohens_d(b, a) == pytest.approx(1)
    assert anatomy.cohens_d(a, b) == pytest.approx(-1)


def test_scans_that_were_not_measured_are_left_out_and_named(rng: np.random.Generator) -> None:
    asked = rng.uniform(10, 80, 6)
    measured = np.append(asked[:5], np.nan)
    name = "ventricular_volume_ml"
    heads = [Head(Path(f"sub-{i}_T1w.nii.gz"), {name: volume}) for i, volume in enumerate(asked)]
    generated, real = (
        Scans(which, heads, [], {name: measured}, {name: 1.5}) for which in ("generated", "real")
    )
    first, second = unmeasured([generated, real])
    assert "volumes of 1 of 6 generated scans, such as sub-5_T1w.nii.gz" in first
    assert "real scans" in second
    found = [*anatomy.figures(generated, real), *conditioning.section(generated, real).figures]
    assert all(np.isfinite(figure.value) for figure in found if figure.value is not None)
    assert "5 scans; the segmenter itself is off by 1.5 mL" in [figure.note for figure in found]
    assert unmeasured([Scans("training", heads, [], {}, {})]) == []


def test_the_nearest_over_any_blocks(rng: np.random.Generator) -> None:
    unit = rng.standard_normal((30, 8)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    heads, training = unit[:10], unit[10:]
    expected = 1 - heads @ training.T
    for blocks in ([training], [training[:7], training[7:]]):
        distance, index = nearest([heads[:4], heads[4:]], lambda blocks=blocks: blocks)
        assert np.abs(distance - expected.min(1)).max() < 1e-6
        assert (index == expected.argmin(1)).all()


def test_the_share_of_copies_at_five_per_cent_false_alarms() -> None:
    held_out = np.linspace(0.5, 1.5, 101)
    found = Copies(np.array([0.1, 0.54, 0.56, 1.0]), held_out, np.zeros(4, np.intp))
    assert found.threshold == pytest.approx(0.55)
    assert found.share == 0.5


def test_the_embedding_sees_through_shift_and_noise(rng: np.random.Generator) -> None:
    axis = np.arange(48)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")

    def head(*ears: tuple[int, int, int]) -> Volume:
        array = ((x - 24) ** 2 + (y - 24) ** 2 + (z - 24) ** 2 < 15**2) * 0.5
        for i, j, k in ears:
            array = array + 0.4 * ((x - i) ** 2 + (y - j) ** 2 + (z - k) ** 2 < 5**2)
        return Volume(array.astype(np.float32), np.diag([2.0, 2, 2, 1]))

    one, other = head((20, 24, 28)), head((28, 20, 22))
    shifted = Volume(np.roll(one.array, (3, -2, 1), (0, 1, 2)), one.affine)
    noisy = Volume(one.array + rng.normal(0, 0.03, one.array.shape).astype(np.float32), one.affine)
    itself = embedding(one)
    far = 1 - itself @ embedding(other)
    assert np.linalg.norm(itself) == pytest.approx(1, abs=1e-5)
    for copy in (shifted, noisy):
        assert 1 - itself @ embedding(copy) < far / 5


def measured(features: np.ndarray) -> Measured:
    return Measured("", Path(), features.astype(np.float32), np.zeros(4, np.float32), None)


def test_estimates_of_heads_that_were_left_out(rng: np.random.Generator) -> None:
    """The closed form is what fitting again without each head gives."""
    x = rng.standard_normal((40, 6))
    age = 60 + x @ [5, -3, 2, 0, 0, 1] + rng.normal(0, 2, 40)
    heads = [measured(row) for row in x]
    whole = Regressor(heads, age)
    assert np.corrcoef(whole.left_out, age)[0, 1] > 0.8
    again = [
        Regressor(heads[:i] + heads[i + 1 :], np.delete(age, i)).predict([heads[i]])[0]
        for i in range(40)
    ]
    assert np.abs(whole.left_out - again).max() < 1.5
    assert np.corrcoef(whole.predict(heads), age)[0, 1] > 0.9


@pytest.mark.parametrize("features", [6, 600])
def test_features_that_tell_nothing_agree_with_nothing(
    features: int, rng: np.random.Generator
) -> None:
    r = []
    for _ in range(40):
        heads = [measured(row) for row in rng.standard_normal((30, features))]
        values = rng.standard_normal(30)
        r.append(np.corrcoef(Regressor(heads, values).left_out, values)[0, 1])
    assert abs(np.mean(r)) < 0.25


@pytest.mark.parametrize(
    ("name", "header", "row", "expected"),
    [
        (
            "synthseg.csv",
            "subject,total intracranial,left lateral ventricle,right lateral ventricle,"
            "3rd ventricle,csf",
            "sub-1,1500000,10000,12000,1000,277000",
            (22.0, 1600.0),
        ),
        (
            "freesurfer.tsv",
            "Measure:volume\tLeft-Lateral-Ventricle\tRight-Lateral-Ventricle\t"
            "BrainSegVolNotVent\tEstimatedTotalIntraCranialVol",
            "sub-1\t10000\t12000\t1200000\t1500000",
            (22.0, 1600.0),
        ),
        ("sienax.csv", "id,vcsf,brain", "sub-1,30000,1500000", (30.0, 1500.0)),
        ("plain.csv", "id,ventricular_volume_ml,brain_volume_ml", "sub-1,30,1500", (30.0, 1500.0)),
    ],
)
def test_tables_of_other_programs(
    tmp_path: Path, name: str, header: str, row: str, expected: tuple[float, float]
) -> None:
    (tmp_path / name).write_text(f"{header}\n{row}\n")
    found = read_volumes(tmp_path / name, intracranial_ml=2000).find(("sub-1",))
    assert found
    assert tuple(found.known.values()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,age\nsub-1,50\n", "has the columns age: expected those of SynthSeg"),
        ("id,vcsf,brain\n", "has no rows"),
        ("id,vcsf\nsub-1,1\nsub-1,2\n", r"row 3 \(sub-1\) is a second row"),
        ("id,vcsf\nsub-1,1,2\n", r"row 2 \(sub-1\): expected 2 cells.*got 3"),
        ("id,age\nsub-1,50 y\n", "age is '50 y': expected a number.*without its unit"),
    ],
)
def test_tables_that_do_not_do(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(BrainLDMError, match=message):
        read_volumes(tmp_path / "table.csv", 2000)
