"""Columns become conditions, and people who belong together stay together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from brainldm.config import Bernoulli, Categorical, LogNormal, Normal, Uniform, Variable
from brainldm.dataset.prepared import PreparedData, read_prepared
from brainldm.errors import BrainLDMError, UsageError
from brainldm.image.grid import Grid
from brainldm.train.covariates import parse_condition, read_covariates
from brainldm.train.groups import groups_of, held_out, pairs
from tests.prepared import SHAPE, write_prepared


def table(
    cells: dict[str, list[str | None]], descriptions: dict[str, dict[str, object]] | None = None
) -> PreparedData:
    """A data set of nothing but a table."""
    count = len(next(iter(cells.values())))
    subjects = tuple(f"{i:02d}" for i in range(count))
    columns = {name: tuple(column) for name, column in cells.items()}
    rows = tuple(range(2, count + 2))
    grid = Grid.of(SHAPE, np.eye(4))
    return PreparedData(Path("data"), subjects, rows, columns, descriptions or {}, grid, {})


def test_numbers_are_scaled_by_their_range_and_gaps_leave_a_subject_out() -> None:
    heads = table({"age": ["40", "50", None, "80"], "sex": ["F", "M", "F", "M"]})
    read = read_covariates(heads, ["age:years", "sex"])
    assert read.index == (0, 1, 3)
    assert read.left_out == ("02",)
    assert torch.equal(read.context, torch.tensor([[0.0, 0], [0.25, 1], [1, 1]]))
    age, sex = read.variables
    assert (age.low, age.high, age.unit) == (40, 80, "years")
    assert sex.labels == ("F", "M")
    assert isinstance(sex.distribution, Bernoulli)
    assert sex.distribution.probability == pytest.approx(2 / 3)
    assert "3 subjects" in age.distribution.source


def test_a_gap_in_a_column_that_is_not_asked_for_leaves_nobody_out() -> None:
    heads = table({"age": ["40", "50"], "score": ["1", None]})
    assert read_covariates(heads, ["age"]).index == (0, 1)


def test_a_category_of_any_two_labels() -> None:
    read = read_covariates(table({"scanner": ["Tesla3", "Avanto", "Tesla3"]}), ["scanner"])
    assert read.variables[0].labels == ("Avanto", "Tesla3")
    assert read.context[:, 0].tolist() == [1, 0, 1]


def test_each_of_more_labels_is_a_number() -> None:
    heads = table({"site": ["B", "A", None, "C", "B"], "age": ["40", "60", "50", "80", "60"]})
    read = read_covariates(heads, ["site", "age"])
    assert read.variables[0].labels == ("A", "B", "C")
    assert isinstance(read.variables[0].distribution, Categorical)
    assert read.variables[0].distribution.probabilities == (0.25, 0.5, 0.25)
    expected = [[0, 1, 0, 0], [1, 0, 0, 0.5], [0, 0, 1, 1], [0, 1, 0, 0.5]]
    assert torch.equal(read.context, torch.tensor(expected))


def test_labels_that_read_as_numbers() -> None:
    heads = table({"scanner": ["2", "1", "3"]})
    assert read_covariates(heads, ["scanner"]).variables[0].kind == "continuous"
    read = read_covariates(heads, ["scanner:category"])
    assert read.variables[0].labels == ("1", "2", "3")
    described = table({"scanner": ["2", "1", "2"]}, {"scanner": {"Levels": {"1": "", "2": ""}}})
    assert read_covariates(described, ["scanner"]).variables[0].labels == ("1", "2")
    again = read_covariates(table({"scanner": ["3", "3"]}), [], read.variables)
    assert torch.equal(again.context, torch.tensor([[0.0, 0, 1], [0, 0, 1]]))
    with pytest.raises(BrainLDMError, match="row 2: scanner is '4': expected 1 or 2 or 3"):
        read_covariates(table({"scanner": ["4"]}), [], read.variables)


def test_units_of_the_table_are_written_as_here() -> None:
    described = {"age": {"Units": "year"}, "csf": {"Units": "ML"}}
    heads = table({"age": ["40", "50"], "csf": ["1", "2"]}, described)
    assert [v.unit for v in read_covariates(heads, ["age", "csf"]).variables] == ["years", "mL"]


KNOWN = Variable(
    name="age",
    unit="years",
    low=44,
    high=82,
    distribution=Normal(mean=63, sd=7, source="elsewhere"),
)


def test_conditions_of_a_model_keep_their_ranges() -> None:
    heads = table({"age": ["40", "63"], "score": ["0", "5"]})
    read = read_covariates(heads, ["age", "score"], (KNOWN,))
    assert read.variables[0] == KNOWN
    assert read.context[:, 0].tolist() == pytest.approx([-4 / 38, 0.5])
    assert (read.variables[1].low, read.variables[1].high) == (0, 5)
    assert read_covariates(heads, (), (KNOWN,)).variables == (KNOWN,)


@pytest.mark.parametrize(
    ("cells", "conditions", "message"),
    [
        ({"age": ["1", "2"]}, ["height"], "participants.tsv has no column height: .*it has age"),
        ({"age": ["1", "2"]}, [], "has no column sex"),
        ({"age": ["1", "2"]}, ["age", "age:years"], "given twice: age, age"),
        ({"age": ["1", "2"]}, [":years"], "--condition :years: expected a column"),
        ({"age": [None, "2"], "b": ["1", None]}, ["age", "b"], "no participant has a value in all"),
        ({"age": ["5", "5"]}, ["age"], "age is 5 for everybody"),
        ({"sex": ["F", "F"]}, ["sex"], "sex is F for everybody"),
        ({"a b": ["1", "2"]}, ["a b"], "a b cannot be the name of a condition: .* Rename"),
        ({"id": [f"x{i}" for i in range(30)]}, ["id"], "id has 30 labels, for instance 'x0'"),
        ({"dose": ["low", "high"]}, ["dose:mg"], "row 2: dose is 'low': expected a finite number"),
        (
            {"age": ["61,5", "62", "63"]},
            ["age"],
            "row 2: age is '61,5': expected a finite",
        ),
        ({"age": ["61", "62 years", "63"]}, ["age"], "row 3: age is '62 years': expected a finite"),
        (
            {"age": ["61", "62", "inf"]},
            ["age"],
            "'inf'.* say so: --condition age:category",
        ),
    ],
)
def test_columns_that_are_wrong(
    cells: dict[str, list[str | None]], conditions: list[str], message: str
) -> None:
    with pytest.raises(BrainLDMError, match=message):
        read_covariates(table(cells), conditions)


def test_a_unit_or_comma_in_a_cell_of_a_known_number() -> None:
    for cell in ("61,5", "61 y", "nan"):
        with pytest.raises(BrainLDMError, match=f"row 3: age is '{cell}': expected a finite"):
            read_covariates(table({"age": ["60", cell]}), ["age"], (KNOWN,))


def test_a_label_that_the_table_does_not_list() -> None:
    heads = table({"sex": ["F", "M", "female"]}, {"sex": {"Levels": {"F": "", "M": ""}}})
    with pytest.raises(BrainLDMError, match="row 4: sex is 'female': expected one of F, M"):
        read_covariates(heads, ["sex"])


def test_units_that_contradict() -> None:
    heads = table({"age": ["700", "800"]}, {"age": {"Units": "month"}})
    with pytest.raises(BrainLDMError, match=r"--condition age:years: participants.json .* month"):
        read_covariates(heads, ["age:years"])
    with pytest.raises(BrainLDMError, match=r"age is in month, and the model .* has it in years"):
        read_covariates(heads, ["age"], (KNOWN,))
    with pytest.raises(BrainLDMError, match=r"age is in days, and the model .* has it in years"):
        read_covariates(table({"age": ["70", "80"]}), ["age:days"], (KNOWN,))


@pytest.mark.parametrize(
    ("draw", "kind"),
    [
        (lambda r: r.normal(1400, 90, 400), Normal),
        (lambda r: r.uniform(44, 82, 400), Uniform),
        (lambda r: r.lognormal(3.5, 0.6, 400), LogNormal),
        (lambda r: r.normal(1400, 90, 10), Uniform),  # too few to tell
        (lambda r: -r.lognormal(3.5, 0.6, 400), Normal),  # skewed, but a lognormal is positive
    ],
)
def test_a_distribution_is_fitted(
    draw: Callable[[np.random.Generator], np.ndarray], kind: type
) -> None:
    values = draw(np.random.default_rng(0))
    heads = table({"x": [repr(float(value)) for value in values]})
    distribution = read_covariates(heads, ["x"]).variables[0].distribution
    assert isinstance(distribution, kind)
    if isinstance(distribution, Normal):
        assert distribution.mean == pytest.approx(values.mean())
        assert distribution.sd == pytest.approx(values.std())
    if isinstance(distribution, LogNormal):
        assert distribution.median == pytest.approx(np.exp(np.log(values).mean()))
        assert distribution.sd == pytest.approx(np.log(values).std())


def test_a_condition_is_a_name_and_its_unit() -> None:
    assert parse_condition("age") == ("age", "")
    assert parse_condition(" age : Year ") == ("age", "years")
    assert parse_condition("dose:mg/kg") == ("dose", "mg/kg")


def test_the_descriptions_that_prepare_writes_are_read(tmp_path: Path) -> None:
    data = write_prepared(tmp_path / "data", subjects=3)
    read = read_covariates(read_prepared(data))
    assert [v.unit for v in read.variables] == ["", "years", "mL", "mL"]
    assert json.loads((data / "participants.json").read_text())["age"]["Units"] == "year"


def test_a_range_may_be_given_in_place_of_the_datas() -> None:
    heads = table({"age": ["40", "63"], "score": ["0", "5"], "sex": ["F", "M"]})
    read = read_covariates(heads, ["age", "score"], (), {"age": (30, 130)})
    age, score = read.variables
    assert (age.low, age.high, score.low, score.high) == (30, 130, 0, 5)
    assert read.context[:, 0].tolist() == pytest.approx([0.1, 0.33])
    assert read_covariates(heads, ["age"], (KNOWN,), {"age": (44, 82)}).variables == (KNOWN,)
    for conditions, ranges, known, message in (
        (["age"], {"score": (0, 9)}, (), "ranges has score: expected conditions, age"),
        (["age"], {"age": (0, 9)}, (KNOWN,), "ranges.age is 0 to 9, and the model .* 44 to 82"),
        (["age"], {"age": (90, 30)}, (), "ranges.age is 90 to 30: expected a low and a high"),
        (["sex"], {"sex": (0, 1)}, (), "ranges has sex, which has labels: F, M"),
    ):
        with pytest.raises(UsageError, match=message):
            read_covariates(heads, conditions, known, ranges)


def test_who_belongs_together() -> None:
    heads = table({"person": ["a", "b", None, "a", "c"]})
    assert groups_of(heads, None) == ("00", "01", "02", "03", "04")
    groups = groups_of(heads, "person")
    assert groups == ("a", "b", "02", "a", "c")
    with pytest.raises(UsageError, match=r"training.group is family, .* expected one of person"):
        groups_of(heads, "family")


def test_whole_groups_are_held_out() -> None:
    groups = [f"{i // 2}" for i in range(40)]
    for share in (0.05, 0.3):
        apart = held_out(groups, share)
        assert len(apart) == 20 * share
        assert held_out(list(reversed(groups)), share) == apart
    assert held_out(groups, 0) == frozenset()
    assert len(held_out(["a", "b"], 0.001)) == 1
    assert len(held_out(["a", "b"], 0.999)) == 1


def test_pairs_are_of_a_group() -> None:
    groups = ["a", "b", "a", "c", "c", "c", "d", "b"]
    expected = [(0, 2), (1, 7), (3, 4), (5, 3), (6, 6)]
    assert pairs(range(8), groups) == expected
    assert pairs([0, 1, 2], groups) == [(0, 2), (1, 1)]
    with pytest.raises(UsageError, match=r"training.group puts no two heads together"):
        pairs([0, 1, 3], groups)
