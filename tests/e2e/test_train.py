"""`brainldm train`, from a prepared data set to a model with conditions of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from brainldm.checkpoint import load_config
from brainldm.dataset.prepared import read_prepared
from tests.prepared import AFFINE, SHAPE
from tests.runs import Cli, Runs, contents, refused


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs.finished(tmp_path_factory.mktemp("runs"))


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


def test_what_the_model_says_of_itself_and_how_it_is_saved(
    runs: Runs, cli: Cli, tmp_path: Path
) -> None:
    changes = (
        *("training.group=sex", "pairs=true", "explained_weight=true", "training.steps=2"),
        *("ranges.score=[-5, 5]", "about={name: mine, licence: CC0-1.0}", "run.weights=float16"),
        "run.tracker=none",
    )
    options = [word for change in changes for word in ("--set", change)]
    conditions = ("--condition", "score", "--condition", "age")
    out = tmp_path / "run"
    command = (*runs.diffusion, "--autoencoder", runs.first, "--out", out, *conditions, *options)
    planned = cli(*command, "--dry-run")
    assert planned.code == 0, planned.err
    assert "score (-5 to 5 )" in planned.out
    done = cli(*command)
    assert done.code == 0, done.err
    config = load_config(str(out))
    assert (config.name, config.provenance["licence"]) == ("mine", "CC0-1.0")
    assert config.provenance["training_data"] == "6 heads prepared with brainldm"
    score = config.conditions[0]
    assert (score.low, score.high) == (-5, 5)
    for name in ("autoencoder", "unet"):
        weights = load_file(out / "models" / f"{name}.safetensors")
        assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    card = (out / "models" / "README.md").read_text()
    assert "6 heads, 3 of them held out" in card  # all of one sex
    made = cli("generate", "--model", out, "--steps", "2", "--out", tmp_path, "--seed", "1")
    assert made.code == 0, made.err


def test_phases_of_both_stages_and_a_model_that_teaches_another(
    runs: Runs, cli: Cli, tmp_path: Path
) -> None:
    first = "phases=[{share: 0.5, crop: [8, 8, 8], training: {batch_size: 4}}, {share: 0.5}]"
    second = "phases=[{share: 0.5, condition_dropout: 0.5}, {share: 0.5, training: {fall: 1}}]"
    quick = ("--set", "training.steps=4", "--set", "run.tracker=none", "--set")
    out = tmp_path / "first"
    shown = cli(*runs.autoencoder, "--out", out, *quick, first, "--dry-run")
    assert "phases: [{crop: [8, 8, 8], share: 0.5, training: {batch_size: 4}}" in shown.out
    assert cli(*runs.autoencoder, "--out", out, *quick, first).code == 0
    sampler = "sampler=dpm++2m-sde"
    done = cli(*runs.conditioned, "--out", tmp_path / "second", *quick, second, "--set", sampler)
    assert done.code == 0, done.err
    assert load_config(str(tmp_path / "second")).null_context == -1
    # Which can teach its guided answers.
    taught = (*runs.diffusion, "--from", tmp_path / "second", "--out", tmp_path / "third")
    done = cli(*taught, *quick, "guidance=1.5")
    assert done.code == 0, done.err
    config = load_config(str(tmp_path / "third"))
    assert (config.null_context, config.sampler) == (None, "dpm++2m-sde")
    # And which can be moved to where the heads of the data lie.
    moved = (*runs.diffusion, "--from", tmp_path / "third", "--out", tmp_path / "fourth")
    done = cli(*moved, *quick, "centre=3")
    assert done.code == 0, done.err
    assert "Generating 3 heads" in done.err
    assert cli(*moved, *quick, "centre=3").code == 0
    refused(cli(*moved, *quick, "centre=4"), "another configuration", "centre")


def test_a_decoder_is_finished_on_latents_of_its_model(
    runs: Runs, cli: Cli, tmp_path: Path
) -> None:
    out = tmp_path / "finished"
    command = ("train", "decoder", "--data", runs.data, "--preset", "tiny", "--from", runs.second)
    shown = cli(*command, "--out", out, "--dry-run")
    assert shown.code == 0, shown.err
    assert "remade: 0.6" in shown.out
    assert not out.exists()
    adversarial = "loss.adversarial={weight: 0.1, layers: 1, channels: 4, learning_rate: 1.0e-3}"
    phases = "phases=[{share: 0.5, crop: [8, 8, 8]}, {share: 0.5}]"
    done = cli(*command, "--out", out, "--set", adversarial, "--set", phases)
    assert done.code == 0, done.err
    assert "Encoding heads Making them anew" in " ".join(done.err.split())
    models = (runs.second / "models", out / "models")
    before, after = (load_config(str(folder)) for folder in (runs.second, out))
    weights = {"weights": {}, "hash": ""}
    assert after.model_copy(update=weights) == before.model_copy(update=weights)
    before, after = (load_file(folder / "unet.safetensors") for folder in models)
    assert all(torch.equal(before[name], after[name]) for name in before)
    before, after = (load_file(folder / "autoencoder.safetensors") for folder in models)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in changed} == {"decoder", "post_quant_conv"}
    card = (out / "models" / "README.md").read_text()
    assert re.search(r"- held-out/psnr_remade: [\d.]+", card)
    kept = contents(out)
    assert cli(*command, "--out", out, "--set", adversarial, "--set", phases).code == 0
    assert contents(out) == kept
    refused(cli(*command, "--out", out), "another configuration", "phases")
    made = cli("generate", "--model", out, "--steps", "2", "--out", tmp_path, "--seed", "1")
    assert made.code == 0, made.err


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
