"""A decoder that learns what a model's latents mean."""

from __future__ import annotations

from pathlib import Path

import torch

from brainldm.models.autoencoder import AutoencoderKL
from brainldm.train.autoencoder import new_autoencoder
from brainldm.train.decoder import Decoder, DecoderStage
from brainldm.train.decoder_samples import DecoderSamples, Pairs
from brainldm.train.draws import Draw
from brainldm.train.latents import Latents
from brainldm.train.phases import Course
from brainldm.train.presets import load_settings
from brainldm.train.settings import AutoencoderSettings, DecoderSettings
from tests.learning import QUIET, train
from tests.prepared import AFFINE

HEADS, CELLS, FACTOR = 3, 8, 2


def latents(offset: float = 0) -> Latents:
    """Cells that know where they are, in both orientations, and on which side."""
    places = torch.arange(CELLS**3, dtype=torch.float32).reshape(1, 1, CELLS, CELLS, CELLS) / 512
    heads = torch.arange(HEADS, dtype=torch.float32).reshape(HEADS, 1, 1, 1, 1) / 16
    one = (places + heads).expand(HEADS, 2, CELLS, CELLS, CELLS)
    return Latents([torch.stack([one, one.flip(2)], dim=1).add(offset).numpy()])


def image(head: int) -> torch.Tensor:
    """Those of a head without offset, as an image whose voxels know their cell."""
    z = latents()[head][0][:1]
    for axis in (1, 2, 3):
        z = z.repeat_interleave(FACTOR, axis)
    return z


def samples(*changes: str) -> DecoderSamples:
    course = Course(load_settings("tiny", DecoderSettings, [*QUIET, *changes]))
    pairs = Pairs(image, latents(), latents(0.25), FACTOR)
    return DecoderSamples(pairs, [0, 2], ["sub-A", "sub-B", "sub-C"], course)


def test_a_part_of_a_head_and_of_its_latent_are_the_same_part() -> None:
    chosen = samples("crop=[8, 4, 16]", "remade=0.5")
    offsets, people, starts = set(), set(), set()
    for step in range(40):
        draw = Draw(0, step, 0, 1)
        sample = chosen(draw)
        assert sample["latent"].shape == (2, 4, 2, 8)
        assert sample["image"].shape == (1, 8, 4, 16)
        beside = sample["latent"][0] - sample["image"][0, ::FACTOR, ::FACTOR, ::FACTOR]
        assert beside.max() == beside.min()
        offsets.add(beside.max().item())
        people.add(chosen.subject(draw))
        starts.add(sample["image"][0, 0, 0, 0].item())
    assert offsets == {0, 0.25}  # of the encoder, and made anew
    assert people == {"sub-A", "sub-C"}
    assert len(starts) > 20
    assert all(samples("remade=0")(Draw(0, i, 0, 1))["latent"].max() < 1.2 for i in range(5))


def test_what_comes_out_wrong_of_latents_made_anew_is_learned_and_nothing_else(
    tmp_path: Path,
) -> None:
    chosen = samples("training.steps=80", "training.learning_rate=1e-2", "training.batch_size=4")
    settings = load_settings("tiny", AutoencoderSettings)
    autoencoder: AutoencoderKL = new_autoencoder(settings.network, 0)
    before = {name: tensor.clone() for name, tensor in autoencoder.state_dict().items()}
    decoder = Decoder(autoencoder)
    stage = DecoderStage(decoder, chosen, chosen.course, [1], AFFINE)
    with torch.no_grad():
        first = stage.validate(decoder, 0).figures
    trained = train(stage, tmp_path / "state.pt")
    for name in ("held-out/psnr", "held-out/psnr_remade"):
        assert trained.findings.figures[name] > first[name] + 6  # half the error
    assert {"held-out/image", "held-out/remade"} == trained.findings.pictures.keys()
    assert trained.weights.keys() < before.keys()
    for name, tensor in autoencoder.state_dict().items():
        learned = name.startswith(("decoder.", "post_quant_conv."))
        assert learned == (name in trained.weights)
        assert learned or torch.equal(tensor, before[name])


def test_the_result_lies_between_the_decoder_as_it_was_and_the_trained_one(tmp_path: Path) -> None:
    settings = load_settings("tiny", AutoencoderSettings)
    figures, weights = {}, {}
    for part in (0.25, 1):
        chosen = samples(f"blend={part}")
        decoder = Decoder(new_autoencoder(settings.network, 0))
        before = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
        stage = DecoderStage(decoder, chosen, chosen.course, [1], AFFINE)
        trained = train(stage, tmp_path / f"{part}.pt")
        figures[part], weights[part] = trained.findings.figures, trained.weights
    assert figures[0.25] != figures[1]
    for name, tensor in weights[1].items():
        assert not torch.equal(tensor, before[name])
        assert (weights[0.25][name] - (0.75 * before[name] + 0.25 * tensor)).abs().max() < 1e-6
