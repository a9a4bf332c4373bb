"""Plans of cohorts: what a table may say, and how one is drawn."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainldm.cohort import draw
from brainldm.cohort.design import Design
from brainldm.cohort.draw import draw_plan
from brainldm.cohort.plan import Plan, read_plan
from brainldm.conditions import ConditionRanges
from brainldm.config import Categorical, Variable
from brainldm.errors import BrainLDMError
from tests.toy import PUBLISHED

RANGES = ConditionRanges(PUBLISHED.conditions)
HEADER = "participant_id\tseed\tsex\tage\tventricular_volume_ml\tbrain_volume_ml\n"


def plan(folder: Path, text: str, name: str = "plan.tsv", **how: bool) -> Plan:
    (folder / name).write_text(text)
    return read_plan(folder / name, RANGES, **how)


def refusal(folder: Path, text: str, name: str = "plan.tsv") -> str:
    with pytest.raises(BrainLDMError) as refused:
        plan(folder, text, name)
    return str(refused.value)


def test_rows_are_read_again_where_they_stand(tmp_path: Path) -> None:
    rows = [f"sub-{i}\t{i}\tF\t{50 + i}\t30\t1500\n" for i in range(9)]
    found = plan(tmp_path, HEADER + "\n".join(rows))  # blank lines between
    assert len(found) == 9
    assert [row.label for row in found.rows(4, 20)] == ["4", "5", "6", "7", "8"]
    [row] = found.rows(7, 8)
    assert (row.index, row.seed) == (7, 7)
    expected = {"sex": "F", "age": 57, "ventricular_volume_ml": 30, "brain_volume_ml": 1500}
    assert row.conditions.given == expected


def test_a_csv_and_what_is_left_out(tmp_path: Path) -> None:
    text = '\ufeffseed,"participant_id",age\r\n7,01,\r\n8,"02",n/a\r\n9,03,60\r\n'
    given = [dict(row.conditions.given) for row in plan(tmp_path, text, "p.csv").rows(0, 3)]
    assert given == [{}, {}, {"age": 60}]


def test_units_stand_in_the_header_or_beside(tmp_path: Path) -> None:
    text = "participant_id\tseed\tage (months)\tventricular_volume (mm3)\tbrain_volume [cm3]\n"
    [row] = plan(tmp_path, text + "sub-1\t1\t720\t30000\t1500\n").rows(0, 1)
    assert row.conditions.given == pytest.approx(
        {"age": 60, "ventricular_volume_ml": 30, "brain_volume_ml": 1500}
    )
    (tmp_path / "plan.json").write_text(json.dumps({"age": {"Units": "months"}}))
    [row] = plan(tmp_path, "participant_id\tseed\tage\nsub-1\t1\t720\n").rows(0, 1)
    assert row.conditions.age == pytest.approx(60)
    a = plan(tmp_path, "participant_id\tseed\tage\nsub-1\t1\t720\n").sha256
    (tmp_path / "plan.json").unlink()
    assert plan(tmp_path, "participant_id\tseed\tage\nsub-1\t1\t60\n").sha256 != a


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ("ventricular_volume_ml (mm3)", "contradicts itself about its unit"),
        ("ventricular_volume", "says no unit"),
        ("age (mL)", "is in 'mL': expected years or year or y or months"),
        ("bmi", "is no condition of this model: expected sex, age"),
        ("age [years]", "is age a second time"),
    ],
)
def test_a_column_that_cannot_be_meant(tmp_path: Path, column: str, says: str) -> None:
    said = refusal(tmp_path, f"participant_id\tseed\tage\t{column}\nsub-1\t1\t60\t30\n")
    assert f"line 1, column {column!r}" in said
    assert says in said


def test_units_that_contradict_each_other(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({"age (years)": {"Units": "months"}}))
    said = refusal(tmp_path, "participant_id\tseed\tage (years)\nsub-1\t1\t60\n")
    assert "years in the header, months in the JSON file" in said
    (tmp_path / "plan.json").write_text("[]")
    assert "Expected JSON" in refusal(tmp_path, "participant_id\tseed\tage\nsub-1\t1\t60\n")


def test_every_bad_row_is_listed_with_its_line(tmp_path: Path) -> None:
    rows = [
        "sub-a\t1\tF\t60\t30\t1500",
        "sub-b_1\t2\tF\t60\t30\t1500",
        "sub-c\t-3\tF\t60\t30\t1500",
        "sub-d\t4\tX\t60 y\t30\t1500",
        "sub-e\t5\tF\t12\t30000\t1500",
        "sub-A\t6\tF\t60\t30\t1500",
        "sub-f\t4294967297\tF\t60\t30\t1500",
        "sub-g\t7\tF\t60,5\t30",
        "\t8\tF\tnan\t30\t1500",
    ]
    said = refusal(tmp_path, HEADER + "\n".join(rows) + "\n")
    lines = said.splitlines()[1:]
    assert [int(re.findall(r"line (\d+)", line)[0]) for line in lines] == [
        *(3, 4, 5, 5, 6, 6, 7, 8, 9, 10, 10),
    ]
    for expected in (
        "line 3: participant_id is 'sub-b_1': expected sub- with letters and digits only",
        "line 4: seed is '-3': expected a whole number",
        "line 5: age is '60 y': expected a number with a decimal point and without its unit",
        "line 6: age is 12 years",
        "line 7: participant_id is that of line 2 again",
        "line 8: seed is that of line 2 again",
        "line 9: expected 6 cells as the header has, got 5",
        "line 10: age is nan: expected a finite number",
    ):
        assert expected in said, said
    assert "nothing was started" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        (HEADER, "has no rows"),
        ("participant_id\tage\nsub-1\t60\n", "there is no column 'seed'"),
        ("participant_id\tseed\tage\tage\nsub-1\t1\t60\t60\n", "'age' twice"),
        ('participant_id\tseed\tage\nsub-1\t1\t"60\n', "cannot be read"),
    ],
)
def test_a_table_that_is_none(tmp_path: Path, text: str, says: str) -> None:
    assert says in refusal(tmp_path, text)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(BrainLDMError, match=r"Cannot read the table .*\.tsv.*Expected"):
        read_plan(tmp_path / "none.tsv", RANGES)


def test_extrapolation_has_to_be_asked_for(tmp_path: Path) -> None:
    text = HEADER + "sub-1\t1\tF\t60\t300\t1500\n"
    assert "outside what this model knows" in refusal(tmp_path, text)
    assert len(plan(tmp_path, text, extrapolate=True)) == 1


def drawn(folder: Path, design: Design, name: str = "plan.tsv") -> list[dict[str, str]]:
    draw_plan(design, PUBLISHED, folder / name)
    assert len(read_plan(folder / name, RANGES)) == design.number
    with (folder / name).open() as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def numbers(rows: list[dict[str, str]], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows])


def test_the_same_seed_draws_the_same_table(tmp_path: Path) -> None:
    design = Design(50, seed=3)
    first = drawn(tmp_path, design)
    assert drawn(tmp_path, design) == first
    assert drawn(tmp_path, replace(design, seed=4)) != first
    assert len({row["seed"] for row in first}) == 50


def test_the_model_s_distributions_or_those_asked_for(tmp_path: Path) -> None:
    rows = drawn(tmp_path, Design(4000))
    assert numbers(rows, "age").mean() == pytest.approx(63.5, abs=0.5)
    assert np.mean([row["sex"] == "M" for row in rows]) == pytest.approx(0.47, abs=0.03)
    asked = {"age": "normal:50:2", "sex": "F:0.9,M:0.1", "brain_volume_ml": "uniform"}
    rows = drawn(tmp_path, Design(4000, distributions=asked))
    assert numbers(rows, "age").mean() == pytest.approx(50, abs=0.2)
    assert np.mean([row["sex"] == "M" for row in rows]) == pytest.approx(0.1, abs=0.02)
    assert numbers(rows, "brain_volume_ml").std() == pytest.approx(650 / 12**0.5, rel=0.05)


def test_correlations_are_those_asked_for(tmp_path: Path) -> None:
    correlations = {("age", "brain_volume_ml"): -0.6, ("sex", "brain_volume_ml"): 0.5}
    rows = drawn(tmp_path, Design(4000, correlations=correlations))
    age, brain = numbers(rows, "age"), numbers(rows, "brain_volume_ml")
    assert np.corrcoef(age, brain)[0, 1] == pytest.approx(-0.6, abs=0.05)
    male = np.array([row["sex"] == "M" for row in rows])
    assert brain[male].mean() > brain[~male].mean() + 30


def test_rows_of_a_table_keep_what_they_have_in_common(tmp_path: Path) -> None:
    people = ["participant_id\tsex\tage\tventricular_volume (mm3)\tbrain_volume_ml\tsite"]
    people += [f"p{i}\tF\t{50 + i}\t{1000 * (20 + i)}\t1500\tx" for i in range(30)]
    people += ["q\tF\tn/a\t30000\t1500\tx"]
    (tmp_path / "people.tsv").write_text("\n".join(people) + "\n")
    design = Design(200, like=tmp_path / "people.tsv", limits={"age": "60:80"})
    with pytest.warns(UserWarning, match=r"1 rows of .* lack a condition"):
        rows = drawn(tmp_path, design)
    age, ventricles = numbers(rows, "age"), numbers(rows, "ventricular_volume_ml")
    assert age.min() >= 60
    assert age.max() < 80
    np.testing.assert_allclose(ventricles, age - 30, rtol=1e-6)


def test_groups_are_as_large_as_each_other(tmp_path: Path) -> None:
    design = Design(
        61,
        limits={"ventricular_volume_ml": "20:60"},
        balance={"sex": "", "age": "44:70:82"},
    )
    counts = draw_plan(design, PUBLISHED, tmp_path / "plan.tsv")
    assert counts == {
        "sex F, age 44-70": 16,
        "sex F, age 70-82": 15,
        "sex M, age 44-70": 15,
        "sex M, age 70-82": 15,
    }
    rows = drawn(tmp_path, design)
    old_women = [row for row in rows if row["sex"] == "F" and float(row["age"]) >= 70]
    assert len(old_women) == 15
    assert {row["sex"] for row in rows[:20]} == {"F", "M"}  # groups are mixed


def test_categories_of_many_labels(tmp_path: Path) -> None:
    chances = Categorical(probabilities=(0.2, 0.3, 0.5), source="test")
    scanner = Variable(
        name="scanner", kind="category", labels=("a", "b", "c"), distribution=chances
    )
    config = PUBLISHED.model_construct(
        **{**PUBLISHED.__dict__, "conditions": (*PUBLISHED.conditions, scanner)}
    )
    counts = draw_plan(
        Design(9, balance={"scanner": ""}, limits={"scanner": "a,c"}), config, tmp_path / "p.tsv"
    )
    assert counts == {"scanner a": 5, "scanner c": 4}


@pytest.mark.parametrize(
    ("design", "says"),
    [
        (Design(0), "number of volumes is 0"),
        (Design(5, seed=-1), "seed is -1"),
        (Design(5, limits={"bmi": "1:2"}), "no condition 'bmi'"),
        (Design(5, limits={"age": "80:70"}), "expected LOW:HIGH"),
        (Design(5, limits={"age": "30:70"}), "44 to 82 years"),
        (Design(5, limits={"sex": "F,X"}), "expected labels among F, M"),
        (Design(5, balance={"age": "50"}), "groups' edges"),
        (Design(5, balance={"sex": "F"}), "name it alone"),
        (Design(5, distributions={"age": "beta:1:2"}), "expected uniform, normal:MEAN:SD"),
        (Design(5, distributions={"sex": "F:0.5"}), "a share for each label"),
        (Design(5, distributions={"age": "normal:60:-1"}), "expected uniform"),
        (Design(5, correlations={("age", "sex"): 1.0}), "between -1 and 1"),
        (Design(5, like=Path("x.tsv"), distributions={"age": "uniform"}), "give the table, or"),
        (
            Design(
                5,
                correlations={
                    ("sex", "age"): 0.9,
                    ("age", "brain_volume_ml"): 0.9,
                    ("sex", "brain_volume_ml"): -0.9,
                },
            ),
            "positive definite",
        ),
        (Design(5, distributions={"age": "normal:50:1"}, limits={"age": "80:82"}), "Widen"),
    ],
)
def test_designs_that_cannot_be_met(
    tmp_path: Path, design: Design, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draw, "PATIENCE", 10)  # people looked at for each that is wanted
    with pytest.raises(BrainLDMError, match=re.escape(says)):
        draw_plan(design, PUBLISHED, tmp_path / "plan.tsv")
    assert not (tmp_path / "plan.tsv").exists()


def test_a_plan_is_a_tsv(tmp_path: Path) -> None:
    with pytest.raises(BrainLDMError, match=r"expected a name ending in \.tsv"):
        draw_plan(Design(5), PUBLISHED, tmp_path / "plan.csv")


def test_numbers_and_names_that_are_too_long(tmp_path: Path) -> None:
    said = refusal(tmp_path, f"{HEADER}{'a' * 151}\t{'1' * 5000}\tF\t1e999\t30\t1500\n")
    for problem in ("at most 150, since files", "seed is '1111", "line 2: age"):
        assert problem in said
