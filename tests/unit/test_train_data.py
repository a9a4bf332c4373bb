"""A prepared data set and its covariates: every fault is named by file and row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from brainldm.config import Bernoulli, Categorical, LogNormal, Normal, Uniform, Variable
from brainldm.dataset.prepared import PreparedData, read_prepared
from brainldm.errors import BrainLDMError
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.train.covariates import parse_condition, read_covariates
from tests.prepared import AFFINE, SHAPE, write_prepared

Edit = Callable[[Path], None]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("data"), subjects=3)


@pytest.fixture
def data(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "data"))


def image(folder: Path, subject: str = "01") -> Path:
    return next((folder / f"sub-{subject}").rglob("*.nii.gz"))


def replace(file: str, old: str, new: str) -> Edit:
    def edit(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))

    return edit


def content(file: str, text: str) -> Edit:
    return lambda folder: (folder / file).write_text(text) and None


def test_what_is_read(data: Path) -> None:
    heads = read_prepared(data)
    assert heads.subjects == ("00", "01", "02")
    assert heads.shape == SHAPE
    assert np.array_equal(heads.affine, AFFINE)
    assert heads.columns["sex"] == ("F", "M", "F")
    heads.check_images()
    head = heads.image(1)
    assert head.shape == (1, *SHAPE)
    assert head.dtype == torch.float32
    assert (head[0].numpy() == Volume.load(image(data)).array).all()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: shutil.rmtree(d), "There is no data set .*data: expected a folder"),
        (lambda d: (d / "participants.tsv").unlink(), "Cannot read .*participants.tsv"),
        (lambda d: (d / "prepare.json").unlink(), "Cannot read .*prepare.json"),
        (content("prepare.json", "{"), "prepare.json is no JSON object"),
        (content("prepare.json", "[]"), "prepare.json is no JSON object: a list"),
        (content("prepare.json", "{}"), "prepare.json does not say where the images lie"),
        (replace("prepare.json", "16, 16, 16", "16, 16"), "expected a shape"),
        (replace("prepare.json", "-10.0", "0.0"), "invertible"),
        (content("participants.tsv", ""), "row 1: expected column names.*nothing"),
        (content("participants.tsv", "participant_id\tage\n"), "no participants"),
        (replace("participants.tsv", "participant_id", "id"), "row 1: .*got id, sex"),
        (replace("participants.tsv", "score", "age"), "row 1: expected column names, each once"),
        (replace("participants.tsv", "sub-02", "sub-01"), "row 4: sub-01 is there twice, in row 3"),
        (replace("participants.tsv", "sub-02", "sub-0 2"), "row 4: 'sub-0 2' is no participant"),
        (replace("participants.tsv", "\tM\t", "\tM"), "row 3: expected 6 cells .*, got 5"),
        (content("participants.json", '{"age": 3}'), "participants.json: age is 3: expected"),
    ],
)
def test_tables_that_are_wrong(edit: Edit, message: str, data: Path) -> None:
    edit(data)
    with pytest.raises(BrainLDMError, match=message):
        read_prepared(data)


def save(array: np.ndarray, affine: np.ndarray = AFFINE) -> Edit:
    def edit(folder: Path) -> None:
        path = image(folder)
        path.unlink()
        nib.save(nib.Nifti1Image(array.astype(np.float32), affine), path)

    return edit


def cut(keep: int) -> Edit:
    def edit(folder: Path) -> None:
        path = image(folder)
        path.write_bytes(path.read_bytes()[:keep])

    return edit


RAMP = np.linspace(0, 1, np.prod(SHAPE)).reshape(SHAPE)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: image(d).unlink(), "participants.tsv, row 3: there is no image .*sub-01_"),
        (save(RAMP[:8]), "sub-01_.* lies elsewhere .*expected 16 x 16 x 16 .*got 8 x 16 x 16 "),
        (
            save(RAMP, AFFINE + np.eye(4)[[3, 1, 2, 0]] * 0.5),
            "sub-01_.* lies elsewhere than prepare.json says",
        ),
        (cut(0), "Cannot read .*sub-01_.*whole NIfTI"),
        (cut(5), "Cannot read .*sub-01_.*whole NIfTI"),
        (cut(40), "Cannot read .*sub-01_.*whole NIfTI"),
        (lambda d: image(d).write_bytes(b"no image at all" * 99), "Cannot read .*sub-01_"),
    ],
)
def test_headers_that_are_wrong(edit: Edit, message: str, data: Path) -> None:
    edit(data)
    heads = read_prepared(data)
    with pytest.raises(BrainLDMError, match=message):
        heads.check_images()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (save(np.where(RAMP > 0.5, np.nan, RAMP)), "sub-01_.* NaN or infinite"),
        (save(RAMP * 2), "sub-01_.* has intensities from 0 to 2: expected a head within"),
        (save(RAMP - 0.1), "sub-01_.* has intensities from -0.1 to 0.9"),
        (save(np.full(SHAPE, 0.5)), "sub-01_.* has intensities from 0.5 to 0.5: .*not empty"),
        (save(np.zeros(SHAPE)), "sub-01_.* has intensities from 0 to 0"),
        (cut(1000), "Cannot read .*sub-01_"),
        (save(RAMP[:8]), "sub-01_.* lies elsewhere .*got 8 x 16 x 16 "),
    ],
)
def test_images_that_are_wrong(edit: Edit, message: str, data: Path) -> None:
    edit(data)
    with pytest.raises(BrainLDMError, match=message):
        read_prepared(data).image(1)


def test_the_digest_is_of_subjects_and_images(data: Path) -> None:
    heads = read_prepared(data)
    before = heads.digest()
    assert read_prepared(data).digest() == before
    replace("participants.tsv", "1300", "1301")(data)  # conditions are compared by themselves
    assert read_prepared(data).digest() == before
    changed = heads.image(1)[0].numpy().copy()
    changed[0, 0, 0] += 0.25
    save(changed)(data)
    assert read_prepared(data).digest() != before


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


def test_the_descriptions_that_prepare_writes_are_read(data: Path) -> None:
    read = read_covariates(read_prepared(data))
    assert [v.unit for v in read.variables] == ["", "years", "mL", "mL"]
    assert json.loads((data / "participants.json").read_text())["age"]["Units"] == "year"
