from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from brainldm.conditions import ConditionRanges, Conditions
from brainldm.config import Bernoulli, Categorical, Uniform, Variable
from brainldm.errors import BrainLDMError
from tests.toy import PUBLISHED

RANGES = ConditionRanges(PUBLISHED.conditions)
WHOLE = {"sex": "F", "age": 65, "ventricular_volume_ml": 30, "brain_volume_ml": 1450}


def test_units_become_the_published_scale() -> None:
    context = RANGES.normalise([Conditions(**WHOLE)])
    expected = [0, (65 - 44) / 38, (30_000 - 6995.68) / 164379.32, (1_450_000 - 1144240) / 649670]
    np.testing.assert_allclose(context, [expected], rtol=1e-6)
    assert context.dtype == np.float32


def test_ends_of_the_ranges_are_inside() -> None:
    ends = [Conditions("F", 44, 6.99568, 1144.240), Conditions("M", 82, 171.375, 1793.910)]
    np.testing.assert_array_equal(RANGES.normalise(ends), [[0] * 4, [1] * 4])


def test_normalised_values_pass_through() -> None:
    conditions = Conditions.from_normalised(
        sex=1.0, age=0.7, ventricular_volume=0.7, brain_volume=0.5
    )
    np.testing.assert_allclose(RANGES.normalise([conditions]), [[1, 0.7, 0.7, 0.5]], rtol=1e-6)
    # FACTS of the published example: a 70.6-year-old with 122 mL of ventricular CSF
    described = RANGES.describe(conditions)
    assert described["sex"]["value"] == "M"
    assert described["age"]["value"] == pytest.approx(70.6)
    assert described["ventricular_volume_ml"]["value"] == pytest.approx(122.06, abs=0.01)


def test_sex_may_be_a_letter_among_normalised_values() -> None:
    conditions = Conditions.from_normalised("M", 0.5, 0.5, 0.5)
    np.testing.assert_array_equal(RANGES.normalise([conditions]), [[1, 0.5, 0.5, 0.5]])


def test_there_and_back() -> None:
    conditions = Conditions(**WHOLE)
    back = RANGES.denormalise(RANGES.normalise([conditions])[0])
    assert back.sex == "F"
    assert back.age == pytest.approx(65)
    assert back.ventricular_volume_ml == pytest.approx(30, rel=1e-5)
    assert back.brain_volume_ml == pytest.approx(1450)


def test_description_keeps_what_was_given_and_says_both_units() -> None:
    assert RANGES.describe(Conditions(**WHOLE))["age"] == {
        "value": 65,
        "unit": "years",
        "normalised": 21 / 38,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": None}, r"age is missing: expected 44 to 82 years \(0 to 1 normalised\)"),
        ({"age": math.nan}, "age is nan: expected a finite number, 44 to 82 years"),
        ({"age": 10**400}, "age is inf: expected a finite number"),
        ({"brain_volume_ml": math.inf}, "brain_volume_ml is inf: expected a finite number"),
        ({"age": "65"}, "age is '65': expected a number, 44 to 82 years"),
        ({"age": True}, "age is True: expected a number"),
        ({"sex": "X"}, 'sex is \'X\': expected "F" or "M"'),
        ({"sex": 1.0}, r"sex is 1\.0: expected \"F\" or \"M\".*Conditions\.from_normalised"),
        ({"sex": None}, "sex is missing"),
    ],
)
def test_what_is_no_condition(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BrainLDMError, match=message):
        RANGES.normalise([Conditions(**{**WHOLE, **change})])


def test_outside_the_range_says_both_units_and_the_way_out() -> None:
    with pytest.raises(BrainLDMError) as caught:
        RANGES.normalise([Conditions(**{**WHOLE, "age": 90})])
    assert str(caught.value) == (
        "age is 90 years (1.211 normalised), outside what this model knows: expected 44 to 82 "
        "years (0 to 1 normalised). Choose a value inside, or ask for extrapolation "
        "(extrapolate=True, --extrapolate)."
    )


def test_normalised_outside_the_range_says_the_same() -> None:
    conditions = Conditions.from_normalised(0, 0.5, -0.5, 0.5)
    with pytest.raises(BrainLDMError, match=r"is -75\.194 mL \(-0\.5 normalised\)"):
        RANGES.normalise([conditions])


def test_extrapolation_is_possible_on_purpose() -> None:
    conditions = Conditions.from_normalised(0, 0.5, 1.9, -0.5)
    context = RANGES.normalise([conditions], extrapolate=True)
    np.testing.assert_allclose(context, [[0, 0.5, 1.9, -0.5]], rtol=1e-6)
    with pytest.raises(BrainLDMError, match="finite"):
        RANGES.normalise([Conditions.from_normalised(0, math.nan, 0, 0)], extrapolate=True)


def test_what_is_left_out_is_drawn_with_the_seed() -> None:
    first, drawn = RANGES.complete(Conditions(age=65), seed=7)
    assert drawn == ("sex", "ventricular_volume_ml", "brain_volume_ml")
    assert first.age == 65
    assert first == RANGES.complete(Conditions(age=65), seed=7)[0]
    assert first != RANGES.complete(Conditions(age=65), seed=8)[0]
    RANGES.normalise([first])


def test_a_draw_does_not_depend_on_what_else_is_left_out() -> None:
    alone, _ = RANGES.complete(Conditions(**{**WHOLE, "brain_volume_ml": None}), seed=3)
    among, _ = RANGES.complete(Conditions(), seed=3)
    assert alone.brain_volume_ml == among.brain_volume_ml


def test_nothing_left_out_nothing_drawn() -> None:
    conditions = Conditions(**WHOLE)
    assert RANGES.complete(conditions, seed=0) == (conditions, ())


def test_drawing_among_normalised_values_gives_the_same_head() -> None:
    units, _ = RANGES.complete(Conditions(), seed=5)
    normalised, _ = RANGES.complete(Conditions.from_normalised(), seed=5)
    np.testing.assert_allclose(RANGES.normalise([normalised]), RANGES.normalise([units]), rtol=1e-6)


def test_draws_follow_the_documented_distributions() -> None:
    people = [RANGES.complete(Conditions(), seed)[0] for seed in range(2000)]
    context = RANGES.normalise(people)  # raises if any is outside the ranges
    assert np.mean(context[:, 0]) == pytest.approx(0.47, abs=0.04)
    ages = np.array([person.age for person in people])
    # truncated to 44..82, the normal 63.6 +- 7.5 has mean 63.5 and standard deviation 7.3
    assert ages.mean() == pytest.approx(63.5, abs=0.6)
    assert ages.std() == pytest.approx(7.3, abs=0.4)
    ventricles = np.array([person.ventricular_volume_ml for person in people])
    assert np.median(ventricles) == pytest.approx(35, rel=0.05)
    assert np.mean([person.brain_volume_ml for person in people]) == pytest.approx(1500, abs=6)


def test_draws_of_different_variables_are_independent() -> None:
    people = [RANGES.complete(Conditions(), seed)[0] for seed in range(1000)]
    correlations = np.corrcoef(RANGES.normalise(people).T)
    assert np.abs(correlations - np.eye(4)).max() < 0.1


def test_uniform_draws_cover_the_range() -> None:
    age = Variable(name="age", low=10, high=20, distribution=Uniform(source="-"))
    ranges = ConditionRanges([age])
    ages = [ranges.complete(Conditions(), seed)[0].age for seed in range(300)]
    assert min(ages) < 10.5 < 19.5 < max(ages)


OTHERS = ConditionRanges(
    [
        PUBLISHED.conditions[1],
        Variable(
            name="field_strength_t", unit="T", low=1.5, high=7, distribution=Uniform(source="-")
        ),
        Variable(
            name="diagnosis",
            kind="category",
            labels=("control", "AD"),
            distribution=Bernoulli(probability=0.5, source="-"),
        ),
    ]
)


def test_a_model_may_have_other_conditions() -> None:
    person = Conditions(age=63, others={"field_strength_t": 3, "diagnosis": "AD"})
    context = OTHERS.normalise([person])
    np.testing.assert_allclose(context, [[0.5, 1.5 / 5.5, 1]], rtol=1e-6)
    back = OTHERS.denormalise(context[0])
    assert back.given == pytest.approx(person.given)
    assert OTHERS.describe(person)["diagnosis"]["value"] == "AD"


def test_other_conditions_on_the_models_own_scale() -> None:
    person = Conditions.from_normalised(age=0.5, field_strength_t=0.25, diagnosis="AD")
    np.testing.assert_allclose(OTHERS.normalise([person]), [[0.5, 0.25, 1]])


def test_other_conditions_are_drawn_too() -> None:
    complete, drawn = OTHERS.complete(Conditions(others={"diagnosis": "AD"}), seed=5)
    assert drawn == ("age", "field_strength_t")
    assert 1.5 <= complete.given["field_strength_t"] <= 7
    assert complete.sex is None
    assert OTHERS.complete(Conditions(), seed=5)[0].age == complete.age


@pytest.mark.parametrize(
    "person", [Conditions(sex="F", age=60), Conditions(age=60, others={"iq": 100})]
)
def test_a_condition_that_the_model_does_not_have(person: Conditions) -> None:
    message = r"no condition (sex|iq): expected age, field_strength_t, diagnosis\. Leave it out"
    with pytest.raises(BrainLDMError, match=message):
        OTHERS.complete(person, seed=0)
    with pytest.raises(BrainLDMError, match=message):
        OTHERS.normalise([person])


def test_a_standard_condition_has_one_place() -> None:
    with pytest.raises(BrainLDMError, match="others has age: expected only what has no argument"):
        Conditions(others={"age": 60})


SCANNER = Variable(
    name="scanner",
    kind="category",
    labels=("1", "2", "trio"),
    distribution=Categorical(probabilities=(0.5, 0.2, 0.3), source="-"),
)
WITH_SCANNER = ConditionRanges([PUBLISHED.conditions[1], SCANNER])


def test_each_of_many_labels_is_a_number_of_the_context() -> None:
    people = [Conditions(age=63, others={"scanner": label}) for label in ("2", "trio")]
    context = WITH_SCANNER.normalise(people)
    np.testing.assert_allclose(context, [[0.5, 0, 1, 0], [0.5, 0, 0, 1]])
    assert [WITH_SCANNER.denormalise(row).given["scanner"] for row in context] == ["2", "trio"]
    described = WITH_SCANNER.describe(people[0])["scanner"]
    assert described == {"value": "2", "unit": "", "normalised": [0, 1, 0]}


def test_many_labels_on_the_models_own_scale_stay_labels() -> None:
    person = Conditions.from_normalised(age=0.5, scanner="trio")
    np.testing.assert_allclose(WITH_SCANNER.normalise([person]), [[0.5, 0, 0, 1]])


def test_many_labels_are_drawn_by_their_probabilities() -> None:
    drawn = [
        WITH_SCANNER.complete(Conditions(age=60), seed)[0].given["scanner"] for seed in range(400)
    ]
    for label, share in zip(("1", "2", "trio"), (0.5, 0.2, 0.3), strict=True):
        assert drawn.count(label) / 400 == pytest.approx(share, abs=0.08)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("value", ["3", 2, 0.5])
def test_what_is_not_one_of_many_labels(value: object, normalised: bool) -> None:
    person = Conditions.of({"age": 0.5, "scanner": value}, normalised=normalised)
    with pytest.raises(BrainLDMError, match='expected "1" or "2" or "trio"'):
        WITH_SCANNER.normalise([person], extrapolate=True)
