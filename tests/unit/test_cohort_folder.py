"""The folder of a cohort: begun by one act, gone on with, refused."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import run
from threading import Barrier

import pytest

from brainldm.cohort.finish import merge_cohort
from brainldm.cohort.folder import CohortFolder
from brainldm.cohort.plan import Plan, read_plan
from brainldm.conditions import ConditionRanges
from brainldm.errors import DataError, StorageError, UsageError
from tests.cohorts import settings_of
from tests.toy import PUBLISHED

ROUNDS, AT_ONCE = 20, 4


def plan_of(file: Path, labels: Sequence[str]) -> Plan:
    rows = "".join(f"sub-{label}\t{seed}\t60\n" for seed, label in enumerate(labels))
    file.write_text(f"participant_id\tseed\tage\n{rows}")
    file.with_suffix(".json").write_text(json.dumps({"age": {"Units": "years"}}))
    return read_plan(file, ConditionRanges(PUBLISHED.conditions))


def begin(out: Path, plan: Plan) -> Plan:
    return CohortFolder(out).begin(settings_of(plan), PUBLISHED, plan)


def test_what_was_asked_for_is_kept(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "people.tsv", "abc")
    kept = begin(tmp_path / "out", plan)
    assert kept.table.file == tmp_path / "out" / "code" / "plan.tsv"
    (tmp_path / "people.tsv").unlink()
    assert [row.label for row in kept.rows(0, 3)] == ["a", "b", "c"]
    folder = CohortFolder(tmp_path / "out")
    assert folder.settings == settings_of(plan)
    assert folder.config == PUBLISHED
    assert (tmp_path / "out" / "code" / "plan.json").is_file()


def test_of_many_that_begin_at_once_one_is_first(tmp_path: Path) -> None:
    """The others are told that its cohort is there, and nothing of theirs is."""
    plans = [plan_of(tmp_path / f"{i}.tsv", [f"{i}x{k}" for k in range(5)]) for i in range(AT_ONCE)]
    barrier = Barrier(AT_ONCE)

    def start(out: Path, plan: Plan) -> bool:
        barrier.wait()
        try:
            begin(out, plan)
        except UsageError as error:
            return "holds another cohort, which differs in" not in str(error)
        return True

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for number in range(ROUNDS):
            out = tmp_path / f"out-{number}"
            won = list(threads.map(start, [out] * AT_ONCE, plans))
            [first] = [plan for plan, first in zip(plans, won, strict=True) if first]
            assert (out / "code" / "plan.tsv").read_bytes() == first.table.file.read_bytes()
            assert CohortFolder(out).settings == settings_of(first)
            assert {path.name for path in out.iterdir()} == {"code", ".brainldm"}


def test_of_many_that_begin_the_same_at_once_all_go_on(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "people.tsv", "abc")
    with ThreadPoolExecutor(AT_ONCE) as threads:
        kept = list(threads.map(begin, [tmp_path / "out"] * AT_ONCE, [plan] * AT_ONCE))
    assert {each.table.file for each in kept} == {tmp_path / "out" / "code" / "plan.tsv"}


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "people.tsv", "abc")
    out = tmp_path / "out"
    (out / ".code.1-0a.partial").mkdir(parents=True)  # of a process that was killed
    begin(out, plan)
    for name in ("notes.txt", "code"):
        other = tmp_path / name.removesuffix(".txt")
        (other / name).mkdir(parents=True)
        with pytest.raises(UsageError, match=r"holds other files. Expected a new or an empty"):
            begin(other, plan)
        assert [path.name for path in other.iterdir()] == [name]


def test_a_plan_of_other_rows_is_another(tmp_path: Path) -> None:
    """Blank lines too, since rows are read again where they stand."""
    plan = plan_of(tmp_path / "people.tsv", "abc")
    begin(tmp_path / "out", plan)
    text = plan.table.file.read_text()
    for changed in (text.replace("60", "61", 1), text.replace("sub-b", "\nsub-b")):
        plan.table.file.write_text(changed)
        other = read_plan(plan.table.file, ConditionRanges(PUBLISHED.conditions))
        with pytest.raises(UsageError, match="plan sha256"):
            begin(tmp_path / "out", other)


def test_what_it_was_begun_with_may_not_be_changed(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "people.tsv", "abc")
    begin(tmp_path / "out", plan)
    code = tmp_path / "out" / "code"
    assert run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=code, check=True)
    for name, was, now in (
        ("plan.tsv", "60", "61"),
        ("plan.json", "years", "months"),
        ("model.json", '"unit": "years"', '"unit": "days"'),
        ("cohort.json", '"batch": 4', '"batch": 4 '),
        ("SHA256SUMS", "  plan.tsv", "0  plan.tsv"),
    ):
        text = (code / name).read_text()
        assert was in text
        (code / name).write_text(text.replace(was, now, 1))
        for what in (lambda: begin(tmp_path / "out", plan), lambda: merge_cohort(tmp_path / "out")):
            with pytest.raises(DataError, match=r"code changed since .* Put back what was there"):
                what()
        (code / name).write_text(text)
    begin(tmp_path / "out", plan)
    settings = (code / "cohort.json").read_text()
    (code / "cohort.json").write_text(settings.replace('"rows": 3', f'"rows": {10**30}', 1))
    with pytest.raises(DataError, match=r"cohort\.json in .* changed since"):
        merge_cohort(tmp_path / "out")
    (code / "cohort.json").write_text(settings)
    (code / "plan.json").unlink()
    with pytest.raises(DataError, match=r"plan\.json in .* changed since"):
        begin(tmp_path / "out", plan)


def test_of_processes_that_begin_at_once_one_is_first(tmp_path: Path) -> None:
    """Plans of two processes, of which each has a folder of its own for a plan and writes it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.unit.test_cohort_folder"])
    barrier = context.Barrier(2)
    processes = [
        context.Process(target=_begin_all, args=(tmp_path, name, barrier)) for name in ("a", "b")
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    firsts = [[Path(tmp_path, f"{name}-{i}").exists() for name in "ab"] for i in range(ROUNDS)]
    assert all(sorted(each) == [False, True] for each in firsts)
    for i, (first, _) in enumerate(firsts):
        code = tmp_path / f"out-{i}" / "code"
        assert (code / "plan.tsv").read_bytes() == (tmp_path / f"{'ba'[first]}.tsv").read_bytes()
        CohortFolder(tmp_path / f"out-{i}").check()


def _begin_all(folder: Path, name: str, barrier: Barrier) -> None:
    plan = plan_of(folder / f"{name}.tsv", [f"{name}{k}" for k in range(5)])
    for i in range(ROUNDS):
        barrier.wait(60)
        try:
            begin(folder / f"out-{i}", plan)
            (folder / f"{name}-{i}").touch()
        except UsageError:
            pass


def test_a_folder_without_a_cohort_and_settings_that_are_damaged(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no cohort"):
        _ = CohortFolder(tmp_path).settings
    begin(tmp_path / "out", plan_of(tmp_path / "people.tsv", "abc"))
    file = tmp_path / "out" / "code" / "cohort.json"
    for text, says in (
        ("[]", "where an object was expected"),
        ("{}", "model: Field required"),
        (file.read_text().replace('"batch": 4', '"batch": "four"'), "batch: Input should be"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=says):
            _ = CohortFolder(tmp_path / "out").settings


def test_a_folder_is_held_alone_or_not_at_all(tmp_path: Path) -> None:
    begin(tmp_path / "out", plan_of(tmp_path / "people.tsv", "abc"))
    folder = CohortFolder(tmp_path / "out")
    with folder.journal("one"), folder.journal("two"):
        pass
    with (
        folder.journal("one"),
        pytest.raises(StorageError, match="Another process is making this part"),
        folder.alone(),
    ):
        pass
    with folder.alone(), pytest.raises(StorageError, match="Another process"):
        folder.journal("two")
    folder.journal("two").close()


def test_a_model_that_is_no_text(tmp_path: Path) -> None:
    begin(tmp_path / "out", plan_of(tmp_path / "people.tsv", "abc"))
    (tmp_path / "out" / "code" / "model.json").write_bytes(b"\xff{}")
    with pytest.raises(DataError, match=r"model\.json is no text: .* put back what was there"):
        _ = CohortFolder(tmp_path / "out").config
