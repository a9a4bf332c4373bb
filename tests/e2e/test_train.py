"""`brainldm train`, from a prepared data set to a model with conditions of its own."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from brainldm.checkpoint import load_config
from brainldm.cli import main
from brainldm.dataset.prepared import read_prepared
from tests.prepared import AFFINE, SHAPE, write_prepared


@dataclass
class Result:
    code: int
    out: str
    err: str


Cli = Callable[..., Result]


def command(*arguments: object) -> int:
    """Run the command line in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["brainldm", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            main()
    return int(exit.value.code or 0)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def cli(*arguments: object) -> Result:
        code = command(*arguments)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return cli


@dataclass
class Runs:
    data: Path
    first: Path
    second: Path

    @property
    def autoencoder(self) -> tuple[object, ...]:
        return ("train", "autoencoder", "--data", self.data, "--preset", "tiny")

    @property
    def diffusion(self) -> tuple[object, ...]:
        return ("train", "diffusion", "--data", self.data, "--preset", "tiny")

    @property
    def conditioned(self) -> tuple[object, ...]:
        conditions = ("--condition", "score", "--condition", "sex")
        return (*self.diffusion, "--autoencoder", self.first, *conditions)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Both stages, trained in a few seconds."""
    folder = tmp_path_factory.mktemp("runs")
    runs = Runs(write_prepared(folder / "data"), folder / "first", folder / "second")
    assert command(*runs.autoencoder, "--out", runs.first) == 0
    assert command(*runs.conditioned, "--out", runs.second) == 0
    return runs


def refused(result: Result, *message: str) -> None:
    """Exit code 2, the message without a traceback, and nothing on standard output."""
    assert result.code == 2, result.err
    for part in message:
        assert part in " ".join(result.err.split())
    assert "Traceback" not in result.err
    assert result.out == ""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_heads_under_a_condition_of_the_table(runs: Runs, cli: Cli, tmp_path: Path) -> None:
    shown = cli("info", "--model", runs.second)
    assert "score: 0 to 5" in shown.out
    assert "sex: F (0) or M (1)" in shown.out
    assert "age" not in shown.out
    arguments = ("--model", runs.second, "--out", tmp_path, "--steps", "2", "--seed", "1")
    made = cli("generate", *arguments, "--condition", "score=2.5", "--sex", "F")
    assert made.code == 0, made.err
    image = nib.load(tmp_path / "brain_seed-1_T1w.nii.gz")
    assert image.shape == SHAPE
    assert np.allclose(image.affine, AFFINE)
    sidecar = json.loads((tmp_path / "brain_seed-1_T1w.json").read_text())["brainldm"]
    assert sidecar["conditions"]["score"] == {"value": 2.5, "unit": "", "normalised": 0.5}
    refused(cli("generate", *arguments, "--overwrite", "--age", "60"), "no condition age")


def test_the_model_says_what_it_came_from(runs: Runs) -> None:
    config = load_config(str(runs.second))
    assert config.shape == SHAPE
    assert config.schedule.prediction == "v"
    assert config.latent.scale > 0
    assert config.null_context is None
    assert "trained on data" in config.provenance["description"]
    assert config.provenance["training_data"] == "6 heads prepared with brainldm"


def test_the_cards(runs: Runs) -> None:
    digest = read_prepared(runs.data).digest()
    description = json.loads((runs.first / "autoencoder.json").read_text())
    first = (runs.first / "README.md").read_text()
    assert "6 heads, 1 of them held out, 16 x 16 x 16 voxels" in first
    assert re.search(r"- held-out/psnr: [\d.]+", first)
    assert f"- data: `{digest}`" in first
    second = (runs.second / "models" / "README.md").read_text()
    assert "6 heads, 1 of them held out; 0 more lacked" in second
    assert f"- data: `{digest}`" in second
    assert f"- autoencoder: `{description['sha256']}`" in second
    assert re.search(r"- held-out/loss: [\d.]+", second)
    assert len(re.findall(r"- held-out/loss t \d+-\d+: [\d.]+", second)) == 5
    assert f"F | {'#' * 40} 3\nM | {'#' * 40} 3\n" in second
    score = second.partition("score:")[2].partition("sex:")[0]
    counts = [int(line.split()[-1]) for line in score.splitlines() if "|" in line]
    assert len(counts) == 10
    assert sum(counts) == 6
    assert "learning_rate: 0.002" in first
    assert "learning_rate: 0.002" in second


def test_tensorboard_shows_losses_and_pictures(runs: Runs) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = {}
    for folder in (runs.first, runs.second):
        events = EventAccumulator(str(folder / "logs" / "run"))
        events.Reload()
        shown[folder] = events
    scalars = {folder: set(events.Tags()["scalars"]) for folder, events in shown.items()}
    images = {folder: set(events.Tags()["images"]) for folder, events in shown.items()}
    assert {"autoencoder/loss", "autoencoder/kl", "held-out/psnr"} <= scalars[runs.first]
    assert {"unet/loss", "held-out/loss", "held-out/loss t 0-199"} <= scalars[runs.second]
    assert images[runs.first] == {"held-out/image", "held-out/reconstruction"}
    assert images[runs.second] == {"sample"}
    losses = shown[runs.first].Scalars("autoencoder/loss")
    assert [each.step for each in losses] == [10, 12]
    assert all(np.isfinite(each.value) for each in losses)
    assert [each.step for each in shown[runs.second].Images("sample")] == [6, 12]


def test_the_same_command_again_does_nothing_more(runs: Runs, cli: Cli) -> None:
    for done, out in ((runs.autoencoder, runs.first), (runs.conditioned, runs.second)):
        before = contents(out)
        again = cli(*done, "--out", out)
        assert again.code == 0, again.err
        assert contents(out) == before


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


@pytest.mark.parametrize("lora", [None, 2])
def test_fine_tuning_with_another_condition(
    lora: int | None, runs: Runs, cli: Cli, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    conditions = [f"--condition={name}" for name in ("sex", "score", "age:years")]
    options = ("--from", runs.second, "--out", out, *(("--lora", lora) if lora else ()))
    quick = ("--set", "training.steps=2", "--set", "run.tracker=none")
    done = cli(*runs.diffusion, *options, *conditions, *quick)
    assert done.code == 0, done.err
    was, config = load_config(str(runs.second)), load_config(str(out))
    assert [v.name for v in config.conditions] == ["sex", "score", "age"]
    assert config.conditions[1] == was.conditions[0]
    assert config.latent.scale == was.latent.scale
    assert f"- from: `{was.hash}`" in (out / "models" / "README.md").read_text()
    for name in ("autoencoder", "unet"):
        before, after = (
            load_file(folder / "models" / f"{name}.safetensors") for folder in (runs.second, out)
        )
        assert before.keys() == after.keys()
        changed = {key for key in before if not torch.equal(before[key], after[key])}
        if name == "autoencoder":
            assert not changed
        elif lora:
            assert "time_embed.0.weight" not in changed
            assert "middle_block.resnet_1.conv1.conv.weight" in changed
        else:
            assert {"time_embed.0.weight", "middle_block.resnet_1.conv1.conv.weight"} <= changed


def test_a_dry_run_writes_nothing(runs: Runs, cli: Cli, tmp_path: Path) -> None:
    for each in (runs.autoencoder, runs.conditioned, (*runs.diffusion, "--from", runs.second)):
        shown = cli(*each, "--out", tmp_path / "run", "--dry-run")
        assert shown.code == 0, shown.err
        for part in (r"steps: 12", r"Parameters: [\d,]+", r"6 heads", r"Memory: about", r"Time: "):
            assert re.search(part, shown.out), part
        assert "Nothing was trained or written." in shown.out
    assert "Conditions: score (0 to 5 ), sex (F/M)" in shown.out
    assert not list(tmp_path.iterdir())


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
    everybody = ("--set", "training.held_out=0.9", "--condition", "score")
    assert cli(*trained, *everybody, "--dry-run").code == 0


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
    refused(cli(*first), "sub-02_", "intensities from nan")
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
    refused(cli(*runs.autoencoder, "--out", run), "Cannot go on from", "Remove the file")
