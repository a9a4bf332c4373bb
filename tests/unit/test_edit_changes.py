"""What is to become of a person, and what is known of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainldm.conditions import Conditions
from brainldm.edit.changes import check_changes, people, series
from brainldm.edit.known import Known, complete, in_table, written
from brainldm.edit.reading import sidecar_of
from brainldm.errors import DataError, UsageError
from brainldm.image.volume import Volume
from brainldm.segment.measures import Measures
from tests.toy import PERSON, toy_config

CONFIG = toy_config()
HEAD = Volume(np.zeros((2, 2, 2)), np.eye(4))


def changed(changes: Any) -> list[Conditions]:
    return people(PERSON, changes, CONFIG)


def test_a_number_is_what_it_becomes_and_a_signed_text_the_difference() -> None:
    [absolute] = changed({"age": 75})
    [same] = changed({"age": "75"})
    [more] = changed({"age": "+10", "brain_volume_ml": "-50"})
    assert absolute.age == same.age == 75
    assert (more.age, more.brain_volume_ml) == (75, 1400)
    assert absolute.brain_volume_ml == PERSON.brain_volume_ml
    assert absolute.sex == "F"
    [man] = changed({"sex": "M"})
    assert man.sex == "M"


def test_several_values_are_a_series() -> None:
    ages = series({"age": "50,60, 70", "sex": "M"})
    assert [(each.age, each.sex) for each in changed(ages)] == [(50, "M"), (60, "M"), (70, "M")]
    assert series({}) == []


@pytest.mark.parametrize(
    ("several", "message"),
    [
        ({"age": "50,60,70", "brain_volume_ml": "1,2"}, "brain_volume_ml has 2"),
        ({"age": "50,,70"}, r"age is '50,,70': expected one value or several"),
        ({"age": ""}, "age is ''"),
    ],
)
def test_a_series_that_does_not_match_is_refused(several: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        series(several)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([], "Nothing is to change"),
        ({}, "Nothing is to change"),
        ({"agee": 3}, "no condition agee.*age"),
        ({"sex": "+1"}, "sex is to change by 1.*'F'"),
    ],
)
def test_changes_that_make_no_sense_are_refused(changes: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        changed(changes)


def test_changes_are_checked_without_a_person() -> None:
    check_changes([{"age": "+1"}], CONFIG)
    with pytest.raises(UsageError, match="no condition weight"):
        check_changes([{"weight": "+1"}], CONFIG)


class Always:
    """Measures the same of any head."""

    identity = "always"

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def measure(self, volume: Volume) -> Measures:
        if self.fails:
            raise DataError("no brain was found")
        return Measures(31.0, 1402.0)


def known(said: Any, network: Any = None) -> Known:
    return complete(CONFIG, said, lambda: HEAD, network)


def test_the_first_that_says_something_counts() -> None:
    given = {"age": 60.0, "sex": "M"}
    rest = {"age": 70.0, "ventricular_volume_ml": 20.0, "brain_volume_ml": 1500.0, "height": 2.0}
    found = known({"given": given, "sidecar": rest})
    assert found.conditions == Conditions("M", 60.0, 20.0, 1500.0)
    assert found.origins == {
        **{"sex": "given", "age": "given"},
        **{"ventricular_volume_ml": "sidecar", "brain_volume_ml": "sidecar"},
    }


def test_volumes_that_nobody_says_are_measured() -> None:
    found = known({"given": {"age": 60.0, "sex": "M", "brain_volume_ml": 1500.0}}, Always())
    assert found.conditions == Conditions("M", 60.0, 31.0, 1500.0)
    assert found.origins["ventricular_volume_ml"] == "measured (always)"
    assert found.origins["brain_volume_ml"] == "given"


def test_sex_and_age_are_never_guessed() -> None:
    with pytest.raises(UsageError, match=r"not given: sex, age.*--known sex=F\|M --known age="):
        known({}, Always())


def test_volumes_that_cannot_be_measured_are_asked_for() -> None:
    with pytest.raises(UsageError, match=r"ventricular_volume_ml.*no brain was found"):
        known({"given": {"age": 60.0, "sex": "M"}}, Always(fails=True))


def test_a_table_in_the_folders_above_says_who_it_is(tmp_path: Path) -> None:
    scan = tmp_path / "sub-7" / "anat" / "sub-7_T1w.nii.gz"
    table = "participant_id\tsex\tage\tventricular_volume_ml\nsub-7\tF\t61\tn/a\n"
    assert in_table(scan) == {}
    (tmp_path / "participants.tsv").write_text(table)
    assert in_table(scan) == {"sex": "F", "age": 61.0}
    assert in_table(tmp_path / "sub-8_T1w.nii.gz") == {}
    (tmp_path / "participants.tsv").write_text(table.replace("61", "old"))
    with pytest.raises(DataError, match="old"):
        in_table(scan)


def test_what_brainldm_wrote_beside_a_head_is_known(tmp_path: Path) -> None:
    said = {"brainldm": {"conditions": {"age": {"value": 61}}, "measured": {"brain_volume_ml": 9}}}
    (tmp_path / "head.json").write_text(json.dumps(said))
    assert written(sidecar_of(tmp_path / "head.nii.gz")) == {"age": 61, "brain_volume_ml": 9}
    assert written(sidecar_of(tmp_path / "other.nii.gz")) == {}
