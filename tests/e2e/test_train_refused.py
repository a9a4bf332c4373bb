"""What `brainldm train` refuses: settings, data and folders, each with a word about it."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.prepared import AFFINE, SHAPE
from tests.runs import Cli, Runs, contents, refused


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs.finished(tmp_path_factory.mktemp("runs"))


def test_other_settings_in_the_same_folder_are_refused(runs: Runs, cli: Cli) -> None:
    before = contents(runs.first) | contents(runs.second)
    refused(
        cli(*runs.autoencoder, "--out", runs.first, "--set", "training.steps=99"),
        "holds a run of another configuration",
        "settings.training.steps: it was begun with 12, now 99",
    )
    refused(
        cli(*runs.diffusion, "--autoencoder", runs.first, "--out", runs.second),
        "network.context_dim: it was begun with 2, now 4",
    )
    refused(cli(*runs.autoencoder, "--out", runs.second), "stage: it was begun with")
    assert contents(runs.first) | contents(runs.second) == before
    # How it is run may change.
    assert cli(*runs.autoencoder, "--out", runs.first, "--set", "run.workers=2").code == 0


def test_settings_may_be_corrected_until_something_is_learned(
    runs: Runs, cli: Cli, tmp_path: Path
) -> None:
    command = (*runs.autoencoder, "--out", tmp_path / "run", "--set", "run.tracker=none")
    refused(cli(*command, "--set", "training.learning_rate=1e30"), "diverged at step 2", "sub-0")
    assert cli(*command, "--set", "training.steps=1").code == 0


def test_what_cannot_be_trained_is_refused(runs: Runs, cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = ("train", "autoencoder", "--preset", "tiny", "--out", out, "--data")
    refused(cli(*first, tmp_path / "none"), "There is no data set")
    refused(cli(*first, runs.data, "--device", "gpu"), "gpu")
    refused(cli(*first, runs.data, "--set", "training.stepz=1"), "autoencoder.training.stepz")
    refused(cli(*first, runs.data, "--set", "crop=[32, 8, 8]"), "larger than the images")
    refused(cli(*first, runs.data, "--set", "run.tracker=paper"), "run.tracker")
    refused(
        cli(*first, runs.data, "--set", "loss.adversarial={weight: 1, learning_rate: 1.0e-3}"),
        "too small for a discriminator of 3 layers",
    )
    diffusion = (*runs.diffusion, "--out", out)
    trained = (*diffusion, "--autoencoder", runs.first)
    refused(cli(*diffusion), "Expected an autoencoder")
    refused(cli(*diffusion, "--autoencoder", "demo"), "has voxels 10 x 10 x 10 mm")
    refused(cli(*trained, "--condition", "height"), "has no column height")
    refused(cli(*trained, "--lora", "2"), "expected one to start from (--from)")
    refused(cli(*trained, "--from", runs.second, "--lora", "0"), "--lora is 0")
    refused(cli(*trained, "--from", runs.second, "--condition", "score:kg"), "score is in kg")
    assert cli(*trained, "--lora", "two").code == 2
    refused(cli(*trained, "--set", "run.segmenter=antz"), "'antz': expected network, ants")
    refused(cli(*trained, "--set", "pairs=true"), "diffusion: ", "pairs needs training.group")
    refused(cli(*trained, "--set", "training.group=height"), "height, which is no column of")
    alone = ("--set", "training.group=score", "--set", "pairs=true")
    refused(cli(*trained, *alone), "training.group puts no two heads together")
    guided = ("--set", "guidance=1.5")
    refused(cli(*trained, *guided), "guidance is learned from", "trained with condition_dropout")
    refused(cli(*diffusion, "--from", runs.second, *guided), "trained with condition_dropout")
    larger = "emphasis={%s: {strength: 2, against: %s}}"
    refused(cli(*trained, "--set", larger % ("score", 1)), "emphasis and centre are learned from")
    other = (*diffusion, "--from", runs.second, "--set")
    refused(cli(*other, larger % ("height", 1)), "emphasis has height", "score")
    refused(cli(*other, larger % ("score", 1e9)), "score.against is 1e+09", "of its range")
    dropped = ("--set", "condition_dropout=0.1")
    refused(cli(*other, larger % ("score", 1), *dropped), "leave out condition_dropout")
    refused(cli(*trained, "--set", "centre=3"), "centre are learned from the model", "(--from)")
    refused(cli(*other, "centre=3", "--set", "guidance=2"), "teach guidance and emphasis to it")
    refused(cli(*other, "centre=0"), "centre")
    refused(cli(*trained, "--set", "sampler=euler"), "diffusion.sampler", "'dpm++2m-sde'")
    refused(cli(*trained, "--set", "ranges.height=[1, 2]"), "ranges has height")
    everybody = ("--set", "training.held_out=0.9", "--condition", "score")
    assert cli(*trained, *everybody, "--dry-run").code == 0


def test_decoders_that_cannot_be_finished(runs: Runs, cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "run"
    tiny = ("train", "decoder", "--data", runs.data, "--preset", "tiny", "--out", out, "--from")
    refused(cli(*tiny, tmp_path / "none"), "none")
    refused(cli(*tiny, runs.first), "models")
    refused(cli(*tiny, "demo"), "has voxels 10 x 10 x 10 mm")
    command = (*tiny, runs.second, "--set")
    refused(cli(*command, "crop=[32, 8, 8]"), "larger than the images")
    refused(cli(*command, "crop=[7, 8, 8]"), "crop", "7")
    refused(cli(*command, "remade=1.5"), "decoder.remade", "less than or equal to 1")
    refused(cli(*command, "blend=0"), "decoder.blend", "greater than 0")
    refused(cli(*command, "loss.kl=1"), "decoder.loss.kl")
    refused(cli(*command, "training.held_out=0.9", "--set", "training.group=height"), "height")
    preset = tmp_path / "preset.yaml"
    preset.write_text("autoencoder: {}")
    other = ("train", "decoder", "--data", runs.data, "--from", runs.second, "--out", out)
    refused(cli(*other, "--preset", preset), "no section decoder")
    table = tmp_path / "data" / "participants.tsv"
    shutil.copytree(runs.data, table.parent)
    table.write_text(table.read_text().replace("score", "other"))
    refused(
        cli("train", "decoder", "--data", table.parent, *other[4:], "--preset", "tiny"),
        "has no column score",
    )
    assert not out.exists()


@pytest.fixture
def data(runs: Runs, tmp_path: Path) -> Path:
    """To be damaged."""
    return Path(shutil.copytree(runs.data, tmp_path / "data"))


def test_data_that_is_damaged_is_named(runs: Runs, cli: Cli, data: Path, tmp_path: Path) -> None:
    first = ("train", "autoencoder", "--preset", "tiny", "--out", tmp_path / "run", "--data", data)
    second = (*runs.conditioned, "--data", data, "--out", tmp_path / "run")
    image = next(data.glob("sub-02/anat/*.nii.gz"))
    whole, table = image.read_bytes(), (data / "participants.tsv").read_text()

    image.write_bytes(whole[:2000])
    refused(cli(*first), "Cannot read", "sub-02_")
    refused(cli(*second), "Cannot read", "sub-02_")
    nib.save(nib.Nifti1Image(np.full(SHAPE, np.nan, np.float32), AFFINE), image)
    refused(cli(*first), "sub-02_", "4096 values are NaN or infinite")
    image.unlink()
    refused(cli(*second), "participants.tsv, row 4: there is no image")
    image.write_bytes(whole)

    for was, now, message in (
        ("sub-05", "sub-04", "row 7: sub-04 is there twice, in row 6 too"),
        ("\t1340\t1", "\t1340\t1,5", "row 3: score is '1,5'"),
        ("\t1340\t1", "\t1340", "row 3: expected 6 cells"),
    ):
        assert was in table
        (data / "participants.tsv").write_text(table.replace(was, now))
        refused(cli(*second), message)
    (data / "participants.tsv").write_text(table.replace("\t1340\t1\n", "\t1340\tn/a\n"))
    done = cli(*second, "--set", "run.tracker=none", "--set", "training.steps=1")
    assert done.code == 0
    assert "1 subjects lack a condition and are left out" in done.err


def test_folders_that_are_something_else(runs: Runs, cli: Cli, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("Dear")
    refused(cli(*runs.autoencoder, "--out", other), "holds other files")
    refused(cli(*runs.autoencoder, "--out", other / "letter.txt"), "is a file")
    assert [path.name for path in other.iterdir()] == ["letter.txt"]
    run = Path(shutil.copytree(runs.first, tmp_path / "run"))
    weights = run / "autoencoder.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\1\2\3")
    trained = (*runs.diffusion, "--autoencoder", run, "--out", tmp_path / "next")
    refused(cli(*trained), "is not the file that autoencoder.json was saved with")
    (run / "autoencoder.json").unlink()
    refused(cli(*trained), "has no autoencoder.safetensors yet")
    (run / "state.pt").write_bytes(b"damaged")
    refused(cli(*runs.autoencoder, "--out", run), "Cannot resume from", "Remove the file")


def test_a_model_is_not_calibrated_on_few_heads(cli: Cli, tmp_path: Path) -> None:
    refused(
        cli("train", "calibrate", "--number", "5", "--out", tmp_path / "model"),
        "number is 5: expected 30 heads or more",
    )
    (tmp_path / "notes.txt").write_text("mine")
    refused(cli("train", "calibrate", "--out", tmp_path), "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
